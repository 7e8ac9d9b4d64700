"""Slices by share: of a source whose files are there whole, the rows that come next are taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from sqlalchemy import Engine

from services.ingestor import loads
from services.ingestor.shares.cutting import SourceFile, cut_rows
from services.ingestor.shares.cutting_parquet import cut_parquet, parquet_rows
from services.ingestor.shares.row_index import RowIndex, keep_index, kept_index, make_index
from services.ingestor.shares.row_ranges import RowRange, range_of
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.increment import Increment
from shared.errors import TransientError
from shared.fail_points import FailPoint, reached
from shared.reading.quarantine import Code, SliceFault
from shared.reading.row_join import part_of_table
from shared.reading.sources import Source, joined_files
from shared.reading.spool import SpooledFile, SpooledSlice


class SourceChanged(TransientError):
    """A file was written while its rows were taken. When it is finished, they can be."""


@dataclass(frozen=True)
class _Counted:
    """A file whose number of rows is known; `fingerprint` says of which state."""

    file: SourceFile
    fingerprint: str
    rows: int
    delimiter: str
    index: RowIndex | None


@dataclass(frozen=True)
class ShareTaker:
    """Takes the rows of one slice by share for the load `load_id`."""

    engine: Engine
    spec: DatasetSpec
    increment: Increment
    share: Decimal
    load_id: str

    def take(
        self, source: Source, files: Mapping[str, Sequence[str]], directory: Path
    ) -> SpooledSlice:
        """Cut the slice's rows out of the tables' files, into `directory`.

        Which rows they are is recorded on the load. A file is read whole only where it is new or
        was written since, to learn where its rows begin; that is kept.

        Raises `SliceFault` where the files don't have the same rows or none for this slice, and
        `SourceChanged`.
        """
        counted = {file.name: self._count(file) for file in self._files(source, files)}
        rows = self._common_rows(list(counted.values()))
        with self.engine.begin() as connection:
            held, refused = loads.slices_by_share(
                connection, self.spec.dataset, self.increment, self.load_id
            )
            taken = range_of(self.increment, self.share, rows, held, refused)
            loads.record_range(connection, self.load_id, taken, rows)
            reached(FailPoint.RANGE_RECORDING)
        reached(FailPoint.RANGE_RECORDED)
        parts = {
            name: _cut(found, taken, directory / f"{number:04d}")
            for number, (name, found) in enumerate(counted.items())
        }
        return SpooledSlice(
            {table: self._of_table(table, names, parts) for table, names in files.items()}
        )

    def _files(self, source: Source, files: Mapping[str, Sequence[str]]) -> list[SourceFile]:
        """Every file that is needed, each once: as the table whose own it is has it."""
        found: dict[str, SourceFile] = {}
        for own in (True, False):
            for table, names in files.items():
                joined = joined_files(self.spec.tables[table], names)
                for name in names if own else joined:
                    part = part_of_table(
                        self.spec, table, name, own=own, numbered=bool(joined) or not own
                    )
                    found.setdefault(name, SourceFile(source, name, part))
        return list(found.values())

    def _count(self, file: SourceFile) -> _Counted:
        state = file.source.fingerprint(file.name)
        if file.is_parquet:
            return _Counted(file, state, parquet_rows(file), "", None)
        delimiter = file.delimiter()
        uri, declared = file.source.uri(file.name), file.table.format
        fingerprint = f"{state} {delimiter!r} {declared.quote!r} {file.compression}"
        with self.engine.begin() as connection:
            index = kept_index(connection, self.spec.dataset, uri, fingerprint)
        if index is None:
            index = make_index(file.name, file.pieces(0, None), delimiter, declared.quote)
            _check_unchanged(file, state)
            reached(FailPoint.INDEX_KEEPING)
            with self.engine.begin() as connection:
                keep_index(connection, self.spec.dataset, uri, fingerprint, index)
            reached(FailPoint.INDEX_KEPT)
        return _Counted(file, state, index.rows, delimiter, index)

    def _common_rows(self, counted: Sequence[_Counted]) -> int:
        rows = {found.rows for found in counted}
        if len(rows) > 1:
            said = ", ".join(f"{found.file.name} {found.rows}" for found in counted)
            raise SliceFault(
                Code.ROW_COUNTS_DIFFER,
                f"the files of a slice by share must have the same number of rows, these have: "
                f"{said}; is one of them of another day?",
            )
        return rows.pop() if rows else 0

    def _of_table(
        self, table: str, names: Sequence[str], parts: Mapping[str, SpooledFile]
    ) -> list[SpooledFile]:
        joined = tuple(parts[name] for name in joined_files(self.spec.tables[table], names))
        return [replace(parts[name], joined=joined) for name in names]


def _cut(found: _Counted, rows: RowRange, path: Path) -> SpooledFile:
    if found.index is None:
        part = cut_parquet(found.file, rows, path)
    else:
        part = cut_rows(found.file, found.index, found.delimiter, rows, path)
    _check_unchanged(found.file, found.fingerprint)
    return part


def _check_unchanged(file: SourceFile, fingerprint: str) -> None:
    if file.source.fingerprint(file.name) != fingerprint:
        raise SourceChanged(f"{file.source.uri(file.name)} is being written; it is read again")
