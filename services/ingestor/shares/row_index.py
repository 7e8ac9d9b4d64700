"""Where the rows of a CSV source begin, kept so that a later slice reads no more than its rows."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from shared.database.tables import source_indexes
from shared.reading.quarantine import Code, SliceFault
from shared.reading.record_scan import RecordScan

_ROWS_APART = 64
_MOST_OFFSETS = 1 << 15
"""More of them are thinned out; what is read in vain of a slice stays under rows / 8,192."""


@dataclass(frozen=True)
class Window:
    """The bytes [`start`, `stop`) of a file; None is its end. The first row in them is `row`."""

    start: int
    stop: int | None
    row: int


@dataclass(frozen=True)
class RowIndex:
    """`offsets[i]` is the byte where row i * `rows_apart` begins; the header ends at the first."""

    rows: int
    rows_apart: int
    offsets: tuple[int, ...]

    def window(self, first_row: int, end_row: int) -> Window:
        """The least known window with the rows [`first_row`, `end_row`), which must be there."""
        begin = first_row // self.rows_apart
        end = -(-end_row // self.rows_apart)
        stop = self.offsets[end] if end < len(self.offsets) else None
        return Window(self.offsets[begin], stop, begin * self.rows_apart)


def make_index(name: str, pieces: Iterator[bytes], delimiter: str, quote: str) -> RowIndex:
    """Scan the file `name`, given whole and in order. Memory is bounded, whatever its size.

    Raises `SliceFault` where it has no header, or its last quoted field isn't closed.
    """
    scan = RecordScan(delimiter, quote)
    apart, offsets, passed = _ROWS_APART, [], 0
    mark = 0
    for piece in pieces:
        if not passed and piece.startswith(codecs.BOM_UTF8):
            mark = len(codecs.BOM_UTF8)
        before = scan.records
        starts = scan.feed(piece if passed else piece[mark:])
        passed += len(piece)
        # Record 0 is the header, so row r is record r + 1.
        skipped = (1 - before) % apart
        offsets += (starts[skipped::apart] + mark).tolist()
        while len(offsets) > _MOST_OFFSETS:
            offsets, apart = offsets[::2], apart * 2
    if not scan.records:
        raise SliceFault(Code.EMPTY_FILE, f"{name} is empty, without even a header")
    if scan.is_quoted:
        message = (
            f"{name}: record {scan.records - 1} or one before it has a quote that isn't closed"
        )
        raise SliceFault(Code.BROKEN_QUOTING, message)
    return RowIndex(scan.records - 1, apart, tuple(offsets or [passed]))


def kept_index(connection: Connection, dataset: str, uri: str, fingerprint: str) -> RowIndex | None:
    """The index of the file `uri` as `fingerprint` has it; None where there is none."""
    query = select(
        source_indexes.c.rows, source_indexes.c.rows_apart, source_indexes.c.offsets
    ).where(
        source_indexes.c.dataset == dataset,
        source_indexes.c.uri == uri,
        source_indexes.c.fingerprint == fingerprint,
    )
    row = connection.execute(query).first()
    return None if row is None else RowIndex(row.rows, row.rows_apart, tuple(row.offsets))


def keep_index(
    connection: Connection, dataset: str, uri: str, fingerprint: str, index: RowIndex
) -> None:
    """Keep it in place of any other of the file."""
    values = {
        "fingerprint": fingerprint,
        "rows": index.rows,
        "rows_apart": index.rows_apart,
        "offsets": list(index.offsets),
    }
    statement = insert(source_indexes).values(dataset=dataset, uri=uri, **values)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[source_indexes.c.dataset, source_indexes.c.uri], set_=values
        )
    )
