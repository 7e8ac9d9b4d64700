"""The overview says where each dataset stands, from the control tables alone."""

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text, update

from shared.contracts.envelope import Event
from shared.contracts.events import LoadRequested, Payload, SliceLoaded
from shared.database.overview import DatasetOverview, read_overview
from shared.database.overview_queries import HISTORY
from shared.database.tables import (
    dead_letters,
    images,
    inbox,
    loads,
    outbox,
    promotions,
    schedules,
    slices,
    snapshots,
    stage_runs,
    training_datasets,
)
from shared.messaging import outbox as outgoing
from shared.schedule.deciding import next_run
from tests.conftest import REPOSITORY

DATASET = "rakuten"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EventOf = Callable[..., Event[Payload]]


@pytest.fixture
def look(engine: Engine) -> Callable[[], DatasetOverview]:
    """The overview of the dataset now."""

    def read() -> DatasetOverview:
        with engine.connect() as connection:
            found = read_overview(
                connection, REPOSITORY / "datasets", lambda spec, row: next_run(spec, row, NOW)
            )
        return {each.dataset: each for each in found}[DATASET]

    return read


def put(engine: Engine, table: Any, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(insert(table).values(**values))


def load(engine: Engine, slice_key: str, status: str, *, minutes: int = 0, **values: Any) -> str:
    """A load begun so many minutes after noon; its id."""
    load_id = str(uuid.uuid4())
    began = NOW + timedelta(minutes=minutes)
    ended = began + timedelta(seconds=7) if status in {"published", "rejected"} else None
    facts = {
        "load_id": load_id,
        "dataset": DATASET,
        "slice_key": slice_key,
        "as_of": date(2026, 11, 2),
        "status": status,
        "source_uri": "/nowhere",
        "requested_by": "test",
        "requested_at": began,
        "started_at": began,
        "finished_at": ended,
    }
    put(engine, loads, **(facts | values))
    return load_id


def publish(engine: Engine, slice_key: str, as_of: date, percentage: float, rows: int) -> str:
    load_id = load(
        engine,
        slice_key,
        "published",
        as_of=as_of,
        percentage=percentage,
        end_row=rows,
        changes={"products": change(rows), "labels": change(rows)},
    )
    put(
        engine,
        slices,
        dataset=DATASET,
        slice_key=slice_key,
        as_of=as_of,
        revision=1,
        load_id=load_id,
        content_sha256="0" * 64,
        published_at=datetime.now(UTC),
    )
    put(
        engine,
        snapshots,
        snapshot_id=f"{DATASET}-{slice_key}",
        dataset=DATASET,
        load_id=load_id,
        slice_key=slice_key,
        as_of=as_of,
        known_at=NOW,
        manifest_uri="s3://b/m",
        manifest_sha256="0" * 64,
        tables={"labels": {"rows": rows}, "products": {"rows": rows}},
    )
    return load_id


def change(inserted: int) -> Mapping[str, int]:
    return {"inserted": inserted, "updated": 1, "unchanged": 2, "deleted": 0}


def promote(engine: Engine, load_id: str, version: str, *, minutes: int, promoted: bool) -> None:
    put(
        engine,
        promotions,
        event_id=str(uuid.uuid4()),
        dataset=DATASET,
        load_id=load_id,
        snapshot_id="s",
        as_of=date(2026, 11, 9),
        dataset_version="d" * 64,
        model_name="rakuten_classifier",
        model_version=version,
        run_id="r",
        promoted=promoted,
        decision="first_champion" if promoted else "not_better",
        reason="why",
        metric="weighted_f1",
        score=float(f"0.8{version}"),
        metrics={},
        decided_at=NOW + timedelta(minutes=minutes),
    )


def test_before_any_load_there_is_the_spec_and_the_next_run(
    look: Callable[[], DatasetOverview],
) -> None:
    found = look()
    assert (found.slices, found.slice_key, found.percentage) == (0, None, 0.0)
    assert (found.rows, found.classes, found.last_load, found.champion) == ({}, {}, None, None)
    assert (found.waiting, found.rejected, found.dead_letters) == ([], [], 0)
    assert found.is_scheduled
    assert found.next_run == datetime(2026, 11, 22, 23, 0, tzinfo=UTC), "Monday 00:00 in Paris"


def test_a_paused_schedule_has_no_next_run(
    engine: Engine, look: Callable[[], DatasetOverview]
) -> None:
    put(engine, schedules, dataset=DATASET, is_paused=True, settled_until=NOW, changed_by="me")
    assert (look().is_paused, look().next_run) == (True, None)


def test_the_slice_reached_is_the_largest_share_and_its_rows_are_the_newest_snapshots(
    engine: Engine, look: Callable[[], DatasetOverview]
) -> None:
    publish(engine, "43%", date(2026, 11, 9), 43.0, 36_513)
    publish(engine, "40%", date(2026, 11, 2), 40.0, 33_966)
    found = look()
    assert (found.slices, found.slice_key, found.percentage) == (2, "43%", 43.0)
    assert found.as_of == date(2026, 11, 9)
    assert list(found.rows.items()) == [("products", 36_513), ("labels", 36_513)], "spec's order"
    publish(engine, "10%", date(2026, 11, 16), 10.0, 36_600)
    found = look()
    assert (found.slice_key, found.as_of) == ("43%", date(2026, 11, 16))
    assert found.rows["products"] == 36_600


def test_classes_are_counted_as_they_were_before_the_balancing(
    engine: Engine, look: Callable[[], DatasetOverview]
) -> None:
    for as_of, rows in ((date(2026, 11, 9), 5), (date(2026, 11, 2), 4)):
        put(
            engine,
            training_datasets,
            dataset=DATASET,
            dataset_version=str(rows) * 64,
            snapshot_id="s",
            as_of=as_of,
            manifest_uri="m",
            train_uri="t",
            test_uri="t",
            train_rows=2 * rows,
            test_rows=2,
            class_counts={
                "train_before": {"10": rows, "40": 1},
                "train": {"10": rows, "40": rows},
                "test": {"10": 2},
            },
        )
    assert look().classes == {"10": 7, "40": 1}


def test_the_champion_is_the_last_version_that_was_made_one(
    engine: Engine, look: Callable[[], DatasetOverview]
) -> None:
    for version, minutes, promoted in (("1", 0, True), ("2", 1, True), ("3", 2, False)):
        promote(engine, "l", version, minutes=minutes, promoted=promoted)
    champion = look().champion
    assert champion is not None
    assert (champion.model_version, champion.score) == ("2", 0.82)


def test_a_load_waits_until_every_stage_has_done_its_event(
    engine: Engine, look: Callable[[], DatasetOverview], event_of: EventOf
) -> None:
    request = LoadRequested(dataset=DATASET, slice_key="43%", source_uri="/nowhere")
    asked = event_of(request)
    with engine.begin() as connection:
        outgoing.put(connection, asked)
    (waiting,) = look().waiting
    assert (waiting.load_id, waiting.slice_key, waiting.stage) == (asked.id, "43%", None)
    assert look().unpublished_events == 1

    put(engine, inbox, consumer="ingestor", event_id=asked.id)
    with engine.begin() as connection:
        connection.execute(update(outbox).values(published_at=NOW))
    assert (look().waiting, look().unpublished_events) == ([], 0)

    loaded = event_of(
        SliceLoaded(
            dataset=DATASET,
            slice_key="43%",
            load_id=asked.id,
            as_of=date(2026, 11, 9),
            revision=1,
            content_sha256="0" * 64,
            landing_uri="s3://b/l",
            tables=(),
        ),
        correlation_id=asked.id,
    )
    load(engine, "43%", "loaded", load_id=asked.id)
    with engine.begin() as connection:
        outgoing.put(connection, loaded)
    stage = {
        "event_id": loaded.id,
        "load_id": asked.id,
        "dataset": DATASET,
        "slice_key": "43%",
        "event_time": NOW,
    }
    put(engine, stage_runs, **stage, stage="validate", state="running", attempts=4, started_at=NOW)
    (waiting,) = look().waiting
    assert (waiting.stage, waiting.is_running, waiting.attempts) == ("validate", True, 4)


def test_a_given_up_event_is_dead_and_waits_again_when_it_is_redriven(
    engine: Engine, look: Callable[[], DatasetOverview], event_of: EventOf
) -> None:
    asked = event_of(LoadRequested(dataset=DATASET, slice_key="43%", source_uri="/nowhere"))
    with engine.begin() as connection:
        outgoing.put(connection, asked)
    put(
        engine,
        dead_letters,
        service="ingestor",
        event_id=asked.id,
        dataset=DATASET,
        topic="load-requested",
        partition=0,
        offset=0,
        headers={},
        error_class="SourceNotFound",
        reason="gone",
        attempts=1,
    )
    assert (look().dead_letters, look().waiting) == (1, [])
    with engine.begin() as connection:
        connection.execute(update(dead_letters).values(redriven_at=NOW))
    assert look().dead_letters == 0
    assert [each.load_id for each in look().waiting] == [asked.id]


def test_a_slice_counts_as_rejected_until_a_later_load_of_it_is_not(
    engine: Engine, look: Callable[[], DatasetOverview]
) -> None:
    reasons = [{"message": "no labels"}, {"message": "no products"}]
    load_id = load(engine, "43%", "rejected", reasons=reasons)
    (rejected,) = look().rejected
    assert (rejected.load_id, rejected.reason, rejected.reasons) == (load_id, "no labels", 2)
    load(engine, "43%", "unchanged", minutes=1)
    assert len(look().rejected) == 1
    load(engine, "43%", "published", minutes=2)
    assert look().rejected == []
    last = look().last_load
    assert last is not None
    assert last.status == "published"


def test_missing_pictures_are_counted(engine: Engine, look: Callable[[], DatasetOverview]) -> None:
    for key, state in (("1", "stored"), ("2", "missing"), ("3", "missing")):
        put(
            engine,
            images,
            dataset=DATASET,
            table_name="products",
            row_key=key,
            file=f"image_{key}.jpg",
            state=state,
            load_id="l",
        )
    assert look().missing_images == 2


def test_a_faulty_spec_is_named_and_hides_no_other_dataset(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("dataset: bad\n")
    good = (REPOSITORY / "datasets" / "rakuten.yaml").read_text()
    (tmp_path / "rakuten.yaml").write_text(good)
    publish(engine, "40%", date(2026, 11, 2), 40.0, 33_966)
    with engine.connect() as connection:
        bad, rakuten = read_overview(connection, tmp_path, lambda *_: None)
    assert "slices" in (bad.fault or "")
    assert (rakuten.fault, rakuten.slice_key) == (None, "40%")


def test_history_has_each_load_with_its_changes_and_its_first_decision(engine: Engine) -> None:
    load_id = publish(engine, "40%", date(2026, 11, 2), 40.0, 33_966)
    promote(engine, load_id, "1", minutes=1, promoted=True)
    promote(engine, load_id, "1", minutes=9, promoted=False)
    load(engine, "43%", "rejected", minutes=20, changes=None, reasons=[])
    with engine.connect() as connection:
        first, second = connection.execute(text(HISTORY), {"dataset": DATASET}).mappings()
    assert (first["rows"], first["inserted"], first["updated"]) == (33_966, 2 * 33_966, 2)
    assert (first["model_version"], first["decision"]) == ("1", "first_champion")
    assert (first["completed_at"] - first["started_at"]).total_seconds() == 7
    assert (second["status"], second["inserted"], second["model_version"]) == (
        "rejected",
        None,
        None,
    )
