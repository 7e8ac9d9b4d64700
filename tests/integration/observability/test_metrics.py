"""What is counted, what the database says at scrape time, and that no scrape waits for it."""

import threading
import time
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import insert, text

from shared.clock import utc_now
from shared.contracts.envelope import Event, Record
from shared.contracts.events import (
    DatasetReady,
    LoadRequested,
    ModelPublished,
    SliceLoaded,
    Snapshotted,
    Stage,
    TableChanges,
    TableLoad,
)
from shared.database.engine import make_engine
from shared.database.tables import dead_letters, drift, loads, outbox, promotions
from shared.messaging.processor import Processor
from shared.observability import state
from shared.observability.accounting import Accounting
from shared.observability.metrics import Metrics
from shared.observability.state import (
    OF_EVERY_SERVICE,
    OF_MODELS,
    OF_SLICES,
    STALE_SECONDS,
    StateCollector,
)
from tests.waiting import wait_until

DAY = date(2024, 1, 31)


def values(collector):
    """What a scrape gives, by name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


def load(slice_key, status, at=None, **more):
    return {
        "load_id": str(uuid4()),
        "dataset": "streams",
        "slice_key": slice_key,
        "status": status,
        "source_uri": "/drops",
        "requested_by": "test",
        "requested_at": at or utc_now(),
        **more,
    }


def decision(number, *, promoted, score, load_id="x"):
    return {
        "event_id": f"e{number}",
        "dataset": "streams",
        "load_id": load_id,
        "snapshot_id": "s",
        "as_of": DAY,
        "dataset_version": "v",
        "model_name": "churn",
        "model_version": str(number),
        "run_id": "r",
        "promoted": promoted,
        "decision": "beats_champion" if promoted else "not_better",
        "reason": "r",
        "metric": "roc_auc",
        "score": score,
        "metrics": {},
        "decided_at": datetime(2024, 1, number, tzinfo=UTC),
    }


def difference(snapshot_id, feature, *, is_drifted):
    return {
        "dataset": "streams",
        "snapshot_id": snapshot_id,
        "baseline_version": "v0",
        "feature": feature,
        "measure": "psi",
        "is_target": False,
        "value": 1.0,
        "threshold": 0.2,
        "is_drifted": is_drifted,
        "bins": [],
        "load_id": "x",
        "as_of": DAY,
        "dataset_version": "v",
        "rows": 1,
        "model_name": "churn",
        "champion_version": "1",
        "baseline_snapshot_id": "s0",
        "baseline_as_of": DAY,
        "baseline_rows": 1,
        "event_id": "e",
    }


def test_a_scrape_says_what_is_in_the_database_now(engine):
    long_ago = utc_now() - timedelta(minutes=10)
    with engine.begin() as connection:
        for slice_key, status in (("a", "published"), ("b", "rejected"), ("c", "loading")):
            connection.execute(insert(loads).values(load(slice_key, status)))
        connection.execute(insert(loads).values(load("b", "published")))
        connection.execute(insert(loads).values(load("a", "unchanged")))
        connection.execute(
            insert(outbox).values(
                source="ingestor", event_id="e", topic="t", key="k", headers={}, value=b"",
                created_at=long_ago,
            )
        )  # fmt: skip
        letter = {
            "service": "ingestor", "topic": "t", "partition": 0, "headers": {}, "reason": "r",
            "error_class": "E", "attempts": 1,
        }  # fmt: skip
        connection.execute(insert(dead_letters).values(**letter, offset=1))
        connection.execute(insert(dead_letters).values(**letter, offset=2, redriven_at=long_ago))
        connection.execute(insert(promotions).values(decision(1, promoted=True, score=0.8)))
        connection.execute(insert(promotions).values(decision(2, promoted=False, score=0.7)))
        for day, drifted in ((1, 3), (2, 2)):
            for feature in range(4):
                compared = difference(f"s{day}", f"f{feature}", is_drifted=feature < drifted)
                measured_at = datetime(2024, 1, day, tzinfo=UTC)
                connection.execute(insert(drift).values(**compared, measured_at=measured_at))
    found = values(StateCollector(engine, "ingestor", (*OF_EVERY_SERVICE, *OF_SLICES, *OF_MODELS)))
    assert 600 <= found.pop(("headrace_outbox_age_seconds", "ingestor")) < 660
    assert found.pop(("headrace_state_age_seconds", "ingestor")) < 5
    assert found == {
        ("headrace_outbox_events", "ingestor"): 1,
        ("headrace_dead_letters_open", "ingestor"): 1,
        ("headrace_slices", "streams", "published"): 2,
        ("headrace_slices", "streams", "loading"): 1,
        ("headrace_model_score", "streams", "churn", "roc_auc", "champion"): 0.8,
        ("headrace_model_score", "streams", "churn", "roc_auc", "newest"): 0.7,
        ("headrace_drifted_features", "streams"): 2,
        ("headrace_state_up", "ingestor"): 1,
    }


def test_a_scrape_does_not_wait_for_a_database_that_is_held_up(engine):
    collector = StateCollector(engine, "ingestor", OF_EVERY_SERVICE, wait_seconds=0.2)
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE headrace.outbox"))
        begun = time.monotonic()
        assert values(collector) == {("headrace_state_up", "ingestor"): 0}
        assert time.monotonic() - begun < 1
        readers = [thread for thread in threading.enumerate() if thread.name == "state"]
        values(collector)
        assert len([t for t in threading.enumerate() if t.name == "state"]) == len(readers) == 1
    wait_until(lambda: values(collector)[("headrace_state_up", "ingestor")] == 1)


def test_a_database_that_is_away_leaves_the_other_metrics(settings):
    away = settings.model_copy(
        update={"database_url": type(settings.database_url)("postgresql://x@127.0.0.1:9/x")}
    )
    gone = make_engine(away, application="test")
    assert values(StateCollector(gone, "ingestor", OF_EVERY_SERVICE)) == {
        ("headrace_state_up", "ingestor"): 0
    }
    gone.dispose()


def test_what_was_true_long_ago_is_not_told(engine, monkeypatch):
    collector = StateCollector(engine, "ingestor", OF_EVERY_SERVICE)
    assert values(collector)[("headrace_state_up", "ingestor")] == 1
    now = time.monotonic() + STALE_SECONDS
    monkeypatch.setattr(state.time, "monotonic", lambda: now)
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE headrace.outbox"))
        collector._wait_seconds = 0.1
        assert values(collector) == {("headrace_state_up", "ingestor"): 0}


def test_two_scrapes_at_once_cost_one_reading(engine):
    collector = StateCollector(engine, "ingestor", OF_EVERY_SERVICE)
    first = values(collector)
    with engine.begin() as connection:
        connection.execute(
            insert(outbox).values(
                source="ingestor", event_id="e", topic="t", key="k", headers={}, value=b""
            )
        )
    events = ("headrace_outbox_events", "ingestor")
    assert values(collector)[events] == first[events] == 0


def test_registering_asks_nobody():
    collector = StateCollector(None, "ingestor", OF_EVERY_SERVICE)
    Metrics().registry.register(collector)


def test_with_ten_thousand_slices_of_two_hundred_datasets_it_is_read_in_a_second(engine):
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO headrace.loads (load_id, dataset, slice_key, status, source_uri,
                                            requested_by, requested_at)
                SELECT 'l' || n, 'd' || n % 200, 's' || n / 200, 'published', '/', 't', now()
                FROM generate_series(0, 9999) AS n
            """)
        )
        connection.execute(text("ANALYZE headrace.loads"))
    collector = StateCollector(engine, "ingestor", (*OF_EVERY_SERVICE, *OF_SLICES, *OF_MODELS))
    found = values(collector)
    assert sum(value for name, value in found.items() if name[0] == "headrace_slices") == 10_000


