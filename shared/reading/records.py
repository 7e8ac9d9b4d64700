"""A file as Arrow record batches of its declared columns, not yet typed, each row numbered.

Memory is bounded by the block size, whatever the size of the file.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

from shared.contracts.table_spec import Format, Table
from shared.reading.dialect import Dialect, check_header, survey
from shared.reading.quarantine import Code, Quarantine, QuarantinedRow, SliceFault, csv_line
from shared.reading.text_stream import Utf8Stream, absent_control

logger = logging.getLogger(__name__)

_PARQUET_BATCH_ROWS = 16_384
_PARQUET_BLOCKS = 16
"""How many blocks the texts of a batch may take."""


@dataclass(frozen=True)
class RawBatch:
    """Some rows as they stand in the file.

    `columns` are by the spec's names in the order of the file, text for CSV and whatever it holds
    for Parquet, without those that the file lacks. `record_numbers` count the file's data records
    from 1, ragged ones and those before the part that was taken included. `may_have_nul` is False
    where no text holds U+0000.
    """

    file: str
    columns: dict[str, pa.Array]
    record_numbers: pa.Array
    may_have_nul: bool
    delimiter: str = ","
    quote: str = '"'
    null_text: str = ""

    @property
    def num_rows(self) -> int:
        """How many rows it has."""
        return len(self.record_numbers)

    def raw(self, row: int) -> str:
        """The declared columns of `row`, as CSV again."""
        values = [column[row].as_py() for column in self.columns.values()]
        texts = [self.null_text if value is None else value for value in values]
        return csv_line(texts, self.delimiter, self.quote)


def is_parquet(name: str, declared: Format) -> bool:
    """Whether the file `name` is Parquet, and not CSV."""
    by_name = declared.kind == "auto" and name.lower().endswith(".parquet")
    return declared.kind == "parquet" or by_name


class RecordReader:
    """Reads one file. After the last batch `records` is the number of all its data records.

    `first_row` of them precede, in the source, those that are in `path`; record numbers count on.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        table: Table,
        quarantine: Quarantine,
        block_bytes: int,
        first_row: int = 0,
    ) -> None:
        self._name, self._path, self._table = name, path, table
        self._first_row = first_row
        self._quarantine = quarantine
        self._block_bytes = block_bytes
        self.records = 0

    def batches(self) -> Iterator[RawBatch]:
        """The rows in order, without the ragged ones, which go to quarantine.

        Raises `SliceFault` where the file as a whole can't be read.
        """
        if is_parquet(self._name, self._table.format):
            yield from self._parquet()
        else:
            yield from self._csv()

    def _csv(self) -> Iterator[RawBatch]:
        dialect = survey(self._name, self._path, self._table, self._block_bytes, self._first_row)
        null_values = self._table.format.null_values
        columns = self._columns_of(dialect.header)
        nul = self._stand_in(dialect) if dialect.has_nul else b"\0"
        ragged = _RaggedLines(self._name, self._quarantine, self._first_row, nul.decode())
        with Utf8Stream(self._path, dialect.compression, dialect.encoding, nul) as stream:
            for batch in self._arrow_batches(stream, dialect, list(columns), ragged):
                numbers = ragged.number(self.records, batch.num_rows)
                self.records = numbers[-1].as_py() if batch.num_rows else self.records
                yield RawBatch(
                    file=self._name,
                    columns=dict(zip(columns.values(), _with_nul(batch, nul), strict=True)),
                    record_numbers=pc.add(numbers, self._first_row),
                    may_have_nul=dialect.has_nul,
                    delimiter=dialect.delimiter,
                    quote=dialect.quote,
                    null_text=null_values[0] if null_values else "",
                )
        self.records += ragged.left_after(self.records)

    def _stand_in(self, dialect: Dialect) -> bytes:
        """What Arrow reads in the place of U+0000.

        Where values are long, Arrow looks for delimiters and line ends by instructions for which a
        NUL ends the text, and so passes over those in the bytes behind it: `BulkFilter` in
        `arrow/csv/lexing_internal.h`.
        """
        taken = "".join((dialect.delimiter, dialect.quote, *self._table.format.null_values))
        found = absent_control(self._path, dialect.compression, dialect.encoding, taken)
        if found is None:
            message = f"{self._name} has NUL and every other control character: it is no text"
            raise SliceFault(Code.ENCODING, message)
        return found

    def _arrow_batches(
        self, stream: Utf8Stream, dialect: Dialect, columns: list[str], ragged: "_RaggedLines"
    ) -> Iterator[pa.RecordBatch]:
        null_values = self._table.format.null_values
        try:
            yield from arrow_csv.open_csv(
                stream,
                # Only a single-threaded reader knows the numbers of invalid rows.
                read_options=arrow_csv.ReadOptions(use_threads=False, block_size=self._block_bytes),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=dialect.delimiter,
                    quote_char=dialect.quote,
                    newlines_in_values=dialect.has_quotes,
                    invalid_row_handler=ragged,
                ),
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=columns,
                    column_types=dict.fromkeys(columns, pa.string()),
                    null_values=list(null_values),
                    strings_can_be_null=bool(null_values),
                    check_utf8=False,  # the stream gives nothing else
                ),
            )
        except pa.ArrowInvalid as error:
            raise SliceFault(
                Code.UNREADABLE_FILE,
                f"{self._name}, after record {self._first_row + self.records}: {error} "
                f"(a record may have {self._block_bytes} bytes at most)",
            ) from error

    def _parquet(self) -> Iterator[RawBatch]:
        try:
            schema = parquet.read_schema(self._path)
            check_header(self._name, tuple(schema.names), self._table)
            columns = self._columns_of(tuple(schema.names))
            texts = [name for name in columns if _is_text(schema.field(name).type)]
            with parquet.ParquetFile(
                self._path,
                buffer_size=self._block_bytes,
                pre_buffer=False,
                read_dictionary=texts,  # what repeats takes its memory once
            ) as file:
                for batch in file.iter_batches(_PARQUET_BATCH_ROWS, columns=list(columns)):
                    for part in self._parts(batch):
                        start = self._first_row + self.records + 1
                        self.records += part.num_rows
                        yield RawBatch(
                            file=self._name,
                            columns={columns[name]: part.column(name) for name in columns},
                            record_numbers=pa.arange(start, start + part.num_rows),
                            may_have_nul=True,
                        )
        except (pa.ArrowException, OSError) as error:
            message = f"{self._name}, after record {self._first_row + self.records}: {error}"
            raise SliceFault(Code.UNREADABLE_FILE, message) from error

    def _parts(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """`batch` in parts whose texts, written out, take a bounded number of bytes."""
        longest = sum(
            pc.max(pc.binary_length(column.dictionary)).as_py() or 0
            for column in batch.columns
            if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type)
        )
        if longest > self._block_bytes:
            raise SliceFault(
                Code.UNREADABLE_FILE,
                f"{self._name}, after record {self._first_row + self.records}: a text has up to "
                f"{longest} bytes (a record may have {self._block_bytes} bytes at most)",
            )
        rows = max(1, _PARQUET_BLOCKS * self._block_bytes // max(longest, 1))
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)

    def _columns_of(self, header: tuple[str, ...]) -> dict[str, str]:
        """The spec's names of the declared columns by their headers, in the order of the file."""
        names = {self._table.header(column): column for column in self._table.columns}
        if unknown := [found for found in header if found not in names]:
            shown = ", ".join(found[:50] for found in unknown[:20])
            logger.info(
                "%s: %d columns not in the spec are ignored: %s", self._name, len(unknown), shown
            )
        return {found: names[found] for found in header if found in names}


