"""What can be wrong with a slice: with a row, which is quarantined, or with the whole of it."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from shared.contracts.events import Reason

SAMPLE_SIZE = 5
RAW_CHARACTERS_KEPT = 2_000


class Code(StrEnum):
    """Every fault that the ingestor finds, each with its one-line meaning."""

    # Of a row
    RAGGED_LINE = "ragged_line"
    """The line has more or fewer fields than the header."""
    NOT_AN_INTEGER = "not_an_integer"
    """A value of an integer column is something else; 1.5 and 1.0 too."""
    NOT_A_NUMBER = "not_a_number"
    """A value of a number column is something else; a decimal comma too."""
    NOT_A_BOOLEAN = "not_a_boolean"
    """A value of a boolean column is none of true, false, 1 and 0."""
    NOT_A_DATE = "not_a_date"
    """A value of a date column is no date of the calendar written YYYY-MM-DD."""
    NOT_A_TIMESTAMP = "not_a_timestamp"
    """A value of a timestamp column is no ISO 8601 date and time."""
    NOT_TEXT = "not_text"
    """A value of a string column is no valid text (in a Parquet file)."""
    OUT_OF_RANGE = "out_of_range"
    """A value is of the right kind, but too large or too small for its type."""
    NOT_FINITE = "not_finite"
    """A value of a number column is NaN or infinite."""
    NULL_IN_KEY = "null_in_key"
    """A column of the key is NULL."""
    NULL_NOT_ALLOWED = "null_not_allowed"
    """A column that is not nullable is NULL."""
    DUPLICATE_KEY = "duplicate_key"
    """A later row of the same slice has the same key."""
    KEY_TOO_LONG = "key_too_long"
    """The key has more bytes than an index of Postgres takes."""
    NUL_CHARACTER = "nul_character"
    """A text holds the character U+0000, which Postgres can't."""

    # Of the slice
    MISSING_FILE = "missing_file"
    """A required table has no file."""
    AMBIGUOUS_FILE = "ambiguous_file"
    """A table has several files where it may have one."""
    INCOMPLETE_SLICE = "incomplete_slice"
    """The slice has no `_SUCCESS` marker, which its spec asks for."""
    EMPTY_FILE = "empty_file"
    """A file has no header."""
    MISSING_COLUMN = "missing_column"
    """A file lacks a column that is not optional."""
    DUPLICATE_COLUMN = "duplicate_column"
    """A file's header has a declared column twice."""
    ENCODING = "encoding"
    """A file has bytes that are no text in its encoding."""
    BROKEN_QUOTING = "broken_quoting"
    """A quoted field isn't closed, or goes on after its closing quote."""
    UNREADABLE_FILE = "unreadable_file"
    """A file is damaged, or isn't in the format that is declared for it."""
    NO_ROWS = "no_rows"
    """A slice by share has no row."""
    FEWER_ROWS = "fewer_rows"
    """The source of a slice by share has fewer rows than are loaded of it."""
    ROW_COUNTS_DIFFER = "row_counts_differ"
    """The files of a slice by share have not the same number of rows."""
    ROW_NUMBERS = "row_numbers"
    """The numbers by which files are joined are absent, not whole, or don't ascend."""
    ROW_TOO_WIDE = "row_too_wide"
    """A row of the table takes more bytes than a page of Postgres has."""
    BUDGET_EXCEEDED = "budget_exceeded"
    """A table has more bad rows than its budget allows, or than are kept."""


class SliceFault(Exception):
    """The slice can't be loaded, whatever its rows say. `reason` names the cause."""

    def __init__(
        self, code: Code, message: str, *, table: str | None = None, column: str | None = None
    ) -> None:
        super().__init__(message)
        self.reason = Reason(code=code.value, message=message, table=table, column=column)


@dataclass(frozen=True)
class QuarantinedRow:
    """A row that could not be loaded. `record_number` counts data records of `file` from 1.

    `raw` is the line itself where it is ragged; otherwise the row's declared columns written again
    as CSV: in the order of the file, or for a duplicate key in the order of the spec.
    """

    file: str
    record_number: int
    column: str | None
    code: Code
    reason: str
    raw: str


@dataclass
class _Group:
    count: int = 0
    first: str = ""
    sample: list[str] = field(default_factory=list)


class Quarantine:
    """The bad rows of one table: each counted under one code, the first `limit` kept.

    Rows may be added by several threads.
    """

    def __init__(self, table: str, limit: int) -> None:
        self.table = table
        self.rows: list[QuarantinedRow] = []
        self.count = 0
        self._limit = limit
        self._groups: dict[tuple[Code, str | None], _Group] = {}
        self._lock = threading.Lock()

    @property
    def room(self) -> int:
        """How many more rows would be kept."""
        return self._limit - len(self.rows)

    @property
    def dropped(self) -> int:
        """How many rows were counted but not kept."""
        return self.count - len(self.rows)

    def add(self, row: QuarantinedRow) -> None:
        """Count the row, and keep it while there is room."""
        kept = replace(row, reason=_storable(row.reason), raw=_storable(row.raw))
        with self._lock:
            group = self._count(row.code, row.column, 1)
            if self.room > 0:
                self.rows.append(kept)
            if len(group.sample) < SAMPLE_SIZE:
                group.sample.append(kept.raw[:200])
            group.first = group.first or f"{row.file}, record {row.record_number}: {kept.reason}"

    def count_only(self, code: Code, column: str | None, count: int) -> None:
        """Count `count` more rows of which nothing is kept."""
        with self._lock:
            if count:
                self._count(code, column, count)

    def reasons(self) -> Iterator[Reason]:
        """One reason for each pair of code and column, in the order in which they turned up."""
        for (code, column), group in self._groups.items():
            yield Reason(
                code=code.value,
                message=f"{group.count} rows, first {group.first}"
                if group.count > 1
                else group.first,
                table=self.table,
                column=column,
                count=group.count,
                sample=tuple(group.sample),
            )

    def has(self, code: Code) -> bool:
        """Whether a row was quarantined under `code`."""
        return any(found is code for found, _ in self._groups)

    def _count(self, code: Code, column: str | None, count: int) -> _Group:
        self.count += count
        group = self._groups.setdefault((code, column), _Group())
        group.count += count
        return group


def csv_line(values: Sequence[object], delimiter: str, quote: str) -> str:
    """The values as one line of CSV without a line end; None is an empty field."""
    return delimiter.join(_field(value, delimiter, quote) for value in values)


def _field(value: object, delimiter: str, quote: str) -> str:
    text = "" if value is None else str(value)
    if any(character in text for character in (delimiter, quote, "\n", "\r")):
        return quote + text.replace(quote, quote * 2) + quote
    return text


def _storable(text: str) -> str:
    """`text` in a form that Postgres can keep, at a bounded length."""
    text = text.replace("\0", "\N{SYMBOL FOR NULL}")
    if len(text) > RAW_CHARACTERS_KEPT:
        more = len(text) - RAW_CHARACTERS_KEPT
        return f"{text[:RAW_CHARACTERS_KEPT]} ... ({more} more characters)"
    return text