@pytest.fixture
def processed(engine, settings):
    """Processes a request with a handler that emits these payloads; the samples by name."""

    def process(*payloads, requested_at=None):
        metrics = Metrics()

        def handler(event, unit):
            with unit.transaction() as tx:
                for payload in payloads:
                    tx.emit(payload)

        Processor(
            service="test",
            handlers={LoadRequested: handler},
            stage_of={LoadRequested: Stage.INGEST},
            engine=engine,
            clock=utc_now,
            settings=settings,
            metrics=metrics,
            wake_relay=lambda: None,
            committed=Accounting(engine, metrics).committed,
        ).process(_record(), threading.Event())
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in metrics.registry.collect()
            for sample in family.samples
        }

    return process


def _record():
    payload = LoadRequested(dataset="streams", slice_key="a", source_uri="/drops")
    event = Event(payload, source="test", time=utc_now())
    return Record("load-requested", 0, 0, b"streams", event.headers(), event.value())


NAMED = {"dataset": "streams", "slice_key": "a", "load_id": "load-1", "as_of": DAY}


def test_rows_and_slices_are_counted_when_they_are_committed(processed):
    loaded = SliceLoaded(
        **NAMED, revision=1, content_sha256="0", landing_uri="s3://b/k",
        tables=tuple(
            TableLoad(table=t, staging_table=t, rows_in=10, rows_loaded=8, rows_quarantined=2)
            for t in "ab"
        ),
    )  # fmt: skip
    frozen = Snapshotted(
        **NAMED, snapshot_id="s", known_at=utc_now(), manifest_uri="s3://b/k", manifest_sha256="0",
        changes={"a": TableChanges(inserted=5, unchanged=3)},
    )  # fmt: skip
    found = processed(loaded, frozen)
    assert found["headrace_rows_total", "streams", "loaded"] == 16
    assert found["headrace_rows_total", "streams", "quarantined"] == 4
    assert found["headrace_changes_total", "streams", "inserted"] == 5
    assert found["headrace_changes_total", "streams", "deleted"] == 0
    assert found["headrace_slices_done_total", "streams", "published"] == 1
    assert found["headrace_stage_seconds_count", "ingest"] == 1


