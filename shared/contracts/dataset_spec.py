"""The dataset spec: what a user declares in `datasets/<name>.yaml`, and nothing else.

`shared.contracts.spec_file` reads one from YAML and explains its faults by line;
`docs/datasets.md` is the guide; a test sees to it that it explains every field below.
"""

import hashlib
import re
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from shared.contracts.slice_naming import SliceNaming
from shared.contracts.spec_part import ColumnName, Name, Share, SpecPart
from shared.contracts.training_spec import Training

RESERVED_COLUMNS = frozenset(
    {"as_of", "known_at", "recorded_at", "load_id", "operation", "history_id", "record_number"}
)
RESERVED_DATASETS = frozenset({"headrace", "public", "information_schema", "mlflow", "broker"})


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


class ForeignKey(SpecPart):
    """Every non-null value of `columns` must be a key of `table`, staged or current."""

    columns: tuple[ColumnName, ...] = Field(min_length=1)
    table: Name


class Expectation(SpecPart):
    """An expectation in Great Expectations' own configuration form."""

    type: str = Field(pattern=r"^expect_[a-z0-9_]+$")
    kwargs: dict[str, Any] = Field(default_factory=dict)
    meta: dict[str, Any] = Field(default_factory=dict)


class Stability(SpecPart):
    """How much a slice may differ from the one before it, as shares; absent is unchecked."""

    max_row_change: float | None = Field(default=None, gt=0)
    """Largest relative change of the number of rows: 0.5 allows half to one and a half."""
    max_null_share_change: Share | None = None
    """Largest change of any column's share of NULLs, in absolute terms."""


class Table(SpecPart):
    """A table of the dataset."""

    key: tuple[ColumnName, ...] = Field(min_length=1)
    columns: dict[ColumnName, Column] = Field(min_length=1)
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
        return self.columns[column].header or column


class Slices(SpecPart):
    """How slices are named, where they lie, and when one is complete."""

    naming: SliceNaming
    source: str | None = None
    """Folder or `s3://` prefix whose subfolders are the slices, for loads that name no source."""
    complete_when: Literal["all_files", "success_marker"] = "all_files"
    """A slice may start when all required files are there, or when `_SUCCESS` is."""


class DatasetSpec(SpecPart):
    """A dataset: its slices, its tables and, if there is one, its model."""

    dataset: Name
    description: str = ""
    slices: Slices
    tables: dict[Name, Table] = Field(min_length=1)
    training: Training | None = None

    @field_validator("dataset")
    @classmethod
    def _not_reserved(cls, value: str) -> str:
        if value in RESERVED_DATASETS or value.startswith("pg_") or value.endswith("_staging"):
            raise ValueError(f"{value!r} is kept for the system, choose another name")
        return value

    @model_validator(mode="after")
    def _tables_agree(self) -> Self:
        for name, table in self.tables.items():
            if name.endswith(("_history", "_snapshots", "_coverage")) or "__" in name:
                raise ValueError(f"table {name!r}: that ending is kept for Headrace itself")
            for foreign_key in table.foreign_keys:
                parent = self.tables.get(foreign_key.table)
                if parent is None:
                    raise ValueError(
                        f"table {name!r}: foreign key to {foreign_key.table!r}, "
                        "which is not declared"
                    )
                theirs = [parent.columns[column].type.value for column in parent.key]
                ours = [table.columns[column].type.value for column in foreign_key.columns]
                if theirs != ours:
                    raise ValueError(
                        f"table {name!r}: the foreign key is ({', '.join(ours)}), the key of "
                        f"{foreign_key.table!r} is ({', '.join(theirs)})"
                    )
        if self.training is not None:
            self._training_agrees(self.training)
        return self

    def _training_agrees(self, training: Training) -> None:
        wanted = {**training.features}
        target = training.target
        if target.column in wanted.get(target.table, ()):
            raise ValueError(
                f"training: the target {target.table}.{target.column} is a feature too"
            )
        wanted[target.table] = (*wanted.get(target.table, ()), target.column)
        for name, columns in wanted.items():
            table = self.tables.get(name)
            if table is None:
                raise ValueError(f"training: table {name!r} is not declared")
            if table.key != (training.entity,):
                raise ValueError(f"training: table {name!r} must have the key [{training.entity}]")
            for column in columns:
                if column not in table.columns:
                    raise ValueError(f"training: {name}.{column} is not declared")

    def parents_first(self) -> list[str]:
        """The tables' names, each after those its foreign keys name; a cycle as it is declared."""
        ordered: list[str] = []
        visiting: set[str] = set()

        def visit(name: str) -> None:
            if name in ordered or name in visiting:
                return
            visiting.add(name)
            for foreign_key in self.tables[name].foreign_keys:
                visit(foreign_key.table)
            ordered.append(name)

        for name in self.tables:
            visit(name)
        return ordered

    def digest(self) -> str:
        """SHA-256 (hex) of everything declared."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def as_of(self, slice_key: str) -> date:
        """The date of `slice_key`. Raises `ValueError` where the name doesn't fit the naming."""
        return self.slices.naming.as_of(slice_key)
