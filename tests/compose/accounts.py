"""Adding up what a run has left: nothing lost, nothing doubled, by what the drops' files say."""

from collections import Counter
from pathlib import Path
from typing import Any

from shared.contracts.events import (
    DatasetReady,
    LoadRequested,
    ModelPublished,
    SliceLoaded,
    Snapshotted,
    Validated,
)
from shared.object_store import ObjectUri
from tests.compose.drops import Rows, records_of, rows_of
from tests.compose.system import STAGES, System

TABLES = (
    "users",
    "subscriptions",
    "usage_agg_30d",
    "payments_agg_90d",
    "support_agg_90d",
    "labels",
)
WAY = sorted(
    (event.topic.value, event.type)
    for event in (LoadRequested, SliceLoaded, Validated, Snapshotted, DatasetReady, ModelPublished)
)
"""The events of a slice that comes through, by topic and type."""


def differences(before: Rows, after: Rows) -> dict[str, int]:
    """What a merge of `after` over `before` has to do; who is missing afterwards stays."""
    inserted = len(after.keys() - before.keys())
    unchanged = sum(1 for key in after.keys() & before.keys() if after[key] == before[key])
    updated = len(after) - inserted - unchanged
    return {"inserted": inserted, "updated": updated, "unchanged": unchanged, "deleted": 0}


def check_dataset(system: System, dataset: str, loads: dict[str, Path]) -> int:
    """Check everything that the loads of a dataset, by id and in order, have left.

    Each slice's rows are all accounted for, each table's current rows and history are what the
    files say, each stage was done once, each event is on its topic under one id, each slice has one
    model version, and every object that the database names is in the store.

    Returns how many records the topics have for these events: more than there are events where a
    relay that died has repeated some.
    """
    assert not system.query("SELECT service, reason FROM headrace.dead_letters")
    known: dict[str, Rows] = {table: {} for table in TABLES}
    for load_id, drop in loads.items():
        (load,) = system.query("SELECT * FROM headrace.loads WHERE load_id = :load", load=load_id)
        assert load.status == "published", load
        for table in TABLES:
            after = rows_of(drop, table)
            expected = differences(known[table], after)
            assert load.changes[table] == expected, (load.slice_key, table)
            assert _history(system, dataset, table, load_id) == expected | {"unchanged": 0}
            known[table] |= after
        _check_rows(load, drop)
        _check_stages(system, load_id)
    for table in TABLES:
        count, distinct = system.query(
            f"SELECT count(*), count(DISTINCT user_id) FROM {dataset}.{table}"
        )[0]
        assert count == distinct == len(known[table]), table
    _check_versions(system, dataset, list(loads))
    _check_objects(system, dataset)
    return _check_events(system, loads)


def _check_rows(load: Any, drop: Path) -> None:
    assert load.rows_in == load.rows_loaded + load.rows_quarantined
    good = sum(len(rows_of(drop, table)) for table in TABLES)
    assert load.rows_loaded == good
    assert load.rows_in == sum(records_of(drop, table) for table in TABLES)


def _history(system: System, dataset: str, table: str, load_id: str) -> dict[str, int]:
    counted = Counter(
        {
            row.operation: row.rows
            for row in system.query(
                f"""
                SELECT operation, count(*) AS rows FROM {dataset}.{table}_history
                WHERE load_id = :load GROUP BY operation
                """,
                load=load_id,
            )
        }
    )
    return {
        "inserted": counted["insert"],
        "updated": counted["update"],
        "unchanged": 0,
        "deleted": counted["delete"],
    }


def _check_stages(system: System, load_id: str) -> None:
    stages = system.query(
        "SELECT stage, state FROM headrace.stage_runs WHERE load_id = :load", load=load_id
    )
    assert sorted(map(tuple, stages)) == sorted((stage, "done") for stage in STAGES)


def _check_events(system: System, loads: dict[str, Path]) -> int:
    found: dict[str, set[tuple[str, str, str]]] = {load: set() for load in loads}
    records = 0
    for topic, headers in system.events():
        if (load := headers["ce_correlationid"]) in found:
            found[load].add((topic, headers["ce_type"], headers["ce_id"]))
            records += 1
    for load, events in found.items():
        way = sorted((topic, kind) for topic, kind, _ in events if topic != "drift-detected")
        assert way == WAY, load
    return records


def _check_versions(system: System, dataset: str, loads: list[str]) -> None:
    """One version a load, in their order, in our table and in MLflow's registry."""
    made = system.query(
        """
        SELECT load_id, model_name, model_version, run_id, promoted FROM headrace.promotions
        WHERE dataset = :dataset ORDER BY decided_at
        """,
        dataset=dataset,
    )
    assert [row.load_id for row in made] == loads
    name = made[0].model_name
    registered = registered_versions(system, name)
    assert {row.model_version: row.run_id for row in made} == registered
    champion = [row.model_version for row in made if row.promoted][-1]
    assert (
        mlflow(system, "GET", f"registered-models/alias?name={name}&alias=champion")[
            "model_version"
        ]["version"]
        == champion
    )


def registered_versions(system: System, model: str) -> dict[str, str]:
    """The runs of a model's versions in MLflow, by version."""
    found = mlflow(system, "GET", f"model-versions/search?filter=name%3D%27{model}%27")
    return {each["version"]: each["run_id"] for each in found.get("model_versions", [])}


def mlflow(system: System, method: str, path: str, body: object = None) -> Any:
    """What MLflow's REST interface answers at its published port."""
    answer = system.http(
        method, f"{system.settings.mlflow_tracking_uri}/api/2.0/mlflow/{path}", body
    )
    assert answer.status == 200, answer
    return answer.body


def _check_objects(system: System, dataset: str) -> None:
    store = system.store()
    named = system.query(
        """
        SELECT manifest_uri AS uri FROM headrace.snapshots WHERE dataset = :dataset
        UNION ALL SELECT train_uri FROM headrace.training_datasets WHERE dataset = :dataset
        UNION ALL SELECT test_uri FROM headrace.training_datasets WHERE dataset = :dataset
        UNION ALL SELECT report_uri FROM headrace.loads
            WHERE dataset = :dataset AND report_uri IS NOT NULL
        """,
        dataset=dataset,
    )
    assert named
    for row in named:
        assert store.get_bytes(ObjectUri.parse(row.uri)), row.uri
    for (landing,) in system.query(
        "SELECT landing_uri FROM headrace.loads WHERE dataset = :dataset AND status = 'published'",
        dataset=dataset,
    ):
        assert len(list(store.list(ObjectUri.parse(landing)))) == len(TABLES), landing