def _is_text(kind: pa.DataType) -> bool:
    return any(
        is_kind(kind)
        for is_kind in (
            *(pa.types.is_string, pa.types.is_large_string),
            *(pa.types.is_binary, pa.types.is_large_binary),
        )
    )


def _with_nul(batch: pa.RecordBatch, stand_in: bytes) -> list[pa.Array]:
    """The columns, with U+0000 in the place of what stood in for it."""
    if stand_in == b"\0":
        return list(batch.columns)
    return [pc.replace_substring(column, stand_in.decode(), "\0") for column in batch.columns]


class _RaggedLines:
    """Takes the lines that Arrow can't split into the header's columns, and numbers the others.

    Arrow reads ahead, so a line may come here long before the batch of the rows around it.
    """

    def __init__(self, file: str, quarantine: Quarantine, first_row: int, nul: str) -> None:
        self._file, self._quarantine = file, quarantine
        self._first_row, self._nul = first_row, nul
        # As [first, last], so that a file of nothing but ragged lines takes no memory either.
        self._runs: deque[list[int]] = deque()
        self._lock = threading.Lock()

    def __call__(self, line: arrow_csv.InvalidRow) -> str:
        """Arrow's handler: skip the line."""
        number = line.number - 1  # Arrow counts the header
        self._quarantine.add(
            QuarantinedRow(
                file=self._file,
                record_number=self._first_row + number,
                column=None,
                code=Code.RAGGED_LINE,
                reason=f"{line.actual_columns} fields in place of {line.expected_columns}",
                raw=line.text.replace(self._nul, "\0"),
            )
        )
        with self._lock:
            if self._runs and self._runs[-1][1] == number - 1:
                self._runs[-1][1] = number
            else:
                self._runs.append([number, number])
        return "skip"

    def number(self, before: int, rows: int) -> pa.Array:
        """The numbers of the next `rows` proper records, the last one's having been `before`."""
        spans: list[pa.Array] = []
        next_number = before + 1
        with self._lock:
            while rows:
                if self._runs and self._runs[0][0] <= next_number:
                    next_number = self._runs.popleft()[1] + 1
                    continue
                span = min(rows, self._runs[0][0] - next_number) if self._runs else rows
                spans.append(pa.arange(next_number, next_number + span))
                next_number += span
                rows -= span
        return pa.concat_arrays(spans) if spans else pa.array([], pa.int64())

    def left_after(self, before: int) -> int:
        """How many ragged lines came after the last proper record, numbered `before`."""
        return sum(last - first + 1 for first, last in self._runs if first > before)
