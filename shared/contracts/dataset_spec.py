"""The dataset spec: what a user declares in `datasets/<name>.yaml`, and nothing else.

`shared.contracts.spec_file` reads one from YAML and explains its faults by line;
`docs/datasets.md` is the guide; a test sees to it that it explains every field below.
"""

import hashlib
from datetime import date, datetime
from typing import Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from shared.contracts.drift_spec import OF_CATEGORIES, OF_NUMBERS, OF_TEXTS, Drift, Measure
from shared.contracts.increment import Increment
from shared.contracts.schedule_spec import Schedule
from shared.contracts.slice_naming import SliceNaming
from shared.contracts.spec_part import Name, SpecPart
from shared.contracts.table_spec import ColumnType, Table
from shared.contracts.training_spec import Training

STATE_VIEWS = ("data_loads", "current_data_state", "class_distribution")
"""The views that say where a dataset stands, in its schema."""
RESERVED_DATASETS = frozenset({"headrace", "public", "information_schema", "mlflow", "broker"})


class Slices(SpecPart):
    """How slices are named, where they lie, and when one is complete."""

    naming: SliceNaming | None = None
    """The names of slices that arrive whole, in a folder each. Either this or `increment`."""
    increment: Increment | None = None
    """The growth of slices that are shares of one folder's files."""
    source: str | None = None
    """Folder or `s3://` prefix, for loads that name no source: with `naming` its subfolders are
    the slices, with `increment` it has the whole files (and without it the folder of the load
    before is taken again)."""
    complete_when: Literal["all_files", "success_marker"] = "all_files"
    """A slice may start when all required files are there, or when `_SUCCESS` is."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.naming is None) == (self.increment is None):
            raise ValueError("slices have either a naming or an increment")
        return self

    def as_of(self, slice_key: str) -> date | None:
        """The date that the name says; None where it says none, as a share.

        Raises `ValueError` where the name doesn't fit.
        """
        if self.naming is not None:
            return self.naming.as_of(slice_key)
        if self.increment is not None:
            self.increment.share(slice_key)
        return None

    def next_after(self, slice_keys: list[str]) -> str | None:
        """The name after all of `slice_keys`; None where nothing is left to come.

        Raises `ValueError` for a dated naming without `first_as_of`.
        """
        if self.naming is not None:
            return self.naming.next_after(slice_keys)
        return self.increment.next_after(slice_keys) if self.increment else None


class DatasetSpec(SpecPart):
    """A dataset: its slices, its tables and, if there is one, its model."""

    dataset: Name
    description: str = ""
    slices: Slices
    tables: dict[Name, Table] = Field(min_length=1)
    training: Training | None = None
    schedule: Schedule | None = None
    drift: Drift | None = None

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
            if name in STATE_VIEWS:
                raise ValueError(f"table {name!r}: that name is kept for Headrace itself")
            self._files_agree(name, table)
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
        if self.drift is not None:
            self._drift_agrees(self.drift)
        return self

    def _files_agree(self, name: str, table: Table) -> None:
        others = [column for column, declared in table.columns.items() if declared.file]
        if others and self.slices.increment is None:
            raise ValueError(
                f"table {name!r}: column {others[0]!r} is of another file, which only slices that "
                "are increments can join"
            )
        if self.slices.increment is not None and table.absence == "delete":
            raise ValueError(
                f"table {name!r}: a slice by share has only its own rows, so absence "
                "from it can't mean that a row is gone"
            )
        if self.slices.increment is not None and "*" in (table.file or ""):
            raise ValueError(
                f"table {name!r}: an increment is taken of one file, not of {table.file!r}"
            )

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
        for name, columns in training.text.features.items() if training.text else ():
            for column in columns:
                if column not in training.features.get(name, ()):
                    raise ValueError(f"training: the text {name}.{column} is no feature")
                if self.tables[name].columns[column].type is not ColumnType.STRING:
                    raise ValueError(f"training: the text {name}.{column} is no string")

    def _drift_agrees(self, drift: Drift) -> None:
        if self.training is None:
            raise ValueError("drift: there is no training, so there is no dataset to compare")
        measures = self._measures_of(self.training)
        for name in (*drift.features, *drift.ignore):
            if name not in measures:
                raise ValueError(
                    f"drift: {name} is neither a feature of the training nor its target"
                )
        for name, thresholds in drift.features.items():
            for measure in thresholds:
                if measure not in measures[name]:
                    raise ValueError(
                        f"drift: {name} has no measure {measure.value}, but "
                        + ", ".join(each.value for each in measures[name])
                    )

    def _measures_of(self, training: Training) -> dict[str, tuple[Measure, ...]]:
        """By which measures each feature and the target are compared."""
        texts = training.text.feature_names if training.text else ()
        found: dict[str, tuple[Measure, ...]] = {
            f"{training.target.table}.{training.target.column}": OF_CATEGORIES
        }
        for table, columns in training.features.items():
            for column in columns:
                kind = self.tables[table].columns[column].type
                is_category = kind in (ColumnType.STRING, ColumnType.BOOLEAN)
                name = f"{table}.{column}"
                found[name] = OF_CATEGORIES if is_category else OF_NUMBERS
                if name in texts:
                    found[name] = OF_TEXTS
        return found

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

    def as_of(self, slice_key: str, asked_at: datetime) -> date:
        """The date of `slice_key`: the one that its name says, else the day when it was asked for.

        The day is that of the schedule's time zone, else UTC's. Raises `ValueError` where the name
        doesn't fit.
        """
        zone = ZoneInfo(self.schedule.time_zone if self.schedule else "UTC")
        return self.slices.as_of(slice_key) or asked_at.astimezone(zone).date()
