"""A table's files into its staging table, as Arrow batches by binary COPY."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import adbc_driver_manager
import pyarrow as pa
import pyarrow.compute as pc

from services.ingestor.binary_copy import adbc_transaction
from shared.contracts.dataset_spec import DatasetSpec
from shared.database import dataset_tables
from shared.database.dataset_tables import column_list, create_staging, quoted, staging_table
from shared.database.engine import libpq_uri
from shared.errors import ServerUnavailable
from shared.fail_points import FailPoint, reached
from shared.reading.quarantine import Code, Quarantine, SliceFault
from shared.reading.records import RecordReader
from shared.reading.row_join import JoinedReader
from shared.reading.spool import SpooledFile
from shared.reading.typed_rows import staging_schema, typed_rows
from shared.settings import Settings

# Lost connection, server shutting down, out of resources, deadlock, lock not available.
_TRANSIENT_SQLSTATES = ("08", "57P", "53", "40", "55P03")
_LIMIT_EXCEEDED = "54"


@dataclass(frozen=True)
class FilePart:
    """Which of a table's rows came from which file: those numbered from `offset` + 1 on."""

    name: str
    offset: int
    records: int


@dataclass(frozen=True)
class StagedTable:
    """A table in staging. Duplicate keys are still in it, unless `is_ascending` rules them out."""

    table: str
    name: str
    files: tuple[FilePart, ...]
    quarantine: Quarantine
    is_ascending: bool

    @property
    def rows_in(self) -> int:
        """How many data records the files have, the bad ones included."""
        return sum(file.records for file in self.files)

    def origin(self, record_number: int) -> tuple[str, int]:
        """The file of a staged row, and the row's number in it."""
        file = next(file for file in reversed(self.files) if file.offset < record_number)
        return file.name, record_number - file.offset


def stage_table(
    settings: Settings, spec: DatasetSpec, table: str, load_id: str, files: Sequence[SpooledFile]
) -> StagedTable:
    """Load `files` into the table's staging table, in place of what an earlier try left there.

    The rows are numbered through all files. Memory is bounded, whatever the files' size.
    Raises `SliceFault` where a file as a whole can't be loaded; then nothing is staged.
    """
    rows = _Rows(settings, spec, table, files)
    name = staging_table(table, load_id)
    schema = dataset_tables.staging_schema(spec.dataset)
    try:
        with adbc_transaction(libpq_uri(settings)) as transaction:
            # Made in the transaction that fills it, a table needs no write-ahead log
            # (with wal_level = minimal) and is never seen half full.
            for statement in create_staging(spec, table, load_id):
                transaction.execute(statement)
            reader = pa.RecordBatchReader.from_batches(rows.schema, rows.batches())
            transaction.append(schema, name, reader)
            key = column_list(spec.tables[table].key)  # the merge joins on it, and on nothing else
            transaction.execute(f"ANALYZE {quoted(schema, name)} ({key})")
            reached(FailPoint.STAGING_FILLING)
        reached(FailPoint.STAGING_FILLED)
    except adbc_driver_manager.Error as error:
        if rows.error is not None:
            raise rows.error from None
        if _is_transient(error):
            raise ServerUnavailable("Postgres", error) from error
        if (error.sqlstate or "").startswith(_LIMIT_EXCEEDED):
            raise SliceFault(Code.ROW_TOO_WIDE, f"Postgres: {error}", table=table) from error
        raise
    finally:
        # Free memory that the C library keeps for next time goes back: tables would add up.
        pa.system_memory_pool().release_unused()
    return StagedTable(table, name, tuple(rows.files), rows.quarantine, rows.is_ascending)


def _is_transient(error: adbc_driver_manager.Error) -> bool:
    if error.sqlstate:
        return error.sqlstate.startswith(_TRANSIENT_SQLSTATES)
    return error.status_code == adbc_driver_manager.AdbcStatusCode.IO


class _Rows:
    """The table's typed rows, and what became known of them on the way."""

    def __init__(
        self, settings: Settings, spec: DatasetSpec, name: str, files: Sequence[SpooledFile]
    ) -> None:
        table = spec.tables[name]
        self.schema = staging_schema(table)
        self.quarantine = Quarantine(name, settings.quarantine_rows_kept)
        self.files: list[FilePart] = []
        self.is_ascending = len(table.key) == 1
        self.error: Exception | None = None
        self._block_bytes = settings.csv_block_bytes
        self._spec, self._name, self._table = spec, name, table
        self._spooled = files
        self._last_key: pa.Scalar | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows. An exception is kept in `error`: the driver would pass on its text only."""
        try:
            for file in self._spooled:
                yield from self._file(file)
        except Exception as error:
            self.error = error
            raise

    def _file(self, file: SpooledFile) -> Iterator[pa.RecordBatch]:
        offset = self.files[-1].offset + self.files[-1].records if self.files else 0
        reader = self._reader(file)
        for raw in reader.batches():
            batch = typed_rows(raw, self._table, self.quarantine, offset)
            if batch.num_rows:
                self._follow_keys(batch)
                yield batch
        if file.rows not in (None, reader.records):
            message = f"{file.name}: {reader.records} records were read where {file.rows} begin"
            raise SliceFault(Code.BROKEN_QUOTING, f"{message}: is a quote out of place?")
        self.files.append(FilePart(file.name, offset, reader.records))

    def _reader(self, file: SpooledFile) -> RecordReader | JoinedReader:
        if file.joined:
            return JoinedReader(self._spec, self._name, file, self.quarantine, self._block_bytes)
        block_bytes = file.block_bytes(self._block_bytes)
        return RecordReader(
            file.name, file.path, self._table, self.quarantine, block_bytes, file.first_row
        )

    def _follow_keys(self, batch: pa.RecordBatch) -> None:
        """Note whether the keys still ascend: then none can repeat, and nobody has to look."""
        if not self.is_ascending:
            return
        keys = batch.column(self._table.key[0])
        if self._last_key is not None:
            keys = pa.concat_arrays([pa.array([self._last_key], keys.type), keys])
        self.is_ascending = bool(pc.all(pc.less(keys[:-1], keys[1:]), min_count=0).as_py())
        self._last_key = keys[-1]
