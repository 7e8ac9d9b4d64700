"""Which rows of its source a slice by share brings: those after what is loaded, up to its share."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

from shared.contracts.increment import WHOLE, Increment, rows_in_share, slice_name
from shared.reading.quarantine import Code, SliceFault


@dataclass(frozen=True)
class RowRange:
    """The rows [`first_row`, `end_row`), counted from 0."""

    first_row: int
    end_row: int


def range_of(
    increment: Increment,
    share: Decimal,
    rows: int,
    held: Mapping[Decimal, RowRange],
    refused: Collection[Decimal],
) -> RowRange:
    """The rows of the slice that reaches `share` of a source of `rows` rows.

    `held` are the slices that are published or on their way, `refused` those that were rejected or
    failed and are not held. The slice begins where the one held before it ends, except that it
    leaves out the rows of a refused one right before it, which can still be loaded by its name. It
    ends with its share, or where the one held after it begins. A slice that is held itself begins
    where it did. So no two slices share a row, and no row is left out but those of refused ones,
    also where the source has grown in between.

    Raises `SliceFault` where the slice has no row, or the source fewer rows than are loaded of it.
    """
    own, name = held.get(share), slice_name(share)
    below = max((other for other in held if other < share), default=None)
    above = min((other for other in held if other > share), default=None)
    first = held[below].end_row if below is not None else 0
    before = increment.before(share)
    if before in refused and (below is None or below < before):
        first = max(first, rows_in_share(rows, before))
    end = rows_in_share(rows, share)
    if above is not None:
        limit = held[above].first_row
        adjoins = increment.before(above) == share or (own is not None and own.end_row == limit)
        end = limit if adjoins else min(end, limit)
        first = min(first, limit)
    if own is not None:
        first = own.first_row
    if end > rows or end < first:
        reached = f"row {first}" if end < first else f"row {end}, where the next slice begins,"
        raise SliceFault(
            Code.FEWER_ROWS,
            f"the source has {rows} rows, {rows_in_share(rows, share)} of them in {name}, but "
            f"{reached} is reached already: rows were taken away. Put them back, or load a share "
            "that reaches further",
        )
    if end == first:
        raise SliceFault(Code.NO_ROWS, _no_rows(increment, share, rows, first, held, above))
    return RowRange(first, end)


def _no_rows(
    increment: Increment,
    share: Decimal,
    rows: int,
    first: int,
    held: Mapping[Decimal, RowRange],
    above: Decimal | None,
) -> str:
    name = slice_name(share)
    if not rows:
        return "the source has no rows"
    if above is not None and held[above].first_row == first:
        return f"{name} has no row of its own: they are in slice {slice_name(above)}"
    said = f"{name} of {rows} rows ends at row {rows_in_share(rows, share)}, where it begins"
    if first == rows:
        return f"{said}: nothing is left to load"
    steps, rest = divmod(100 * (first + 1) - share * rows, increment.step * rows)
    later = slice_name(min(share + (steps + bool(rest)) * increment.step, WHOLE))
    return f"{said}: the step is less than a row. The next slice with rows is {later}: ask for it"
