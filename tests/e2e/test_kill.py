"""Promises 1 to 3: the services killed in turn in mid-slice, and `headrace up` after each."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from cli.migrate import migrate
from infra.embedded.services import SERVICES
from shared.object_store import ObjectStore, ObjectUri
from tests.e2e.conftest import Headrace
from tests.waiting import wait_until

TABLES = (
    "users",
    "subscriptions",
    "usage_agg_30d",
    "payments_agg_90d",
    "support_agg_90d",
    "labels",
)
STAGES = [
    ("ingestor", "ingest"),
    ("validator", "validate"),
    ("snapshotter", "snapshot"),
    ("trainer", "dataset"),
    ("trainer", "train"),
]


@pytest.mark.slow
def test_a_slice_at_each_of_whose_stages_the_service_is_killed_ends_as_if_nothing_had_happened(
    headrace: Headrace, sample_drops: Path
) -> None:
    drop = str(sample_drops / "month_000")
    calm = headrace.json("load", "calm", "--from", drop, "--wait")

    stormy = headrace.json("load", "stormy", "--from", drop)["load_id"]
    for service, stage in STAGES:
        wait_until(
            lambda stage=stage: headrace.query(
                "SELECT 1 FROM headrace.stage_runs WHERE load_id = :load AND stage = :stage",
                load=stormy,
                stage=stage,
            ),
            seconds=60,
            what=f"{stage} begins",
        )
        headrace.kill(service)
        assert headrace.stack.dead()[0].name == service
        headrace.stack.start(SERVICES, migrate=migrate)

    wait_until(
        lambda: headrace.query(
            """
            SELECT FROM headrace.outbox WHERE topic = 'model-published'
                AND published_at IS NOT NULL AND headers ->> 'ce_correlationid' = :load
            """,
            load=stormy,
        ),
        seconds=120,
        what=f"a model from the slice; {headrace.query('SELECT * FROM headrace.dead_letters')}",
    )
    assert end_state(headrace, "stormy", stormy) == end_state(headrace, "calm", calm["load_id"])
    assert headrace.scalar("SELECT count(*) FROM headrace.dead_letters") == 0


def end_state(headrace: Headrace, dataset: str, load_id: str) -> dict[str, Any]:
    """All that a load has left, less the names and moments that differ by nature."""
    state: dict[str, Any] = {}
    for table in TABLES:
        for suffix, order in (("", "as_of"), ("_history", "as_of, operation")):
            columns = [
                row[0]
                for row in headrace.query(
                    """
                    SELECT column_name FROM information_schema.columns
                    WHERE table_schema = :schema AND table_name = :table
                      AND column_name NOT IN ('load_id', 'recorded_at', 'history_id')
                    ORDER BY ordinal_position
                    """,
                    schema=dataset,
                    table=table + suffix,
                )
            ]
            listed = ", ".join(f'"{column}"' for column in columns)
            state[table + suffix] = headrace.query(
                f"SELECT {listed} FROM {dataset}.{table}{suffix} ORDER BY user_id, {order}"
            )
    state["load"] = headrace.query(
        """
        SELECT slice_key, as_of, revision, status, rows_in, rows_loaded, rows_quarantined, changes
        FROM headrace.loads WHERE load_id = :load
        """,
        load=load_id,
    )
    state["events"] = headrace.query(
        """
        SELECT topic, published_at IS NOT NULL FROM headrace.outbox
        WHERE headers ->> 'ce_correlationid' = :load AND topic <> 'drift-detected'
        ORDER BY outbox_id
        """,
        load=load_id,
    )
    state["model"] = headrace.query(
        """
        SELECT model_version, as_of, promoted, decision, score, metrics
        FROM headrace.promotions WHERE load_id = :load
        """,
        load=load_id,
    )
    ((train, test),) = headrace.query(
        """
        SELECT train_uri, test_uri FROM headrace.training_datasets
        JOIN headrace.promotions USING (dataset, dataset_version) WHERE load_id = :load
        """,
        load=load_id,
    )
    store = ObjectStore(headrace.settings)
    state["dataset"] = [
        hashlib.sha256(store.get_bytes(ObjectUri.parse(uri))).hexdigest() for uri in (train, test)
    ]
    return state
