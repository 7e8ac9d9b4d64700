"""Promise 1: a handler's effects, its inbox mark and its events are one transaction."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import Engine, select, text

from services.ingestor.loads import begin_load
from shared.clock import utc_now
from shared.contracts.envelope import Event, Record
from shared.contracts.events import LoadRequested, Payload, SliceRejected, Stage
from shared.database import stages
from shared.database.tables import dead_letters, inbox, loads, outbox, stage_runs
from shared.errors import PermanentError, TransientError
from shared.messaging.dead_letters import redrive
from shared.messaging.processor import Abandoned, Handler, Processor
from shared.messaging.unit_of_work import UnitOfWork
from shared.observability.metrics import Metrics
from shared.settings import Settings

Make = Callable[..., Event[Payload]]
NEVER = threading.Event()


@pytest.fixture
def event(event_of: Make, engine: Engine) -> Event[Payload]:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE effects (event_id text)"))
    return event_of(LoadRequested(dataset="d", slice_key="s", source_uri="/nowhere"))


def record_of(event: Event[Payload], offset: int = 0) -> Record:
    return Record("load-requested", 0, offset, b"d", event.headers(), event.value())


def processor(engine: Engine, settings: Settings, handler: Handler) -> Processor:
    return Processor(
        service="ingestor",
        handlers={LoadRequested: handler},
        stage_of={LoadRequested: Stage.INGEST},
        engine=engine,
        clock=utc_now,
        settings=settings.model_copy(
            update={"retry_floor_seconds": 0.001, "retry_ceiling_seconds": 0.002}
        ),
        metrics=Metrics(),
        wake_relay=lambda: None,
    )


def rejecting(event: Event[LoadRequested], unit: UnitOfWork) -> None:
    with unit.transaction() as transaction:
        transaction.connection.execute(text("INSERT INTO effects VALUES (:id)"), {"id": event.id})
        transaction.emit(
            SliceRejected(
                dataset="d",
                slice_key="s",
                load_id=event.id,
                as_of=None,
                stage=Stage.INGEST,
                reasons=(),
            )
        )


def counts(engine: Engine) -> tuple[int, int, int]:
    with engine.connect() as connection:
        return tuple(
            connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
            for table in ("effects", "headrace.inbox", "headrace.outbox")
        )


def test_effect_inbox_mark_and_event_are_there_together(
    engine: Engine, settings: Settings, event: Event[Payload]
) -> None:
    processor(engine, settings, rejecting).process(record_of(event), NEVER)

    assert counts(engine) == (1, 1, 1)
    with engine.connect() as connection:
        emitted = connection.execute(select(outbox)).one()
        run = connection.execute(select(stage_runs)).one()
    assert emitted.headers["ce_causationid"] == event.id
    assert emitted.headers["ce_correlationid"] == event.id
    assert emitted.headers["traceparent"][3:35] == event.traceparent.trace_id
    assert (run.state, run.attempts, run.load_id) == ("done", 1, event.id)


def test_second_delivery_of_an_event_changes_nothing(
    engine: Engine, settings: Settings, event: Event[Payload]
) -> None:
    subject = processor(engine, settings, rejecting)
    subject.process(record_of(event, 0), NEVER)
    subject.process(record_of(event, 7), NEVER)

    assert counts(engine) == (1, 1, 1)


def test_an_error_after_the_effects_leaves_none_of_them(
    engine: Engine, settings: Settings, event: Event[Payload]
) -> None:
    def failing(event: Event[LoadRequested], unit: UnitOfWork) -> None:
        with unit.transaction() as transaction:
            transaction.connection.execute(text("INSERT INTO effects VALUES ('x')"))
            transaction.emit(event.payload)
            raise PermanentError("no")

    processor(engine, settings, failing).process(record_of(event), NEVER)

    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM effects")).scalar() == 0
        assert connection.execute(select(inbox)).all() == []
        topics = [row.topic for row in connection.execute(select(outbox))]
    assert topics == ["dead-letters"]


def test_two_deliveries_at_once_have_one_effect(
    engine: Engine, settings: Settings, event: Event[Payload]
) -> None:
    both_are_prepared = threading.Barrier(2, timeout=20)

    def slow(event: Event[LoadRequested], unit: UnitOfWork) -> None:
        both_are_prepared.wait()
        rejecting(event, unit)

    subject = processor(engine, settings, slow)
    threads = [
        threading.Thread(target=subject.process, args=(record_of(event, offset), NEVER))
        for offset in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert counts(engine) == (1, 1, 1)


def test_a_delivery_that_begins_while_another_commits_leaves_its_stage_done(
    engine: Engine, settings: Settings, event: Event[Payload]
) -> None:
    subject, start = processor(engine, settings, rejecting), stages.start

    def overtaken(*args: Any) -> None:
        with patch.object(stages, "start", start):
            subject.process(record_of(event, 1), NEVER)
        start(*args)

    with patch.object(stages, "start", overtaken):
        subject.process(record_of(event), NEVER)

    assert counts(engine) == (1, 1, 1)
    with engine.connect() as connection:
        assert connection.execute(select(stage_runs.c.state)).all() == [("done",)]


def test_a_delivery_that_fails_when_another_has_done_the_event_is_no_dead_letter(
    engine: Engine, settings: Settings, event: Event[Payload]
) -> None:
    """As where a rebalance gave the event to two, and what came of it has used up its staging."""

    def overtaken(event: Event[LoadRequested], unit: UnitOfWork) -> None:
        processor(engine, settings, rejecting).process(record_of(event, 1), NEVER)
        raise PermanentError("the staging table is gone")

    processor(engine, settings, overtaken).process(record_of(event), NEVER)

    assert counts(engine) == (1, 1, 1)
    with engine.connect() as connection:
        assert connection.execute(select(dead_letters)).all() == []
        assert connection.execute(select(stage_runs.c.state)).all() == [("done",)]


def test_a_handler_that_opens_no_transaction_is_a_fault_and_not_a_success(
    engine: Engine, settings: Settings, event: Event[Payload]
) -> None:
    processor(engine, settings, lambda event, unit: None).process(record_of(event), NEVER)

    with engine.connect() as connection:
        dead = connection.execute(select(dead_letters)).one()
    assert "opened no transaction" in dead.reason
    assert dead.attempts == settings.unknown_error_attempts


def test_a_transient_error_is_tried_until_it_passes(
    engine: Engine, settings: Settings, event: Event[Payload]
) -> None:
    tries: Iterator[int] = iter(range(100))

    def flaky(event: Event[LoadRequested], unit: UnitOfWork) -> None:
        if next(tries) < 10:
            raise TransientError("away")
        rejecting(event, unit)

    processor(engine, settings, flaky).process(record_of(event), NEVER)

    assert counts(engine) == (1, 1, 1)
    with engine.connect() as connection:
        assert connection.execute(select(stage_runs.c.attempts)).scalar() == 11


def test_a_transient_error_is_abandoned_uncommitted_at_a_stop(
    engine: Engine, settings: Settings, event: Event[Payload]
) -> None:
    stop = threading.Event()

    def away(event: Event[LoadRequested], unit: UnitOfWork) -> None:
        stop.set()
        raise TransientError("away")

    with pytest.raises(Abandoned):
        processor(engine, settings, away).process(record_of(event), stop)
    assert counts(engine) == (0, 0, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"value": b"\xff\xfe not json"}, "the value"),
        ({"value": b'{"dataset": "d"}'}, "slice_key"),
        ({"headers": {}}, "ce_specversion"),
        ({"value": None}, "the value"),
    ],
)
def test_a_record_that_is_no_event_goes_whole_to_the_dead_letters(
    engine: Engine, settings: Settings, event: Event[Payload], change: dict, reason: str
) -> None:
    record = replace(record_of(event, 41), **change)

    processor(engine, settings, rejecting).process(record, NEVER)
    processor(engine, settings, rejecting).process(record, NEVER)

    with engine.connect() as connection:
        dead = connection.execute(select(dead_letters)).one()
    assert reason in dead.reason
    assert dead.error_class == "UndecodableEvent"
    assert (dead.topic, dead.partition, dead.offset) == ("load-requested", 0, 41)
    kept = bytes(dead.value) if dead.value is not None else None
    assert (kept, dead.headers) == (record.value, record.headers)


@pytest.mark.parametrize("again", [0, 1], ids=["read twice", "published twice"])
def test_a_dead_letters_event_that_comes_again_leaves_its_load_failed_and_is_told_once(
    engine: Engine, settings: Settings, event: Event[Payload], again: int
) -> None:
    """As after a kill between the dead letter's commit and that of the offset, or between an
    event's publication and the outbox's note of it.
    """

    def beginning(event: Event[LoadRequested], unit: UnitOfWork) -> None:
        with unit.engine.begin() as connection:
            begin_load(connection, event.correlation_id, event)
        raise PermanentError("it can't be loaded")

    ingestor = processor(engine, settings, beginning)
    for offset in (0, again):
        ingestor.process(record_of(event, offset), NEVER)
    with engine.connect() as connection:
        assert connection.execute(select(loads.c.status)).all() == [("failed",)]
        assert connection.execute(select(stage_runs.c.state)).all() == [("failed",)]
        assert len(connection.execute(select(dead_letters)).all()) == 1
        assert connection.execute(select(outbox.c.topic)).all() == [("dead-letters",)]

    redrive(engine, 1, lambda record: None)
    ingestor.process(record_of(event, 2), NEVER)
    with engine.connect() as connection:
        states = connection.execute(select(dead_letters.c.offset, dead_letters.c.redriven_at)).all()
        assert [(offset, at is None) for offset, at in states] == [(0, False), (2, True)]
        assert connection.execute(select(outbox.c.topic)).all() == [("dead-letters",)] * 2
