"""Which rows a slice by share brings."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingestor.shares.row_ranges import RowRange, range_of
from shared.contracts.increment import WHOLE, Increment, rows_in_share, slice_name
from shared.reading.quarantine import Code, SliceFault

WEEKLY = Increment(initial=Decimal(40), step=Decimal(3))
PERCENTS = st.decimals(Decimal("0.0001"), Decimal(100), places=4)
Held = dict[Decimal, RowRange]


def shares_of(increment: Increment) -> list[Decimal]:
    found: list[Decimal] = []
    while (following := increment.next_after([slice_name(s) for s in found[-1:]])) is not None:
        found.append(increment.share(following))
    return found


def take(increment: Increment, percent: float, rows: int, held: Held, refused=()) -> RowRange:
    return range_of(increment, Decimal(str(percent)), rows, held, [Decimal(r) for r in refused])


def fault(increment: Increment, percent: float, rows: int, held: Held, refused=()) -> SliceFault:
    with pytest.raises(SliceFault) as caught:
        take(increment, percent, rows, held, refused)
    return caught.value


def test_shares_of_the_real_catalogue_are_rounded_down() -> None:
    held: Held = {}
    for percent, first, end in ((40, 0, 33_966), (43, 33_966, 36_513), (46, 36_513, 39_061)):
        held[Decimal(percent)] = take(WEEKLY, percent, 84_916, held)
        assert held[Decimal(percent)] == RowRange(first, end)


@given(st.integers(1, 10**9), PERCENTS, st.decimals(Decimal(1), Decimal(100), places=2))
def test_all_slices_together_are_all_rows_once(rows: int, initial: Decimal, step: Decimal) -> None:
    increment = Increment(initial=initial, step=step)
    held: Held = {}
    reached = 0
    for share in shares_of(increment):
        if rows_in_share(rows, share) == reached:
            assert fault(increment, share, rows, held).reason.code == Code.NO_ROWS
            continue
        held[share] = range_of(increment, share, rows, held, ())
        assert held[share].first_row == reached
        reached = held[share].end_row
    assert max(held) == WHOLE
    assert reached == rows


STEPS = st.lists(
    st.tuples(
        st.integers(1, 20),  # which share of the way, by its place
        st.integers(0, 40),  # rows that the source gained since the request before
        st.booleans(),  # whether it is refused
    ),
    max_size=40,
)


@given(st.integers(30, 500), STEPS)
def test_no_row_is_taken_twice_whatever_the_order_growth_and_refusals(
    rows: int, steps: list[tuple[int, int, bool]]
) -> None:
    way = shares_of(WEEKLY)
    held: Held = {}
    refused: set[Decimal] = set()
    for place, growth, is_refused in steps:
        rows += growth
        share = way[place]
        try:
            found = range_of(WEEKLY, share, rows, held, refused - held.keys())
        except SliceFault:
            refused.add(share)
            continue
        if is_refused:
            refused.add(share)
            continue
        held[share] = found
        parts = [held[one] for one in sorted(held)]
        assert all(part.first_row < part.end_row <= rows for part in parts)
        assert all(a.end_row <= b.first_row for a, b in pairwise(parts))
        # What is left out before a slice is of refused ones.
        for before, after in pairwise(sorted(held)):
            if held[before].end_row < held[after].first_row:
                assert any(before < one < after for one in refused)
    for share in sorted(refused - held.keys()):  # mended, in order
        if share < max(held, default=Decimal(0)):
            try:
                held[share] = range_of(WEEKLY, share, rows, held, refused - held.keys())
            except SliceFault as caught:
                assert caught.reason.code == Code.NO_ROWS
    parts = [held[one] for one in sorted(held)]
    assert [a.end_row for a in parts[:-1]] == [b.first_row for b in parts[1:]], "a gap is left"
    assert not parts or parts[0].first_row == 0


def test_refused_slice_holds_up_nothing_and_is_loaded_again_by_its_name() -> None:
    held = {Decimal(40): RowRange(0, 400)}
    assert take(WEEKLY, 46, 1000, held, [43]) == RowRange(430, 460)
    held[Decimal(46)] = RowRange(430, 460)
    assert take(WEEKLY, 43, 1100, held, [43]) == RowRange(400, 430), "the source has grown"


def test_slice_asked_for_before_its_turn_brings_all_up_to_its_share() -> None:
    held = {Decimal(40): RowRange(0, 400)}
    assert take(WEEKLY, 100, 1000, held) == RowRange(400, 1000)
    assert take(WEEKLY, 46, 1000, {}) == RowRange(0, 460)
    held[Decimal(100)] = RowRange(400, 1000)
    found = fault(WEEKLY, 43, 1000, held)
    assert found.reason.code == Code.NO_ROWS
    assert "they are in slice 100%" in found.reason.message


def test_rows_that_came_since_are_the_next_slices() -> None:
    held = {Decimal(40): RowRange(0, 400)}
    assert take(WEEKLY, 43, 2000, held) == RowRange(400, 860)
    held[Decimal(43)] = RowRange(400, 860)
    assert take(WEEKLY, 40, 2000, held) == RowRange(0, 400), "loaded again it keeps its rows"
    assert take(WEEKLY, 43, 2100, held) == RowRange(400, 903), "the last one may grow"


def test_slice_off_the_way_or_another_step_leaves_no_gap() -> None:
    held = {Decimal(40): RowRange(0, 400), Decimal(41): RowRange(400, 410)}
    assert take(WEEKLY, 44, 1000, held) == RowRange(410, 440)
    other = Increment(initial=Decimal(40), step=Decimal(5))
    assert take(other, 46, 1000, held) == RowRange(410, 460)


def test_shrunken_source_is_refused_with_what_is_reached() -> None:
    held = {Decimal(40): RowRange(0, 400)}
    found = fault(WEEKLY, 43, 900, held)
    assert found.reason.code == Code.FEWER_ROWS
    assert "900 rows, 387 of them in 43%" in found.reason.message
    assert "row 400 is reached already" in found.reason.message
    held[Decimal(43)] = RowRange(400, 430)
    assert fault(WEEKLY, 40, 300, held).reason.code == Code.FEWER_ROWS


@pytest.mark.parametrize(("rows", "later"), [(10, "52%"), (12, "43%")])
def test_step_of_less_than_a_row_says_which_slice_has_one(rows: int, later: str) -> None:
    held = {Decimal(40): RowRange(0, rows * 4 // 10)}
    if later == "43%":
        assert take(WEEKLY, 43, rows, held) == RowRange(4, 5)
        return
    found = fault(WEEKLY, 43, rows, held)
    assert found.reason.code == Code.NO_ROWS
    assert f"The next slice with rows is {later}" in found.reason.message
    share = WEEKLY.share(later)
    assert range_of(WEEKLY, share, rows, held, [Decimal(43)]).end_row > held[Decimal(40)].end_row
    assert slice_name(share) == later


def test_source_without_rows_has_none_for_any_slice() -> None:
    assert fault(WEEKLY, 40, 0, {}).reason.message == "the source has no rows"


def test_last_step_may_be_a_shorter_one() -> None:
    increment = Increment(initial=Decimal(40), step=Decimal(7))
    held = {Decimal(89): RowRange(0, 890)}
    assert take(increment, 100, 1000, held, [96]) == RowRange(960, 1000)
