"""A table's rows with the columns that stand in other files, joined by row number.

All files number their rows in ascending order, so they are read side by side, a batch of each at a
time: memory is bounded, whatever their size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import Column, ColumnType, Table
from shared.reading.casting import Unreadable, typed_column
from shared.reading.quarantine import Code, Quarantine, SliceFault
from shared.reading.records import RawBatch, RecordReader
from shared.reading.sources import format_of, joined_columns
from shared.reading.spool import SpooledFile

_ROW_NUMBER = "#"  # no column of a spec can be called so
Numbers = npt.NDArray[np.int64]
NumberedRows = Iterator[tuple[Numbers, RawBatch]]


def part_of_table(spec: DatasetSpec, table: str, file: str, *, own: bool, numbered: bool) -> Table:
    """The table as it stands in `file`: its own one, or one that is joined to it.

    With `numbered` the column that numbers the rows is in it, if need be as `#`.
    """
    whole = spec.tables[table]
    increment = spec.slices.increment
    names = set(joined_columns(whole, file))
    if own:
        names |= {name for name, column in whole.columns.items() if column.file is None}
    columns = {name: column for name, column in whole.columns.items() if name in names}
    if numbered and increment and _numbering(whole, columns, increment.row_number) is None:
        number = Column(type=ColumnType.INTEGER, header=increment.row_number)
        columns = {_ROW_NUMBER: number, **columns}
    return whole.model_copy(update={"columns": columns, "format": format_of(spec, table, file)})


class JoinedReader:
    """Reads `file` with what is joined to it, like a `RecordReader`.

    A row whose number is not in a joined file has NULL in that file's columns. Rows of a joined
    file that belong to none are passed over.
    """

    def __init__(
        self,
        spec: DatasetSpec,
        table: str,
        file: SpooledFile,
        quarantine: Quarantine,
        block_bytes: int,
    ) -> None:
        self._file = file
        self._rows = _Numbered(spec, table, file, quarantine, block_bytes, own=True)
        # The bad lines of a joined file are counted where it is a table's own.
        self._joined = [
            _Numbered(spec, table, other, Quarantine(table, 0), block_bytes, own=False)
            for other in file.joined
        ]

    @property
    def records(self) -> int:
        """After the last batch: how many data records the file itself has."""
        return self._rows.reader.records

    def batches(self) -> Iterator[RawBatch]:
        """The rows in order, without the ragged ones, which go to quarantine.

        Raises `SliceFault` where a file as a whole can't be read, or its rows aren't numbered.
        """
        rows = self._rows.batches()
        for other in self._joined:
            rows = _join(rows, other.batches(), other.columns)
        for _, batch in rows:
            columns = {name: of for name, of in batch.columns.items() if name != _ROW_NUMBER}
            yield replace(batch, columns=columns)


class _Numbered:
    """A file's batches with their row numbers."""

    def __init__(
        self,
        spec: DatasetSpec,
        table: str,
        file: SpooledFile,
        quarantine: Quarantine,
        block_bytes: int,
        *,
        own: bool,
    ) -> None:
        part = part_of_table(spec, table, file.name, own=own, numbered=True)
        header = spec.slices.increment.row_number if spec.slices.increment else ""
        self._column = _numbering(part, part.columns, header) or _ROW_NUMBER
        self._header = header
        self._name = file.name
        self.columns = tuple(joined_columns(spec.tables[table], file.name))
        block_bytes = file.block_bytes(block_bytes)
        self.reader = RecordReader(
            file.name, file.path, part, quarantine, block_bytes, file.first_row
        )

    def batches(self) -> NumberedRows:
        """Raises `SliceFault` where the numbers are absent, not whole, or don't ascend."""
        last: int | None = None
        try:
            for batch in self.reader.batches():
                if not batch.num_rows:
                    continue
                numbers = self._numbers(batch)
                steps = np.diff(numbers, prepend=numbers[0] - 1 if last is None else last)
                if (steps <= 0).any():
                    row = int(np.argmax(steps <= 0))
                    raise self._fault(batch, row, f"{numbers[row]} is not greater than before")
                last = int(numbers[-1])
                yield numbers, batch
        except SliceFault as fault:
            if fault.reason.column == _ROW_NUMBER and fault.reason.code != Code.ROW_NUMBERS:
                message = f"{fault.reason.message}: it must number the rows, by which files are "
                raise SliceFault(
                    Code.ROW_NUMBERS,
                    f"{message}joined; slices.increment.row_number in the spec names that column",
                ) from fault
            raise

    def _numbers(self, batch: RawBatch) -> Numbers:
        try:
            typed = typed_column(
                batch.columns[self._column], ColumnType.INTEGER, may_have_nul=False
            )
        except Unreadable as error:
            raise self._fault(batch, 0, str(error)) from error
        if typed.values.null_count:
            row = typed.values.is_null().index(True).as_py()
            found = batch.columns[self._column][row].as_py()
            raise self._fault(batch, row, f"{found!r} is no whole number")
        numbers: Numbers = typed.values.to_numpy()
        return numbers

    def _fault(self, batch: RawBatch, row: int, what: str) -> SliceFault:
        column = repr(self._header) if self._header else "the column without a name"
        return SliceFault(
            Code.ROW_NUMBERS,
            f"{self._name}, record {batch.record_numbers[row].as_py()}: {what}; {column} must "
            "number the rows in ascending order, each number once: sort the file by it",
        )


def _numbering(table: Table, columns: dict[str, Column], header: str) -> str | None:
    """The declared column, among `columns`, that numbers the rows."""
    return next((name for name in columns if table.header(name) == header), None)


def _join(rows: NumberedRows, others: NumberedRows, names: Sequence[str]) -> NumberedRows:
    there, other = next(others, (None, None))
    for numbers, batch in rows:
        begin = 0
        while begin < len(numbers):
            while there is not None and there[-1] < numbers[begin]:
                there, other = next(others, (None, None))
            if there is None or other is None:
                end = len(numbers)
                added = {name: pa.nulls(end - begin) for name in names}
            else:
                end = int(np.searchsorted(numbers, there[-1], side="right"))
                places = np.searchsorted(there, numbers[begin:end])
                taken = pa.array(places, mask=there[places] != numbers[begin:end])
                added = {
                    name: other.columns[name].take(taken) for name in names if name in other.columns
                }
            part = {name: of.slice(begin, end - begin) for name, of in batch.columns.items()}
            yield (
                numbers[begin:end],
                replace(
                    batch,
                    columns=part | added,
                    record_numbers=batch.record_numbers.slice(begin, end - begin),
                    may_have_nul=batch.may_have_nul or (other is not None and other.may_have_nul),
                ),
            )
            begin = end
    for _ in others:  # its numbers are checked to the end
        pass
