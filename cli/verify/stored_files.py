"""Objects of the store: their digests, and the rows of Parquet files in a temporary table."""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from sqlalchemy import Connection, text

from cli.verify.findings import Finding
from shared.contracts.table_spec import ColumnType
from shared.database.sql_names import column_list, quoted
from shared.errors import PermanentError, SourceNotFound
from shared.object_store import ObjectStore, ObjectUri

BATCH_ROWS = 50_000
_CHUNK_BYTES = 1 << 20

# Dates and moments are compared as the days and microseconds since 1970 that a file holds.
COLUMN_TYPES: Mapping[ColumnType, str] = {
    ColumnType.STRING: "text",
    ColumnType.INTEGER: "bigint",
    ColumnType.NUMBER: "double precision",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.DATE: "integer",
    ColumnType.TIMESTAMP: "bigint",
}
_AS_STORED = {
    ColumnType.DATE: "{0} - DATE '1970-01-01'",
    ColumnType.TIMESTAMP: "(extract(epoch FROM {0}) * 1000000)::bigint",
}
_AS_TEXT = {ColumnType.DATE: pa.int32(), ColumnType.TIMESTAMP: pa.int64()}


@dataclass(frozen=True)
class StoredFile:
    """A Parquet file as a manifest or a row of the control tables describes it."""

    uri: str
    rows: int
    bytes: int
    sha256: str

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "StoredFile":
        """The part of a manifest. Raises `KeyError` where it isn't one."""
        return cls(said["uri"], said["rows"], said["bytes"], said["sha256"])


def digest_of(store: ObjectStore, uri: str) -> str | None:
    """The SHA-256 of an object, hexadecimal; None where it isn't there."""
    digest = hashlib.sha256()
    try:
        with store.open(ObjectUri.parse(uri)) as source:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
    except SourceNotFound:
        return None
    return digest.hexdigest()


@contextmanager
def fetched(store: ObjectStore, file: StoredFile, finding: Finding) -> Iterator[Path | None]:
    """The file on this machine for the time of the block; None, and noted, where it is not as said.

    On disk, so that its size is no matter of memory.
    """
    with TemporaryDirectory(prefix="headrace-verify-") as folder:
        path = Path(folder) / "file.parquet"
        try:
            store.get_file(ObjectUri.parse(file.uri), path)
        except SourceNotFound:
            finding.differs(file.uri, "the object", expected=f"{file.bytes} bytes", found=None)
            yield None
            return
        finding.saw("files")
        finding.saw("bytes", path.stat().st_size)
        yield path if _is_as_said(path, file, finding) else None


def _is_as_said(path: Path, file: StoredFile, finding: Finding) -> bool:
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    size = path.stat().st_size
    is_same = finding.require(file.uri, "bytes", expected=file.bytes, found=size)
    is_same &= finding.require(file.uri, "SHA-256", expected=file.sha256, found=sha256)
    if not is_same:
        return False
    try:
        rows = pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        finding.differs(file.uri, "Parquet", expected="a file that can be read", found=error)
        return False
    return finding.require(file.uri, "rows", expected=file.rows, found=rows)


def stored_columns(columns: Mapping[str, ColumnType]) -> str:
    """SQL for columns of a table of the database in the form in which files have them."""
    return ", ".join(
        f"{_AS_STORED.get(kind, '{0}').format(quoted(name))} AS {quoted(name)}"
        for name, kind in columns.items()
    )


def create_table(connection: Connection, name: str, columns: Mapping[str, ColumnType]) -> None:
    """Make an empty temporary table for rows of files; `name` is quoted."""
    defined = ", ".join(
        f"{quoted(column)} {COLUMN_TYPES[kind]}" for column, kind in columns.items()
    )
    connection.execute(text(f"CREATE TEMPORARY TABLE {name} ({defined}) ON COMMIT DROP"))


def batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a file, with `columns` in this order."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
            yield batch.select(list(columns))


def copy_batch(
    connection: Connection, table: str, batch: pa.RecordBatch, columns: Mapping[str, ColumnType]
) -> None:
    """Append rows to a temporary table. Raises `PermanentError` where a type isn't the spec's."""
    arrays = []
    for name, kind in columns.items():
        values = batch.column(name)
        try:
            arrays.append(pc.cast(values, _AS_TEXT[kind]) if kind in _AS_TEXT else values)
        except pa.ArrowException as error:
            raise PermanentError(f"column {name} is a {values.type}: {error}") from error
    written = io.BytesIO()
    pa_csv.write_csv(
        pa.RecordBatch.from_arrays(arrays, names=list(columns)),
        written,
        pa_csv.WriteOptions(include_header=False),
    )
    written.seek(0)
    statement = f"COPY {table} ({column_list(columns)}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')"
    with closing(connection.connection.cursor()) as cursor:
        cursor.copy_expert(statement, written)
