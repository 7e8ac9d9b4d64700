"""Charts stay in their box and say what they show."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.charts import (
    HEIGHT,
    WIDTH,
    Series,
    grouped_chart,
    line_chart,
    stacked_chart,
)

values = st.lists(
    st.one_of(st.none(), st.floats(-1e9, 1e9, allow_nan=False)), min_size=1, max_size=30
)
counts = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**9)), min_size=0, max_size=30
)


@given(values)
def test_every_value_of_a_line_has_a_dot_within_the_box(found: list[float | None]) -> None:
    places = [str(number) for number in range(len(found))]
    chart = line_chart("scores", places, [Series("s", found)], "{:.3f}".format)
    (line,) = chart.lines
    assert len(line.dots) == sum(value is not None for value in found)
    for dot in line.dots:
        assert 0 <= dot.x <= WIDTH
        assert 0 <= dot.y <= HEIGHT
    if len([v for v in found if v is not None]) > 1:
        told = [(dot.y, float(dot.title.rsplit(" ", 1)[1])) for dot in line.dots]
        for (above, larger), (below, smaller) in itertools.combinations(sorted(told), 2):
            assert above == below or larger >= smaller, "what is larger stands higher"


def test_a_line_has_a_gap_where_a_value_is_missing() -> None:
    series = [Series("s", [1.0, 2.0, None, 3.0])]
    (line,) = line_chart("x", ["a", "b", "c", "d"], series, str).lines
    assert re.sub(r"[\d. ]+", "", line.path) == "MLM"


@given(counts)
def test_a_stack_has_the_height_of_its_sum_and_no_part_overlaps(found: list[dict]) -> None:
    places = [str(number) for number in range(len(found))]
    parts = [(name, name) for name in "abc"]
    chart = stacked_chart("rows", places, parts, found, str)
    assert len(chart.bars) == sum(1 for each in found for value in each.values() if value > 0)
    for number, each in enumerate(found):
        mine = [bar for bar in chart.bars if bar.title.startswith(f"{number}:")]
        edge = HEIGHT
        for bar in mine:
            assert bar.y + bar.height == pytest.approx(edge, abs=0.02)
            edge = bar.y
            assert bar.y >= -0.01
            assert bar.x >= 0
            assert bar.x + bar.width <= WIDTH + 0.1
        assert sum(each.values()) == 0 or mine


def test_bars_side_by_side_do_not_meet_those_of_the_next_place() -> None:
    series = [Series("then", [0.2, 0.8]), Series("now", [0.5, 0.5])]
    chart = grouped_chart("shares", ["a", "b"], series, str)
    spans = sorted((bar.x, bar.x + bar.width) for bar in chart.bars)
    assert len(spans) == 4
    assert all(end <= begin + 0.2 for (_, end), (begin, _) in itertools.pairwise(spans))
    assert max(bar.height for bar in chart.bars) == HEIGHT


def test_no_value_at_all_is_an_empty_chart() -> None:
    assert stacked_chart("x", [], [("a", "a")], [], str).bars == []
    assert line_chart("x", [], [Series("s", [])], str).lines[0].path == ""
