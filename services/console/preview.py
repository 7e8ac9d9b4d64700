"""What the ingestor would say to a slice's files, told before anybody asks for it.

By the ingestor's own reading, typing and verdict. What needs Postgres (expectations, foreign keys,
the slice before) is the validator's, and isn't foreseen here.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from services.console.wording import number
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.events import Reason
from shared.contracts.table_spec import Table
from shared.reading.header import header_of
from shared.reading.quarantine import Code, Quarantine, QuarantinedRow, SliceFault
from shared.reading.records import RawBatch, RecordReader
from shared.reading.row_join import JoinedReader
from shared.reading.sources import SUCCESS_MARKER, Source, find_files, joined_files
from shared.reading.spool import SpooledFile, spool
from shared.reading.typed_rows import typed_rows
from shared.reading.verdict import rejection
from shared.settings import Settings

ROWS_SHOWN = 10
BAD_SHOWN = 50


@dataclass(frozen=True)
class ColumnSeen:
    """A column that the spec declares."""

    name: str
    header: str
    type: str
    is_key: bool
    is_needed: bool
    is_there: bool


@dataclass
class TableSeen:
    """A table's files, as they would be read. Is judged by `rejection` like a staged one."""

    table: str
    quarantine: Quarantine
    budget: str
    is_needed: bool
    files: list[tuple[str, int]] = field(default_factory=list)
    columns: list[ColumnSeen] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """Headers of columns that the spec doesn't know; they are ignored."""
    rows_in: int = 0
    rows: list[list[Any]] = field(default_factory=list)
    """The first good ones, in the order of the spec's columns."""
    fault: Reason | None = None
    """Why the files as a whole can't be loaded."""
    is_cut: bool = False
    """Whether there are more rows than were looked at."""

    @property
    def rows_good(self) -> int:
        """How many would be staged."""
        return self.rows_in - self.quarantine.count

    @property
    def bad(self) -> Sequence[QuarantinedRow]:
        """The first rows that would be quarantined."""
        return self.quarantine.rows[:BAD_SHOWN]


@dataclass(frozen=True)
class Preview:
    """What would become of the slice at the first gate."""

    tables: Sequence[TableSeen]
    reasons: Sequence[Reason]
    """Why it would be rejected; none where it would go on to the validator."""
    unused: Sequence[str]
    """Files that belong to no table."""
    is_cut: bool
    """Whether that was said after a part of the rows only."""


class TooLarge(Exception):
    """There is more than a page should read: its message says how much, and how much it may be."""


def preview(settings: Settings, spec: DatasetSpec, source: Source) -> Preview:
    """Read the slice's files as the ingestor would, up to `console_preview_rows` of each table.

    Raises `TooLarge` where the files have more bytes than an upload may, and `SourceNotFound`.
    """
    names = source.names()
    reasons: list[Reason] = []
    try:
        find_files(spec, names)
    except SliceFault as fault:
        reasons.append(fault.reason)
    found = {name: _files_of(spec, name, names) for name in spec.tables}
    joined = {name: joined_files(spec.tables[name], files) for name, (files, _) in found.items()}
    wanted = {name for files, _ in found.values() for name in files}
    wanted |= {name for files in joined.values() for name in files if name in names}
    sizes = source.sizes(wanted)
    if (total := sum(sizes.values())) > settings.console_upload_bytes:
        raise TooLarge(
            f"the files have {number(total)} bytes, and a preview reads "
            f"{number(settings.console_upload_bytes)} at most (CONSOLE_UPLOAD_BYTES): the "
            "ingestor takes them all the same"
        )
    with tempfile.TemporaryDirectory(prefix="headrace-") as directory:
        spooled = spool(source, {"": sorted(wanted)}, Path(directory)).files[""]
        by_name = {file.name: file for file in spooled}
        tables = [
            _see(settings, spec, name, found[name], joined[name], by_name, sizes)
            for name in spec.tables
        ]
    faults = [table.fault for table in tables if table.fault]
    said = {reason.message for reason in reasons}
    reasons += [fault for fault in faults if fault.message not in said]
    reasons += rejection(spec, [table for table in tables if table.fault is None])
    return Preview(
        tables,
        reasons,
        [name for name in names if name not in wanted and name != SUCCESS_MARKER],
        any(table.is_cut for table in tables),
    )


def _files_of(
    spec: DatasetSpec, table: str, names: Sequence[str]
) -> tuple[list[str], Reason | None]:
    """A table's own files, whatever the others lack."""
    alone = spec.model_copy(update={"tables": {table: spec.tables[table]}})
    try:
        return find_files(alone, [*names, SUCCESS_MARKER])[table], None
    except SliceFault as fault:
        return [], fault.reason


