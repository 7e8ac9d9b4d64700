"""What each stage did with each event, for people who watch."""

from datetime import datetime

from sqlalchemy import Connection, func, update
from sqlalchemy.dialects.postgresql import insert

from shared.contracts.envelope import Event
from shared.contracts.events import Payload, Stage
from shared.database.loads import FINAL
from shared.database.statuses import LoadStatus, StageState
from shared.database.tables import loads, stage_runs

_WAITS_FOR = {"validator": LoadStatus.LOADED, "snapshotter": LoadStatus.VALIDATED}
"""The status of the loads that wait for each of these services, and hold up those after them."""


def start(connection: Connection, event: Event[Payload], stage: Stage, now: datetime) -> None:
    """Record that a handler has the event; a later try counts as another attempt.

    What is done stays so: another delivery may have done it since the inbox was asked, and this one
    has nothing to record then.
    """
    statement = insert(stage_runs).values(
        event_id=event.id,
        stage=stage.value,
        load_id=event.correlation_id,
        dataset=event.payload.dataset,
        slice_key=event.payload.slice_key,
        state=StageState.RUNNING.value,
        attempts=1,
        event_time=event.time,
        started_at=now,
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[stage_runs.c.event_id, stage_runs.c.stage],
            set_={
                "state": StageState.RUNNING.value,
                "attempts": stage_runs.c.attempts + 1,
                "started_at": now,
                "finished_at": None,
                "error": None,
            },
            where=stage_runs.c.state != StageState.DONE.value,
        )
    )


def finish(connection: Connection, event: Event[Payload], stage: Stage, now: datetime) -> None:
    """Record that the work is done; to be called in the transaction of its effects."""
    connection.execute(
        update(stage_runs)
        .where(stage_runs.c.event_id == event.id, stage_runs.c.stage == stage.value)
        .values(state=StageState.DONE.value, finished_at=now)
    )


def fail(
    connection: Connection, event: Event[Payload], stage: Stage, now: datetime, error: str
) -> None:
    """Record that the event was given up; its load has failed unless it was finished already."""
    connection.execute(
        update(stage_runs)
        .where(stage_runs.c.event_id == event.id, stage_runs.c.stage == stage.value)
        .values(state=StageState.FAILED.value, finished_at=now, error=error)
    )
    fail_load(connection, event, now)


def fail_load(connection: Connection, event: Event[Payload], now: datetime) -> None:
    """Record that the event's load goes no further, unless it was finished already."""
    connection.execute(
        update(loads)
        .where(
            loads.c.load_id == event.correlation_id,
            loads.c.status.not_in([status.value for status in FINAL]),
        )
        .values(status=LoadStatus.FAILED.value, finished_at=now)
    )


def fail_waiting_load(connection: Connection, service: str, dataset: str, load_id: str) -> None:
    """Record that the load goes no further where it is `service` that it waits for.

    `dataset` must be the load's own: what says so may be anybody's record.
    """
    if service not in _WAITS_FOR:
        return
    connection.execute(
        update(loads)
        .where(
            loads.c.load_id == load_id,
            loads.c.dataset == dataset,
            loads.c.status == _WAITS_FOR[service].value,
        )
        .values(status=LoadStatus.FAILED.value, finished_at=func.clock_timestamp())
    )
