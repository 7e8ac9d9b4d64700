"""Numbers, times and addresses as the pages write them."""

from datetime import UTC, date, datetime, timedelta

import pytest

from services.console.site import make_environment
from services.console.wording import (
    ago,
    dataset_url,
    duration,
    model_url,
    number,
    percent,
    pretty,
    score,
    slice_url,
    value,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
THIN = "\N{NARROW NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("found", "said"),
    [(0, "0"), (999, "999"), (1000, f"1{THIN}000"), (1234567.0, f"1{THIN}234{THIN}567")],
)
def test_thousands_stand_apart(found: float, said: str) -> None:
    assert number(found) == said


def test_what_is_not_known_is_not_nothing() -> None:
    assert {number(None), score(None), percent(None), duration(None), ago(None, NOW)} == {"–"}
    assert number(0) == "0"


def test_a_small_share_does_not_look_like_none() -> None:
    assert percent(0.0) == f"0.0{THIN}%"
    assert percent(0.0001) == f"<{THIN}0.1{THIN}%"
    assert percent(0.123) == f"12.3{THIN}%"
    assert percent(1, 0) == f"100{THIN}%"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0123, "12 ms"),
        (1.26, "1.3 s"),
        (61, "1 min 1 s"),
        (3 * 3600 + 120, "3 h 2 min"),
        (5 * 86400, "5 days"),
    ],
)
def test_a_time_span_has_its_two_greatest_units(seconds: float, said: str) -> None:
    assert duration(seconds).replace(THIN, " ") == said


@pytest.mark.parametrize(
    ("delta", "said"),
    [
        (timedelta(seconds=-1), "1 second ago"),
        (timedelta(minutes=-90), "1 hour ago"),
        (timedelta(days=6, hours=1), "in 6 days"),
        (timedelta(0), "now"),
    ],
)
def test_moments_are_told_from_now(delta: timedelta, said: str) -> None:
    assert ago(NOW + delta, NOW) == said


def test_cells_are_text_whatever_they_hold() -> None:
    found = [True, 3, 0.1 + 0.2, "x", date(2024, 1, 31), {"a": [1]}, None]
    said = ["true", "3", "0.3", "x", "2024-01-31", '{"a": [1]}', "null"]
    assert [value(each) for each in found] == said


def test_a_slice_named_by_a_share_or_a_path_is_one_segment_of_its_address() -> None:
    assert slice_url("rakuten", "40%") == "/datasets/rakuten/slices/40%25"
    assert slice_url("d", "a b+c", "l/1") == "/datasets/d/slices/a%20b%2Bc?load=l%2F1"
    assert dataset_url("d", "models") == "/datasets/d/models"
    assert model_url("d", "12") == "/datasets/d/models/12"


def test_json_is_as_it_was_written_but_for_halves_of_a_pair_that_no_page_can_hold() -> None:
    assert pretty({"b": "it's é", "a": "\ud800"}) == '{\n  "b": "it\'s é",\n  "a": "\\ud800"\n}'


def test_a_narrow_column_breaks_a_name_behind_its_parts() -> None:
    text = '{% from "parts.html" import breakable %}{{ breakable(name) }}'
    template = make_environment().from_string(text)
    assert template.render(name="a.b_c<i>") == "a.<wbr>b_<wbr>c&lt;i&gt;"
