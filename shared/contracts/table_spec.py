"""The part of a spec that says what a table is: its columns, files, rules and images."""

import re
import string
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from shared.contracts.spec_part import ColumnName, Name, Share, SpecPart

RESERVED_COLUMNS = frozenset(
    {"as_of", "known_at", "recorded_at", "load_id", "operation", "history_id", "record_number"}
)


class ColumnType(StrEnum):
    """What a value may be."""

    STRING = "string"
    """Unicode text."""
    INTEGER = "integer"
    """64-bit signed."""
    NUMBER = "number"
    """64-bit floating point; NaN and infinities are refused."""
    BOOLEAN = "boolean"
    """true/false, True/False, 1/0."""
    DATE = "date"
    """YYYY-MM-DD."""
    TIMESTAMP = "timestamp"
    """ISO 8601; without an offset it is taken as UTC. Kept to the microsecond."""


class Column(SpecPart):
    """A column. In YAML either its type alone (`signup_date: date`) or these fields."""

    type: ColumnType
    nullable: bool = True
    """Whether a value may be absent. A column of the key never may."""
    optional: bool = False
    """Whether the column may be missing from a file; then it is NULL in every row."""
    header: str | None = None
    """The column's name in the file, where that is another one."""
    file: str | None = None
    """Another file that the value is taken from: of its row with the same row number. Only where
    slices are increments."""


class Format(SpecPart):
    """How a file is written. `auto` looks at the file's first block."""

    kind: Literal["auto", "csv", "parquet"] = "auto"
    """`auto` goes by the file's name: `.parquet` is Parquet, all else CSV."""
    delimiter: str = "auto"
    """One character, or `auto`: comma, semicolon, tab or bar, whichever the header has."""
    quote: Annotated[str, Field(min_length=1, max_length=1)] = '"'
    encoding: str = "auto"
    """A Python codec name, or `auto`: a byte order mark decides, then UTF-8, then cp1252."""
    compression: Literal["auto", "none", "gzip", "bz2", "zstd"] = "auto"
    """`auto` goes by the file's name: `.gz`, `.bz2`, `.zst`."""
    null_values: tuple[str, ...] = ("",)
    """Texts that mean NULL, in every column."""

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str) -> str:
        if value != "auto" and len(value) != 1:
            raise ValueError("a delimiter is one character, or auto")
        return value

    @field_validator("delimiter", "quote")
    @classmethod
    def _of_ascii(cls, value: str) -> str:
        if not value.isascii() or value in ("\0", "\r", "\n"):
            raise ValueError("a delimiter or quote is an ASCII character, and ends no line")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_codec(cls, value: str) -> str:
        try:
            if value != "auto":
                "".encode(value)  # unlike codecs.lookup, refuses codecs that aren't for text
        except (LookupError, ValueError) as error:
            raise ValueError(f"the encoding {value!r} is not known: {error}") from error
        return value

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        if self.delimiter == self.quote:
            raise ValueError("the delimiter and the quote are the same character")
        return self


class ForeignKey(SpecPart):
    """Every non-null value of `columns` must be a key of `table`, staged or current."""

    columns: tuple[ColumnName, ...] = Field(min_length=1)
    table: Name


class Severity(StrEnum):
    """What follows from an expectation that isn't met. Great Expectations' words."""

    CRITICAL = "critical"
    """The slice is rejected."""
    WARNING = "warning"
    """The rows are flagged in the report and the results; the slice goes on."""


class Expectation(SpecPart):
    """An expectation in Great Expectations' own configuration form."""

    type: str = Field(pattern=r"^expect_[a-z0-9_]+$")
    kwargs: dict[str, Any] = Field(default_factory=dict)
    severity: Severity = Severity.CRITICAL
    """Whether a slice that doesn't meet it is rejected, or its rows only flagged."""
    meta: dict[str, Any] = Field(default_factory=dict)


class Stability(SpecPart):
    """How much a slice may differ from the one before it, as shares; absent is unchecked."""

    max_row_change: float | None = Field(default=None, gt=0)
    """Largest relative change of the number of rows: 0.5 allows half to one and a half."""
    max_null_share_change: Share | None = None
    """Largest change of any column's share of NULLs, in absolute terms."""
    max_value_share_change: dict[ColumnName, Share] = Field(default_factory=dict)
    """By column, the largest change of any of its values' shares, in absolute terms. For columns
    of few distinct values, as classes."""


