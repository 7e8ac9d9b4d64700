"""Reading a snapshot: the Parquet files that its manifest names, and no others."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import RowMapping

from shared.arrow_types import ARROW_TYPES
from shared.contracts.events import Snapshotted
from shared.contracts.manifest import FilePart, SnapshotManifest, TableManifest
from shared.contracts.table_spec import ColumnType
from shared.errors import InconsistentState
from shared.object_store import ObjectStore, ObjectUri

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class FrozenSnapshot:
    """A snapshot by its ids, and where its manifest lies."""

    dataset: str
    slice_key: str
    load_id: str
    snapshot_id: str
    as_of: date
    manifest_uri: str
    manifest_sha256: str

    @classmethod
    def of_event(cls, payload: Snapshotted) -> Self:
        """The snapshot that `payload` announces."""
        return cls(**{name: getattr(payload, name) for name in cls.__dataclass_fields__})

    @classmethod
    def of_row(cls, row: RowMapping) -> Self:
        """The snapshot of a row of `headrace.snapshots`."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


def read_manifest(store: ObjectStore, uri: str, sha256: str) -> SnapshotManifest:
    """The manifest at `uri`. Raises `InconsistentState` where it hasn't this digest."""
    data = store.get_bytes(ObjectUri.parse(uri))
    return SnapshotManifest.from_bytes(data, uri=uri, sha256=sha256)


def read_table(
    store: ObjectStore,
    manifest: SnapshotManifest,
    table: str,
    columns: Mapping[str, ColumnType],
) -> pa.Table:
    """The `columns` of a snapshot's table, in the spec's types, in the order of its parts.

    Raises `InconsistentState` where the table, a column or a row that the manifest promises is
    not there, or where a part's bytes are not those that were written.
    """
    found = promised_table(manifest, table, columns)
    parts = [typed(read_part(store, part, list(columns)), columns) for part in found.parts]
    whole = pa.concat_tables(parts) if parts else arrow_schema(columns).empty_table()
    require_rows(manifest, table, whole.num_rows)
    return whole.replace_schema_metadata(None)


def promised_table(manifest: SnapshotManifest, table: str, columns: Iterable[str]) -> TableManifest:
    """What the manifest says of a table. Raises `InconsistentState` where it lacks a column."""
    found = manifest.tables.get(table)
    if found is None:
        raise InconsistentState(f"the snapshot {manifest.snapshot_id} has no table {table!r}")
    if missing := set(columns) - {field.name for field in found.fields}:
        raise InconsistentState(
            f"the snapshot {manifest.snapshot_id} was taken before {table} had the columns "
            f"{', '.join(sorted(missing))}: load its slice again"
        )
    return found


def require_rows(manifest: SnapshotManifest, table: str, rows: int) -> None:
    """Raise `InconsistentState` unless the parts of `table` have as many rows as promised."""
    if rows != manifest.tables[table].rows:
        raise InconsistentState(
            f"the snapshot {manifest.snapshot_id} says that {table} has "
            f"{manifest.tables[table].rows} rows, its parts have {rows}"
        )


def arrow_schema(columns: Mapping[str, ColumnType]) -> pa.Schema:
    """The columns in the spec's types."""
    return pa.schema([(name, ARROW_TYPES[kind]) for name, kind in columns.items()])


def typed(rows: pa.Table, columns: Mapping[str, ColumnType]) -> pa.Table:
    """The `columns` of `rows`, in the spec's types."""
    return rows.select(list(columns)).cast(arrow_schema(columns))


def read_part(store: ObjectStore, part: FilePart, columns: list[str] | None = None) -> pa.Table:
    """One Parquet file, whole or some of its columns.

    Raises `InconsistentState` where its bytes haven't the digest of `part`.
    """
    with verified_copy(store, part) as path:
        return pq.read_table(path, columns=columns, memory_map=False)


@contextmanager
def verified_copy(store: ObjectStore, part: FilePart) -> Iterator[Path]:
    """A copy of the part in a file, for the time of the block.

    Raises `InconsistentState` where its bytes haven't the digest of `part`.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        path = Path(folder) / "part.parquet"
        with path.open("wb") as copy:
            require_digest(store, part, copy.write)
        yield path


def require_digest(
    store: ObjectStore, part: FilePart, take: Callable[[bytes], object] = len
) -> None:
    """Read all bytes of the part and hand them to `take`, in bounded memory.

    Raises `InconsistentState` where they haven't the digest of `part`.
    """
    digest = hashlib.sha256()
    with store.open(ObjectUri.parse(part.uri)) as source:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            take(chunk)
    if digest.hexdigest() != part.sha256:
        raise InconsistentState(
            f"{part.uri} has the SHA-256 {digest.hexdigest()}, its manifest says {part.sha256}"
        )
