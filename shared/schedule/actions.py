"""A person's word about a schedule: pause it, resume it, run it now."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, text, update

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.spec_file import find_spec
from shared.database.statuses import ScheduleOutcome
from shared.database.tables import schedules
from shared.errors import InconsistentState
from shared.load_requests import BadRequest
from shared.schedule.deciding import ScheduleRun, ask, bear, decide, hold
from shared.schedule.moments import schedule_faults
from shared.settings import Settings

_LAST_RUNS = """
    SELECT DISTINCT ON (dataset) dataset, due_at, outcome, slice_key, load_id, detail
    FROM headrace.schedule_runs
    ORDER BY dataset, due_at DESC
"""


def pause(engine: Engine, settings: Settings, dataset: str, now: datetime, *, by: str) -> bool:
    """Have the schedule ask for nothing until it is resumed; False where it was paused before.

    Raises `UnknownDataset` or `FaultySpec` where there is no good spec, and `BadRequest` where it
    has no schedule. The moments that pass meanwhile are recorded as paused.
    """
    with engine.begin() as connection:
        return pause_within(connection, settings, dataset, now, by=by)


def pause_within(
    connection: Connection, settings: Settings, dataset: str, now: datetime, *, by: str
) -> bool:
    """`pause` as part of a transaction."""
    row = _held(connection, scheduled_spec(settings, dataset), now, by)
    if row.is_paused:
        return False
    _change(connection, dataset, now, by, is_paused=True)
    return True


def resume(engine: Engine, settings: Settings, dataset: str, now: datetime, *, by: str) -> bool:
    """Have the schedule go on with what comes after `now`; False where it wasn't paused.

    Raises as `pause` does. A schedule that isn't paused is begun anew too where it is settled for
    a time to come, as an ingestor with a wrong clock leaves it.
    """
    with engine.begin() as connection:
        return resume_within(connection, settings, dataset, now, by=by)


def resume_within(
    connection: Connection, settings: Settings, dataset: str, now: datetime, *, by: str
) -> bool:
    """`resume` as part of a transaction."""
    spec = scheduled_spec(settings, dataset)
    row = _held(connection, spec, now, by)
    grace = timedelta(seconds=settings.schedule_grace_seconds)
    if not row.is_paused and row.settled_until <= now + grace:
        return False
    if not schedule_faults(spec):
        decide(connection, settings, spec, row, now)  # what passed while it was paused
    _change(connection, dataset, now, by, is_paused=False)
    return True


def run_now(
    engine: Engine, settings: Settings, dataset: str, now: datetime, *, by: str
) -> ScheduleRun:
    """Ask for the dataset's next slice whatever the schedule says, also while it is paused.

    The ingestor sends the request from the outbox; a share's date is today in the schedule's zone.
    Kept in `headrace.schedule_runs` as due now, whatever the outcome. Raises as `pause` does.
    """
    with engine.begin() as connection:
        return run_now_within(connection, settings, dataset, now, by=by)


def run_now_within(
    connection: Connection, settings: Settings, dataset: str, now: datetime, *, by: str
) -> ScheduleRun:
    """`run_now` as part of a transaction."""
    spec = scheduled_spec(settings, dataset)
    _held(connection, spec, now, by)  # so that it isn't the slice that the schedule asks for
    run = ScheduleRun(dataset, now, ScheduleOutcome.REQUESTED)
    asked = ask(connection, settings, spec, run, now, requested_by=by)
    if asked is None:
        raise BadRequest(f"{dataset} was asked for its next slice at this very moment already")
    return asked


def last_runs(connection: Connection) -> dict[str, ScheduleRun]:
    """What became of the last moment of each dataset's schedule, by dataset."""
    return {
        row.dataset: ScheduleRun(
            dataset=row.dataset,
            due_at=row.due_at,
            outcome=ScheduleOutcome(row.outcome),
            slice_key=row.slice_key,
            load_id=row.load_id,
            detail=row.detail,
        )
        for row in connection.execute(text(_LAST_RUNS))
    }


def scheduled_spec(settings: Settings, dataset: str) -> DatasetSpec:
    """The spec of a dataset that has a schedule. Raises as `pause` does."""
    spec = find_spec(settings.datasets_dir, dataset)
    if spec.schedule is None:
        raise BadRequest(f"the spec of {dataset!r} has no schedule; `headrace load {dataset}` does")
    return spec


def _held(connection: Connection, spec: DatasetSpec, now: datetime, by: str) -> Row[Any]:
    bear(connection, spec.dataset, now, by=by)
    row = hold(connection, spec.dataset)
    if row is None:
        raise InconsistentState(f"the schedule of {spec.dataset} was deleted meanwhile")
    return row


def _change(
    connection: Connection, dataset: str, now: datetime, by: str, *, is_paused: bool
) -> None:
    connection.execute(
        update(schedules)
        .where(schedules.c.dataset == dataset)
        .values(is_paused=is_paused, settled_until=now, changed_at=now, changed_by=by)
    )
