"""Each training dataset, from its files and the labels in the history. Promises 5 and 6."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Row

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
from shared.database.sql_names import column_list, quoted
from shared.errors import SourceNotFound
from shared.object_store import ObjectUri

_DATASETS = """
    SELECT d.dataset, d.dataset_version, d.snapshot_id, d.as_of, d.manifest_uri, d.train_uri,
           d.test_uri, d.train_rows, d.test_rows, d.class_counts, s.known_at
    FROM headrace.training_datasets AS d
    LEFT JOIN headrace.snapshots AS s ON s.snapshot_id = d.snapshot_id
    WHERE d.dataset = ANY(:datasets)
    ORDER BY d.dataset, d.created_at
"""
_SIDES = ("train", "test")
_IDENTITY = (
    *("dataset", "as_of", "entity", "target", "classes", "features", "split", "balance"),
    "class_counts",
)
_FORMAT = 1
"""Of the files; a part of what a dataset's version is the digest of."""


def check_datasets(ground: Ground, finding: Finding) -> None:
    """A version is the digest of what it is defined by, its files are those, its sides apart."""
    with ground.view() as connection:
        rows = ground.rows(connection, _DATASETS)
    for row in rows:
        finding.saw("datasets")
        manifest = _manifest(ground, finding, row)
        if manifest is not None:
            _check_sides(ground, finding, row, manifest)


def _manifest(ground: Ground, finding: Finding, row: Row[Any]) -> dict[str, Any] | None:
    """The manifest, where its content gives the version."""
    where = row.manifest_uri
    try:
        data = ground.store.get_bytes(ObjectUri.parse(where))
        manifest: dict[str, Any] = json.loads(data)
        identity = {
            "format": _FORMAT,
            "files": {side: manifest[side]["sha256"] for side in _SIDES},
            **{name: manifest[name] for name in _IDENTITY},
        }
    except SourceNotFound:
        finding.differs(where, "the manifest", expected=row.dataset_version, found=None)
        return None
    except (ValueError, KeyError, TypeError) as error:
        finding.differs(where, "the manifest", expected="a dataset's", found=repr(error))
        return None
    version = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    is_same = finding.require(
        where, "digest of what it says", expected=row.dataset_version, found=version
    )
    finding.require(
        where,
        "dataset_version",
        expected=row.dataset_version,
        found=manifest.get("dataset_version"),
    )
    for name, expected, found in (
        ("as_of", row.as_of.isoformat(), manifest["as_of"]),
        ("class_counts", row.class_counts, manifest["class_counts"]),
        ("train_uri", row.train_uri, manifest["train"]["uri"]),
        ("test_uri", row.test_uri, manifest["test"]["uri"]),
        ("train_rows", row.train_rows, manifest["train"]["rows"]),
        ("test_rows", row.test_rows, manifest["test"]["rows"]),
    ):
        finding.require(where, name, expected=expected, found=found)
    return manifest if is_same else None


def _check_sides(
    ground: Ground, finding: Finding, row: Row[Any], manifest: Mapping[str, Any]
) -> None:
    """The keys of both sides and their labels, in two temporary tables."""
    where = f"{row.dataset}, dataset {row.dataset_version[:12]}"
    spec = ground.specs.get(row.dataset)
    table_name, _, target = manifest["target"].partition(".")
    entity = manifest["entity"]
    if spec is None or table_name not in spec.tables:
        finding.tell(f"{where}: the spec has no table {table_name} any more")
        return
    declared = spec.tables[table_name].columns
    columns = {entity: declared[entity].type, manifest["target"]: declared[target].type}
    with ground.view() as connection:
        for side in _SIDES:
            create_table(connection, _table(side), columns)
            file = StoredFile.of(manifest[side])
            finding.saw("rows", file.rows)
            with fetched(ground.store, file, finding) as path:
                if path is None:
                    return
                for batch in batches(path, tuple(columns)):
                    _check_hashes(finding, f"{where}, {side}", batch, manifest, side)
                    copy_batch(connection, _table(side), batch, columns)
        _check_keys(ground, connection, finding, where, manifest)
        _check_counts(ground, connection, finding, where, manifest)
        if row.known_at is None:
            finding.tell(f"{where}: its snapshot {row.snapshot_id} is not there to compare with")
            return
        _check_labels(connection, finding, where, row, spec, table_name, columns, target)


