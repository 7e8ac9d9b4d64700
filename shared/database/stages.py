"""What each stage did with each event, for people who watch."""

from datetime import datetime

from sqlalchemy import Connection, update
from sqlalchemy.dialects.postgresql import insert

from shared.contracts.envelope import Event
from shared.contracts.events import Payload, Stage
from shared.database.loads import FINAL
from shared.database.statuses import LoadStatus, StageState
from shared.database.tables import loads, stage_runs


def start(connection: Connection, event: Event[Payload], stage: Stage, now: datetime) -> None:
    """Record that a handler has the event; a later try counts as another attempt."""
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
    connection.execute(
        update(loads)
        .where(
            loads.c.load_id == event.correlation_id,
            loads.c.status.not_in([status.value for status in FINAL]),
        )
        .values(status=LoadStatus.FAILED.value, finished_at=now)
    )
