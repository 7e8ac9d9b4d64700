"""Reading a snapshot: the Parquet files that its manifest names, and no others."""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import RowMapping

from shared.arrow_types import ARROW_TYPES
from shared.contracts.events import Snapshotted
from shared.contracts.manifest import FilePart, SnapshotManifest
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
    found = manifest.tables.get(table)
    if found is None:
        raise InconsistentState(f"the snapshot {manifest.snapshot_id} has no table {table!r}")
    if missing := set(columns) - {field.name for field in found.fields}:
        raise InconsistentState(
            f"the snapshot {manifest.snapshot_id} was taken before {table} had the columns "
            f"{', '.join(sorted(missing))}: load its slice again"
        )
    schema = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in columns.items()])
    parts = [
        read_part(store, part, list(columns)).select(list(columns)).cast(schema)
        for part in found.parts
    ]
    whole = pa.concat_tables(parts) if parts else schema.empty_table()
    if whole.num_rows != found.rows:
        raise InconsistentState(
            f"the snapshot {manifest.snapshot_id} says that {table} has {found.rows} rows, "
            f"its parts have {whole.num_rows}"
        )
    return whole.replace_schema_metadata(None)


def read_part(store: ObjectStore, part: FilePart, columns: list[str] | None = None) -> pa.Table:
    """One Parquet file, whole or some of its columns.

    Raises `InconsistentState` where its bytes haven't the digest of `part`.
    """
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        path = Path(folder) / "part.parquet"
        with store.open(ObjectUri.parse(part.uri)) as source, path.open("wb") as copy:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                copy.write(chunk)
        if digest.hexdigest() != part.sha256:
            raise InconsistentState(
                f"{part.uri} has the SHA-256 {digest.hexdigest()}, its manifest says {part.sha256}"
            )
        return pq.read_table(path, columns=columns, memory_map=False)