def _check_hashes(
    finding: Finding, where: str, batch: pa.RecordBatch, manifest: Mapping[str, Any], side: str
) -> None:
    """Each key is on the side that its hash says: blake2b of `salt NUL key`, 8 bytes."""
    split = manifest["split"]
    limit = split["test_share"] * 2**64
    for key in _keys(batch.column(0)):
        hashed = hashlib.blake2b(f"{split['salt']}\0{key}".encode(), digest_size=8).digest()
        is_test = int.from_bytes(hashed, "big") < limit
        if is_test != (side == "test"):
            belongs = "test" if is_test else "train"
            finding.differs(where, f"side of the key {key!r}", expected=belongs, found=side)


def _keys(values: pa.Array) -> Iterator[str]:
    for value in values.to_pylist():
        if isinstance(value, datetime):
            yield value.astimezone(UTC).isoformat()
        else:
            yield str(value)


def _check_keys(
    ground: Ground,
    connection: Connection,
    finding: Finding,
    where: str,
    manifest: Mapping[str, Any],
) -> None:
    entity = quoted(manifest["entity"])
    both = ground.rows(
        connection,
        f"""
        SELECT {entity} AS _key, count(*) OVER () AS _count
        FROM (SELECT DISTINCT {entity} FROM {_table("train")}) AS train
        JOIN (SELECT DISTINCT {entity} FROM {_table("test")}) AS test USING ({entity})
        LIMIT :most
        """,
        most=finding.most,
    )
    _each(finding, both, where, "sides of the key", expected="one", found="train and test")
    once = {"test": True, "train": manifest["balance"]["strategy"] == "none"}
    for side in (side for side, is_once in once.items() if is_once):
        twice = ground.rows(
            connection,
            f"""
            SELECT {entity} AS _key, count(*) OVER () AS _count
            FROM {_table(side)} GROUP BY {entity} HAVING count(*) > 1
            LIMIT :most
            """,
            most=finding.most,
        )
        _each(finding, twice, f"{where}, {side}", "rows of the key", expected=1, found="more")


def _check_counts(
    ground: Ground,
    connection: Connection,
    finding: Finding,
    where: str,
    manifest: Mapping[str, Any],
) -> None:
    """Rows by class, and before the balancing distinct keys by class."""
    entity, target = quoted(manifest["entity"]), quoted(manifest["target"])
    for name, side, counted in (
        ("test", "test", "count(*)"),
        ("train", "train", "count(*)"),
        ("train_before", "train", f"count(DISTINCT {entity})"),
    ):
        rows = ground.rows(
            connection,
            f"SELECT {target}::text AS class, {counted} AS rows FROM {_table(side)} GROUP BY 1",
        )
        found = dict.fromkeys(manifest["class_counts"][name], 0)
        found |= {row._mapping["class"]: row.rows for row in rows}
        finding.require(
            where, f"rows by class, {name}", expected=manifest["class_counts"][name], found=found
        )


def _check_labels(
    connection: Connection,
    finding: Finding,
    where: str,
    row: Row[Any],
    spec: DatasetSpec,
    table_name: str,
    columns: Mapping[str, ColumnType],
    target: str,
) -> None:
    """Exactly the entities that had a label in that snapshot, each with that one."""
    table = spec.tables[table_name]
    entity, named = columns
    state = numbered(
        history_of(row.dataset, table_name),
        table.key,
        column_list((entity, target)),
        "as_of <= :as_of AND recorded_at <= :known_at",
    )
    stored = stored_columns({entity: columns[entity], target: columns[named]})
    of_files = " UNION ALL ".join(
        f"SELECT DISTINCT {column_list(columns)} FROM {_table(side)}" for side in _SIDES
    )
    compare(
        connection,
        finding,
        where=where,
        what="label in its snapshot",
        expected=f"""
            SELECT {quoted(entity)}, {quoted(target)} AS {quoted(named)}
            FROM (SELECT {stored} FROM ({state}) AS _state) AS _stored
            WHERE {quoted(target)} IS NOT NULL
        """,
        found=of_files,
        columns=tuple(columns),
        key=(entity,),
        parameters={"as_of": row.as_of, "known_at": row.known_at},
    )


def _table(side: str) -> str:
    return f"pg_temp.verify_{side}"


def _each(
    finding: Finding,
    rows: list[Row[Any]],
    where: str,
    what: str,
    *,
    expected: object,
    found: object,
) -> None:
    for row in rows:
        finding.differs(where, f"{what} {row._mapping['_key']!r}", expected=expected, found=found)
    if rows:
        finding.more(rows[0]._mapping["_count"] - len(rows))
