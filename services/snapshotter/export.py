"""Exporting a snapshot: every table as of its date, as Parquet, and the manifest that binds them.

The export reads what its own transaction has merged and not yet committed, so it goes through that
transaction's connection; see docs/adr/0002-export-inside-the-transaction.md.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Connection, text

from services.snapshotter.history import later_loads, state_query
from services.snapshotter.parquet_parts import ParquetParts, WrittenPart, copy_statement
from services.snapshotter.publication import Publication
from shared.contracts.manifest import FilePart, SchemaField, SnapshotManifest, TableManifest
from shared.database.dataset_tables import quoted
from shared.fail_points import FailPoint, reached
from shared.object_store import Bucket, ObjectStore, ObjectUri
from shared.observability.spans import step

PART_ROWS = 1_000_000
_FROZEN = "pg_temp.frozen"


@dataclass(frozen=True)
class Exported:
    """A snapshot's manifest and where it lies."""

    uri: ObjectUri
    sha256: str
    manifest: SnapshotManifest

    def summary(self) -> dict[str, Any]:
        """Rows, bytes and number of parts by table."""
        return {
            name: {
                "rows": table.rows,
                "bytes": sum(part.bytes for part in table.parts),
                "parts": len(table.parts),
            }
            for name, table in self.manifest.tables.items()
        }


@step("export the snapshot")
def export(
    connection: Connection,
    publication: Publication,
    store: ObjectStore,
    *,
    row_group_rows: int,
) -> Exported:
    """Write all tables of the dataset at (`as_of`, `known_at`) to the snapshots bucket.

    To be called when the merge is done, in its transaction. The manifest is written last. No other
    try writes the same objects, for `known_at` is in their names.
    """
    spec = publication.spec
    tables = {}
    for name, table in spec.tables.items():
        relation = quoted(spec.dataset, name)
        is_late = bool(later_loads(connection, spec.dataset, name, publication.as_of))
        if is_late:
            # COPY takes no parameters, a table made by a statement that does can be copied.
            statement = f"CREATE TEMPORARY TABLE {_FROZEN} AS {state_query(spec, name)}"
            connection.execute(text(statement), publication.parameters)
            relation = _FROZEN
        parts = _Upload(publication, store, name)
        with TemporaryDirectory(prefix="headrace-snapshot-") as directory:
            sink = ParquetParts(
                table,
                Path(directory),
                parts.add,
                row_group_rows=row_group_rows,
                part_rows=PART_ROWS,
            )
            try:
                _copy(connection, copy_statement(table, relation), sink)
            finally:
                sink.abandon()
        if is_late:
            connection.execute(text(f"DROP TABLE {_FROZEN}"))
        tables[name] = TableManifest(
            rows=sum(part.rows for part in parts.uploaded),
            fields=tuple(
                SchemaField(name=column, type=declared.type, nullable=table.is_nullable(column))
                for column, declared in table.columns.items()
            ),
            parts=tuple(parts.uploaded),
        )
    manifest = SnapshotManifest(
        dataset=spec.dataset,
        as_of=publication.as_of,
        known_at=publication.known_at,
        load_id=publication.load_id,
        snapshot_id=publication.snapshot_id,
        spec_digest=spec.digest(),
        tables=tables,
    )
    content = manifest.to_bytes()
    # No table's name begins with an underscore, and readers of Parquet folders pass over it.
    uri = store.uri(Bucket.SNAPSHOTS, f"{_folder(publication, '_manifests')}/manifest.json")
    reached(FailPoint.MANIFEST_STORING)
    store.put_bytes(uri, content, content_type="application/json")
    reached(FailPoint.MANIFEST_STORED)
    return Exported(uri, hashlib.sha256(content).hexdigest(), manifest)


class _Upload:
    """Takes a table's parts to the store and keeps what the manifest says of them."""

    def __init__(self, publication: Publication, store: ObjectStore, table: str) -> None:
        self._folder = _folder(publication, table)
        self._store = store
        self.uploaded: list[FilePart] = []

    def add(self, part: WrittenPart) -> None:
        uri = self._store.uri(Bucket.SNAPSHOTS, f"{self._folder}/{part.path.name}")
        reached(FailPoint.PART_STORING)
        self._store.put_file(uri, part.path)
        reached(FailPoint.PART_STORED)
        part.path.unlink()
        self.uploaded.append(
            FilePart(uri=str(uri), rows=part.rows, bytes=part.bytes, sha256=part.sha256)
        )


def _copy(connection: Connection, statement: str, sink: ParquetParts) -> None:
    cursor = connection.connection.cursor()
    try:
        cursor.execute(
            "SET LOCAL extra_float_digits = 1"
        )  # every float in digits that give it back
        cursor.copy_expert(statement, sink)
    finally:
        cursor.close()
    sink.close()


def _folder(publication: Publication, name: str) -> str:
    return (
        f"{publication.spec.dataset}/{name}/as_of={publication.as_of.isoformat()}"
        f"/known_at={publication.known_at:%Y%m%dT%H%M%S.%fZ}"
    )