PUBLISHED = ModelPublished(
    **NAMED, snapshot_id="s", dataset_version="v", model_name="churn", model_version="1",
    run_id="r", alias=None, promoted=False, decision="not_better", reason="r", metrics={},
)  # fmt: skip


def test_how_long_people_waited_for_a_model_is_counted_once(processed, engine):
    asked = utc_now() - timedelta(minutes=5)
    with engine.begin() as connection:
        connection.execute(
            insert(loads).values(load("a", "published", asked) | {"load_id": "load-1"})
        )
        connection.execute(
            insert(promotions).values(decision(1, promoted=True, score=1, load_id="load-1"))
        )
    found = processed(PUBLISHED)
    assert found["headrace_models_total", "streams", "not_better"] == 1
    assert found["headrace_end_to_end_seconds_count", "streams"] == 1
    assert 300 <= found["headrace_end_to_end_seconds_sum", "streams"] < 360
    with engine.begin() as connection:  # as after a replay
        connection.execute(
            insert(promotions).values(decision(2, promoted=True, score=1, load_id="load-1"))
        )
    assert ("headrace_end_to_end_seconds_count", "streams") not in processed(PUBLISHED)


def test_what_is_rolled_back_is_not_counted(engine, settings):
    metrics = Metrics()
    counted = []

    def handler(event, unit):
        with unit.transaction() as tx:
            tx.emit(
                DatasetReady(
                    **NAMED, snapshot_id="s", dataset_version="v", manifest_uri="s3://b/k",
                    train_uri="s3://b/k", test_uri="s3://b/k", train_rows=1, test_rows=1,
                )
            )  # fmt: skip
            raise RuntimeError("in the middle of it")

    Processor(
        service="test",
        handlers={LoadRequested: handler},
        stage_of={LoadRequested: Stage.INGEST},
        engine=engine,
        clock=utc_now,
        settings=settings.model_copy(
            update={"retry_floor_seconds": 0.001, "retry_ceiling_seconds": 0.002}
        ),
        metrics=metrics,
        wake_relay=lambda: None,
        committed=counted.extend,
    ).process(_record(), threading.Event())
    assert counted == []