class Images(SpecPart):
    """The pictures that belong to a table's rows, one file each."""

    mode: Literal["ignore", "reference", "copy"] = "copy"
    """`copy` keeps each picture once, under its content's hash; `reference` only says where it
    lies; `ignore` doesn't look."""
    file: str
    """The file's path within the slice's folder, with columns in braces: `images/{sku}.jpg`."""
    min_share: Share = 0.0
    """The share of a slice's rows that must have their picture, else the slice is rejected."""
    max_share_change: Share | None = None
    """Largest change of that share from the slice before, in absolute terms."""

    @field_validator("file")
    @classmethod
    def _within_the_folder(cls, value: str) -> str:
        if value.startswith("/") or {"", ".", ".."} & set(value.split("/")):
            raise ValueError("a picture lies in the slice's folder: a path without .. or /")
        try:
            fields = [
                field for _, *field in string.Formatter().parse(value) if field[0] is not None
            ]
        except ValueError as error:
            raise ValueError(f"a file's path can't be read: {error}") from error
        if not fields or any(name == "" or form or conversion for name, form, conversion in fields):
            raise ValueError("a picture's path has columns in braces, as images/{sku}.jpg")
        return value

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns in `file`, in its order."""
        return tuple(name for _, name, _, _ in string.Formatter().parse(self.file) if name)


class Table(SpecPart):
    """A table of the dataset."""

    key: tuple[ColumnName, ...] = Field(min_length=1)
    columns: dict[ColumnName, Column] = Field(min_length=1, max_length=1500)
    """In Postgres a table has at most 1,600, and some are Headrace's."""
    file: str | None = None
    """The file's name within the slice's folder; `<table>.csv` by default. A `*` is a wildcard."""
    required: bool = True
    """Whether a slice without this file is rejected."""
    absence: Literal["keep", "delete"] = "keep"
    """What a known row's absence from a slice means."""
    duplicates: Literal["reject", "keep_last"] = "reject"
    """What becomes of rows that repeat a key within one file: the slice is rejected, or all but
    the last are quarantined (which counts towards the budget all the same)."""
    quarantine_budget: int | str = 0
    """How many bad rows the slice may have before it is rejected: a count, or a share as `0.5%`."""
    format: Format = Format()
    foreign_keys: tuple[ForeignKey, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    stability: Stability = Stability()
    images: Images | None = None

    @field_validator("columns", mode="before")
    @classmethod
    def _type_alone(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            name: {"type": column} if isinstance(column, str) else column
            for name, column in value.items()
        }

    @field_validator("quarantine_budget")
    @classmethod
    def _count_or_share(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value >= 0:
            return value
        if isinstance(value, str) and re.fullmatch(r"\d{1,3}(\.\d+)?%", value):
            return value
        raise ValueError("a budget is a count (0, 10) or a share (0.5%)")

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        for column in self.key:
            if column not in self.columns:
                raise ValueError(f"the key names {column!r}, which is no column of this table")
        for foreign_key in self.foreign_keys:
            for column in foreign_key.columns:
                if column not in self.columns:
                    raise ValueError(f"a foreign key names {column!r}, which is no column here")
        for column in self.stability.max_value_share_change:
            if column not in self.columns:
                raise ValueError(f"stability names {column!r}, which is no column of this table")
        for column in self.images.columns if self.images else ():
            if column not in self.columns:
                raise ValueError(f"images.file names {column!r}, which is no column of this table")
        if reserved := RESERVED_COLUMNS & {name.lower() for name in self.columns}:
            raise ValueError(
                f"column names kept for Headrace itself: {', '.join(sorted(reserved))}"
            )
        folded = [name.lower() for name in self.columns]
        if len(set(folded)) < len(folded):
            raise ValueError("two columns differ in case only")
        return self

    def budget_rows(self, rows_in: int) -> int:
        """How many of `rows_in` rows may be quarantined."""
        if isinstance(self.quarantine_budget, int):
            return self.quarantine_budget
        return int(rows_in * float(self.quarantine_budget[:-1]) / 100)

    def is_nullable(self, column: str) -> bool:
        """Whether `column` may hold NULL."""
        return self.columns[column].nullable and column not in self.key

    def header(self, column: str) -> str:
        """The name of `column` in a file."""
        header = self.columns[column].header
        return column if header is None else header