def _see(
    settings: Settings,
    spec: DatasetSpec,
    name: str,
    found: tuple[list[str], Reason | None],
    joined: Sequence[str],
    spooled: Mapping[str, SpooledFile],
    sizes: Mapping[str, int],
) -> TableSeen:
    table = spec.tables[name]
    files, fault = found
    seen = TableSeen(
        name,
        Quarantine(name, settings.quarantine_rows_kept),
        str(table.quarantine_budget),
        table.required,
        files=[(file, sizes.get(file, 0)) for file in [*files, *joined]],
        fault=fault,
    )
    headers = {
        header
        for file in [*files, *joined]
        if file in spooled
        for header in header_of(file, spooled[file].path, table)
    }
    seen.columns = _columns(table, headers)
    known = {column.header for column in seen.columns}
    seen.unknown = sorted(header for header in headers if header not in known)
    try:
        _read(settings, spec, name, [_joined(spooled, f, joined) for f in files], seen)
    except SliceFault as fault:
        seen.fault = fault.reason.model_copy(update={"table": name})
    return seen


def _columns(table: Table, headers: set[str]) -> list[ColumnSeen]:
    return [
        ColumnSeen(
            name,
            table.header(name),
            column.type.value,
            name in table.key,
            not column.optional,
            table.header(name) in headers,
        )
        for name, column in table.columns.items()
    ]


def _joined(spooled: Mapping[str, SpooledFile], name: str, joined: Sequence[str]) -> SpooledFile:
    own = spooled[name]
    others = tuple(spooled[other] for other in joined if other in spooled)
    return SpooledFile(own.name, own.path, own.sha256, joined=others)


def _read(
    settings: Settings, spec: DatasetSpec, name: str, files: Sequence[SpooledFile], seen: TableSeen
) -> None:
    table = spec.tables[name]
    keys = _Keys(table)
    for file in files:
        reader: RecordReader | JoinedReader
        block_bytes = file.block_bytes(settings.csv_block_bytes)
        if file.joined:
            reader = JoinedReader(spec, name, file, seen.quarantine, block_bytes)
        else:
            reader = RecordReader(file.name, file.path, table, seen.quarantine, block_bytes)
        read = 0
        for raw in _up_to(reader.batches(), settings.console_preview_rows - seen.rows_in, seen):
            batch = typed_rows(raw, table, seen.quarantine, 0)
            keys.take(file.name, batch)
            for row in batch.slice(0, max(0, ROWS_SHOWN - len(seen.rows))).to_pylist():
                seen.rows.append([row[column] for column in table.columns])
            read += raw.num_rows
        # A record that couldn't be split is in no batch: the reader has counted it.
        seen.rows_in += read if seen.is_cut else max(read, reader.records)
        if seen.is_cut:
            break
    if seen.is_cut:
        # Ragged lines are set apart while the reader reads ahead.
        seen.rows_in = max(seen.rows_in, seen.quarantine.count)
    keys.quarantine_repeated(seen.quarantine)


def _up_to(batches: Iterator[RawBatch], rows: int, seen: TableSeen) -> Iterator[RawBatch]:
    """Batches of `rows` rows in all, at the granularity of batches."""
    for batch in batches:
        if rows <= 0:
            seen.is_cut = True
            return
        rows -= batch.num_rows
        yield batch


class _Keys:
    """The keys of the good rows, to find those that come again, as staging does."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._seen: dict[tuple[Any, ...], tuple[str, int]] = {}
        self._repeated: list[tuple[str, int, tuple[Any, ...]]] = []

    def take(self, file: str, batch: pa.RecordBatch) -> None:
        columns = [batch.column(name).to_pylist() for name in self._table.key]
        numbers = batch.column("record_number").to_pylist()
        for number_, key in zip(numbers, zip(*columns, strict=True), strict=True):
            if (before := self._seen.get(key)) is not None:
                self._repeated.append((*before, key))
            self._seen[key] = (file, number_)

    def quarantine_repeated(self, quarantine: Quarantine) -> None:
        for file, record, key in self._repeated:
            last_file, last = self._seen[key]
            where = f"record {last}" + ("" if last_file == file else f" of {last_file}")
            quarantine.add(
                QuarantinedRow(
                    file,
                    record,
                    ", ".join(self._table.key),
                    Code.DUPLICATE_KEY,
                    f"the key comes again in {where}",
                    ", ".join(map(str, key)),
                )
            )
