"""Each snapshot, recomputed from the history, against its manifest and the rows of its files.

What a snapshot says never changes, and history is only added to; so no transaction has to hold for
longer than one of its tables takes.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from psycopg2 import DatabaseError
from sqlalchemy import Row

from cli.verify.comparing import compare, history_of, numbered
from cli.verify.findings import Finding
from cli.verify.ground import Ground
from cli.verify.stored_files import (
    StoredFile,
    batches,
    copy_batch,
    create_table,
    fetched,
    stored_columns,
)
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import ColumnType
from shared.database.sql_names import column_list
from shared.errors import PermanentError, SourceNotFound
from shared.object_store import ObjectUri

_SNAPSHOTS = """
    SELECT s.snapshot_id, s.dataset, s.load_id, s.slice_key, s.as_of, s.known_at, s.manifest_uri,
           s.manifest_sha256, s.tables, s.pruned_at IS NOT NULL AS is_pruned
    FROM headrace.snapshots AS s
    WHERE s.dataset = ANY(:datasets)
    ORDER BY s.dataset, s.as_of, s.known_at
"""
_IS_PRUNED = """
    SELECT pruned_at IS NOT NULL AS is_pruned FROM headrace.snapshots
    WHERE snapshot_id = :snapshot_id
"""
_FILES = "pg_temp.verify_files"


def check_snapshots(ground: Ground, finding: Finding) -> None:
    """Manifest by its digest, files by the manifest, rows by the history at (as_of, known_at)."""
    with ground.view() as connection:
        snapshots = ground.rows(connection, _SNAPSHOTS)
    for row in snapshots:
        if row.is_pruned:
            finding.saw("pruned snapshots")
            continue
        finding.saw("snapshots")
        before = finding.count
        _check_snapshot(ground, finding, row)
        if finding.count > before and _is_pruned(ground, row):  # meanwhile
            finding.forget(before)


def _check_snapshot(ground: Ground, finding: Finding, row: Row[Any]) -> None:
    manifest = _manifest(ground, finding, row)
    spec = ground.specs.get(row.dataset)
    for name, said in manifest["tables"].items() if manifest else ():
        if spec is None or name not in spec.tables:
            finding.tell(f"{row.snapshot_id}: the spec has no table {name} any more")
        else:
            _check_table(ground, finding, row, spec, name, said)


def _is_pruned(ground: Ground, row: Row[Any]) -> bool:
    with ground.view() as connection:
        found = ground.rows(connection, _IS_PRUNED, snapshot_id=row.snapshot_id)
    return not found or bool(found[0].is_pruned)


def _manifest(ground: Ground, finding: Finding, row: Row[Any]) -> dict[str, Any] | None:
    """The manifest, where it is the one that was frozen."""
    where = row.manifest_uri
    try:
        data = ground.store.get_bytes(ObjectUri.parse(where))
    except SourceNotFound:
        finding.differs(where, "the manifest", expected=f"that of {row.snapshot_id}", found=None)
        return None
    digest = hashlib.sha256(data).hexdigest()
    if not finding.require(where, "SHA-256", expected=row.manifest_sha256, found=digest):
        return None
    manifest: dict[str, Any] = json.loads(data)
    for name, expected in (
        ("snapshot_id", row.snapshot_id),
        ("dataset", row.dataset),
        ("load_id", row.load_id),
        ("as_of", row.as_of.isoformat()),
    ):
        finding.require(where, name, expected=expected, found=manifest.get(name))
    known_at = row.known_at.isoformat().replace("+00:00", "Z")
    finding.require(where, "known_at", expected=known_at, found=manifest.get("known_at"))
    summary = {name: _summary(said) for name, said in manifest["tables"].items()}
    finding.require(where, "tables, as the database has them", expected=row.tables, found=summary)
    return manifest


def _summary(said: Mapping[str, Any]) -> dict[str, int]:
    parts = said["parts"]
    return {
        "rows": said["rows"],
        "bytes": sum(part["bytes"] for part in parts),
        "parts": len(parts),
    }


def _check_table(
    ground: Ground,
    finding: Finding,
    row: Row[Any],
    spec: DatasetSpec,
    name: str,
    said: Mapping[str, Any],
) -> None:
    where = f"{row.snapshot_id}, table {name}"
    files = [StoredFile.of(part) for part in said["parts"]]
    finding.saw("tables")
    finding.saw("rows", said["rows"])
    finding.require(where, "rows", expected=sum(file.rows for file in files), found=said["rows"])
    # A spec only ever gains columns; what it has gained since is in no older file.
    columns = {field["name"]: ColumnType(field["type"]) for field in said["schema"]}
    table = spec.tables[name]
    with ground.view() as connection:
        create_table(connection, _FILES, columns)
        for file in files:
            with fetched(ground.store, file, finding) as path:
                if path is None:
                    return
                try:
                    for batch in batches(path, tuple(columns)):
                        copy_batch(connection, _FILES, batch, columns)
                except (PermanentError, KeyError, DatabaseError) as error:
                    finding.differs(
                        file.uri, "its rows", expected="those of its schema", found=error
                    )
                    return
        compare(
            connection,
            finding,
            where=where,
            what="row as of its date and moment",
            expected=f"""
                SELECT {stored_columns(columns)}
                FROM ({
                numbered(
                    history_of(row.dataset, name),
                    table.key,
                    column_list(columns),
                    "as_of <= :as_of AND recorded_at <= :known_at",
                )
            }) AS _state
            """,
            found=f"SELECT {column_list(columns)} FROM {_FILES}",
            columns=tuple(columns),
            key=table.key,
            parameters={"as_of": row.as_of, "known_at": row.known_at},
        )
