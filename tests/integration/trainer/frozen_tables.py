"""Tables frozen as a snapshot in the store, in parts and row groups of any size and order."""

import hashlib
import io
from collections.abc import Mapping
from datetime import UTC, date, datetime
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.manifest import FilePart, SchemaField, SnapshotManifest, TableManifest
from shared.object_store import Bucket, ObjectStore


def freeze(
    store: ObjectStore,
    spec: DatasetSpec,
    tables: Mapping[str, pa.Table],
    as_of: date,
    *,
    part_rows: int,
    group_rows: int,
) -> SnapshotManifest:
    """Write `tables` to the store; their manifest."""
    place = store.uri(Bucket.SNAPSHOTS, f"{spec.dataset}/{uuid4()}")
    manifests = {}
    for name, declared in spec.tables.items():
        rows, parts = tables[name], []
        for number, start in enumerate(range(0, max(rows.num_rows, 1), part_rows)):
            sink = io.BytesIO()
            part = rows.slice(start, part_rows)
            pq.write_table(part, sink, row_group_size=group_rows)
            data, uri = sink.getvalue(), place.child(f"{name}/part-{number}.parquet")
            store.put_bytes(uri, data, content_type="application/vnd.apache.parquet")
            sha256 = hashlib.sha256(data).hexdigest()
            parts.append(FilePart(uri=str(uri), rows=part.num_rows, bytes=len(data), sha256=sha256))
        manifests[name] = TableManifest(
            rows=rows.num_rows,
            fields=tuple(
                SchemaField(name=column, type=described.type)
                for column, described in declared.columns.items()
            ),
            parts=tuple(parts),
        )
    return SnapshotManifest(
        dataset=spec.dataset,
        as_of=as_of,
        known_at=datetime(2026, 1, 1, tzinfo=UTC),
        load_id="load",
        snapshot_id="snapshot",
        spec_digest=spec.digest(),
        tables=manifests,
    )
