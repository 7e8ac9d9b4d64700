"""A load's files as they landed, to be read and corrected record by record."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
from sqlalchemy import Connection, select

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import Table
from shared.database.tables import loads
from shared.errors import InconsistentState, PermanentError
from shared.mending.csv_records import parse, split_records
from shared.object_store import ObjectStore, ObjectUri
from shared.reading.dialect import Dialect, survey
from shared.reading.quarantine import SliceFault
from shared.reading.records import is_parquet
from shared.reading.row_join import part_of_table
from shared.reading.sources import SUCCESS_MARKER, StorePrefix, find_files, joined_files


class NotMendable(PermanentError):
    """The rows of this load can't be mended: nothing of it landed, or not any more."""


def find_load(connection: Connection, load_id: str) -> dict[str, Any]:
    """The row of `headrace.loads`. Raises `InconsistentState` where there is none."""
    found = connection.execute(select(loads).where(loads.c.load_id == load_id)).mappings().first()
    if found is None:
        raise InconsistentState(f"there is no load {load_id}")
    return dict(found)


@dataclass(frozen=True)
class LandedSlice:
    """The files of a load in the landing bucket. `first_row` of the source precede those there."""

    spec: DatasetSpec
    load_id: str
    folder: StorePrefix
    tables: Mapping[str, list[str]]
    """Each table's own files."""
    first_row: int
    directory: Path
    """Where files are copied to, each once."""
    block_bytes: int
    _copied: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        spec: DatasetSpec,
        load: Mapping[str, Any],
        store: ObjectStore,
        directory: Path,
        block_bytes: int,
    ) -> "LandedSlice":
        """The slice that `load` brought. Raises `NotMendable` where its files aren't there."""
        if load["landing_pruned_at"] is not None:
            raise NotMendable(
                f"the files of load {load['load_id']} were pruned on "
                f"{load['landing_pruned_at']:%Y-%m-%d}: mend the source and load the slice again"
            )
        if load["landing_uri"] is None:
            raise NotMendable(
                f"load {load['load_id']} was refused before its files landed: mend the source and "
                "load the slice again"
            )
        folder = StorePrefix(ObjectUri.parse(load["landing_uri"]), store)
        try:
            tables = find_files(spec, [*folder.names(), SUCCESS_MARKER])
        except SliceFault as fault:
            raise NotMendable(
                f"the spec has changed since load {load['load_id']}: {fault}"
            ) from fault
        return cls(
            spec,
            load["load_id"],
            folder,
            tables,
            load["first_row"] or 0,
            directory,
            block_bytes,
        )

    def joined(self, table: str) -> list[str]:
        """The files that columns of the table are joined from."""
        return joined_files(self.spec.tables[table], self.tables[table])

    def files(self) -> list[str]:
        """All files, each once."""
        own = [name for names in self.tables.values() for name in names]
        joined = [name for table in self.tables for name in self.joined(table)]
        return list(dict.fromkeys([*own, *joined]))

    def table_of(self, file: str) -> Table:
        """The columns and the format of `file`, as one of the tables that own it has them."""
        for own in (True, False):
            for name, files in self.tables.items():
                if file in (files if own else self.joined(name)):
                    if self.spec.slices.increment is None:
                        return self.spec.tables[name]
                    return part_of_table(self.spec, name, file, own=own, numbered=False)
        raise InconsistentState(f"load {self.load_id} has no file {file!r}")

    def path(self, file: str) -> Path:
        """A copy of the file on this machine."""
        if file not in self._copied:
            target = self.directory / f"landed-{len(self._copied):04d}"
            with self.folder.open(file) as source, target.open("wb") as copy:
                while chunk := source.read(1 << 20):
                    copy.write(chunk)
            self._copied[file] = target
        return self._copied[file]

    def is_parquet(self, file: str) -> bool:
        """Whether the file is Parquet, and not CSV."""
        return is_parquet(file, self.table_of(file).format)

    def dialect(self, file: str) -> Dialect:
        """How a CSV file is written."""
        return survey(file, self.path(file), self.table_of(file), self.block_bytes, self.first_row)

    def read(self, file: str, records: Collection[int]) -> "ReadRecords":
        """The header of the file and the fields of `records`, by their numbers in the source."""
        wanted = {number - self.first_row for number in records}
        if self.is_parquet(file):
            header, found = _parquet_rows(self.path(file), wanted)
        else:
            dialect = self.dialect(file)
            found = {
                number: parse(record, dialect).fields
                for number, record in split_records(self.path(file), dialect, wanted)
                if number is not None
            }
            header = dialect.header
        return ReadRecords(
            header, {number + self.first_row: fields for number, fields in found.items()}
        )


@dataclass(frozen=True)
class ReadRecords:
    """A file's header, and fields of some of its records."""

    header: tuple[str, ...]
    fields: Mapping[int, tuple[str, ...]]


def _parquet_rows(
    path: Path, wanted: Collection[int]
) -> tuple[tuple[str, ...], dict[int, tuple[str, ...]]]:
    found: dict[int, tuple[str, ...]] = {}
    with parquet.ParquetFile(path) as file:
        passed = 0
        for batch in file.iter_batches():
            for number in sorted(wanted):
                place = number - 1 - passed
                if 0 <= place < batch.num_rows:
                    found[number] = tuple(
                        as_text(column[place].as_py()) for column in batch.columns
                    )
            passed += batch.num_rows
        return tuple(file.schema_arrow.names), found


def as_text(value: object) -> str:
    """A value of a Parquet file as it stands in a sheet."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value)
