"""Slice names and dates follow from each other."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.slice_naming import SliceNaming, Step

MONTHLY = SliceNaming(pattern="month_{index:03d}", first_as_of=date(2024, 1, 31), every="month")
DAILY = SliceNaming(pattern="{date:%Y-%m-%d}")


@pytest.mark.parametrize(
    ("slice_key", "as_of"),
    [
        ("month_000", date(2024, 1, 31)),
        ("month_001", date(2024, 2, 29)),
        ("month_013", date(2025, 2, 28)),
        ("month_1000", date(2107, 5, 31)),
    ],
)
def test_a_first_date_at_a_months_end_keeps_to_month_ends(slice_key: str, as_of: date) -> None:
    assert MONTHLY.as_of(slice_key) == as_of


@pytest.mark.parametrize("wrong", ["month_1", "month_0001", "month_", "Month_001", "month_-01", ""])
def test_a_name_that_does_not_fit_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="not named like 'month_000'"):
        MONTHLY.as_of(wrong)


@pytest.mark.parametrize("wrong", ["2024-1-31", "2024-02-30", "24-01-31", "2024-01-31x"])
def test_a_date_that_does_not_fit_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="not named like"):
        DAILY.as_of(wrong)


def test_a_dated_name_without_a_day_means_the_end_of_its_month() -> None:
    naming = SliceNaming(pattern="drop-{date:%Y%m}")
    assert naming.as_of("drop-202402") == date(2024, 2, 29)


@given(st.dates(date(1000, 1, 1), date(9000, 12, 31)))
def test_a_dated_name_says_its_date(day: date) -> None:
    assert DAILY.as_of(DAILY.pattern.format(date=day)) == day


@given(
    st.dates(date(1950, 1, 1), date(2100, 12, 31)),
    st.integers(0, 300),
    st.sampled_from(["day", "week", "month"]),
)
def test_numbered_dates_go_up_and_the_next_name_is_the_next_number(
    first: date, index: int, every: Step
) -> None:
    naming = SliceNaming(pattern="s{index}", first_as_of=first, every=every)
    assert naming.as_of("s0") == first
    assert naming.as_of(f"s{index}") < naming.as_of(f"s{index + 1}")
    assert naming.next_after([f"s{index}", "s0"]) == f"s{index + 1}"


def test_the_next_slice_of_nothing_is_the_first() -> None:
    assert MONTHLY.next_after([]) == "month_000"
    with_first = DAILY.model_copy(update={"first_as_of": date(2024, 3, 1), "every": "day"})
    assert with_first.next_after([]) == "2024-03-01"
    assert with_first.next_after(["2024-03-09", "2024-03-01"]) == "2024-03-10"
    with pytest.raises(ValueError, match="name the slice"):
        DAILY.next_after([])
