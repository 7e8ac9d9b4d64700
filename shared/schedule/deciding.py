"""What becomes of the moments of a dataset's schedule: each is decided once.

A dataset's row of `headrace.schedules` says until when its moments are decided. It is locked while
those after are: their rows of `headrace.schedule_runs`, the load requests in the outbox and the
row's new `settled_until` commit together.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.envelope import Event
from shared.contracts.schedule_spec import MissedRuns
from shared.database.statuses import ScheduleOutcome
from shared.database.tables import schedule_runs, schedules
from shared.errors import PermanentError
from shared.fail_points import FailPoint, reached
from shared.load_requests import NothingToLoad, load_request
from shared.messaging import outbox
from shared.schedule.moments import last_moments, next_moment, schedule_faults
from shared.settings import Settings

SOURCE = "ingestor"
"""Of the requests: its relay sends them."""
REQUESTED_BY = "schedule"
_MOMENT = UUID("6d0c7f3a-0d5b-4b8e-9a35-5c1c2f2b7e64")


@dataclass(frozen=True)
class ScheduleRun:
    """What became of a moment: a row of `headrace.schedule_runs`."""

    dataset: str
    due_at: datetime
    outcome: ScheduleOutcome
    slice_key: str | None = None
    load_id: str | None = None
    detail: str | None = None


def next_run(spec: DatasetSpec, row: Row[Any] | None, now: datetime) -> datetime | None:
    """When the dataset's schedule fires next, in its time zone.

    `row` is its row of `headrace.schedules`, None where it has none yet. None where the spec has no
    schedule or a faulty one, where it is paused, and where it never fires.
    """
    if spec.schedule is None or schedule_faults(spec) or (row is not None and row.is_paused):
        return None
    settled_until = row.settled_until if row is not None else now
    found = next_moment(spec.schedule, max(now, settled_until))
    return found.astimezone(ZoneInfo(spec.schedule.time_zone)) if found else None


def bear(connection: Connection, dataset: str, now: datetime, *, by: str) -> None:
    """Make the dataset's row of `headrace.schedules` where it has none.

    It is settled until `now`: nothing from before its birth fires.
    """
    born = insert(schedules).values(dataset=dataset, settled_until=now, changed_by=by)
    connection.execute(born.on_conflict_do_nothing())


def hold(connection: Connection, dataset: str, *, skip_locked: bool = False) -> Row[Any] | None:
    """The dataset's row of `headrace.schedules`, locked until the transaction ends.

    None where there is none, and with `skip_locked` where another transaction has it.
    """
    query = select(schedules).where(schedules.c.dataset == dataset)
    return connection.execute(query.with_for_update(skip_locked=skip_locked)).first()


def decide(
    connection: Connection,
    settings: Settings,
    spec: DatasetSpec,
    row: Row[Any],
    now: datetime,
) -> list[ScheduleRun]:
    """Decide the moments after `row.settled_until` up to `now` and move it on. `row` is held."""
    _move(connection, spec.dataset, now)
    if spec.schedule is None:
        return []
    kept = settings.schedule_moments_kept
    due, is_cut = last_moments(spec.schedule, row.settled_until, now, kept)
    grace = timedelta(seconds=settings.schedule_grace_seconds)
    wanted = verdicts(due, now, grace, spec.schedule.missed, is_paused=row.is_paused)
    runs = []
    for due_at, outcome in zip(due, wanted, strict=True):
        run = ScheduleRun(spec.dataset, due_at, outcome)
        if is_cut and due_at == due[0]:
            run = replace(run, detail=f"more than {kept} moments passed; those before are not kept")
        if outcome is ScheduleOutcome.REQUESTED:
            recorded = ask(connection, settings, spec, run, now, requested_by=REQUESTED_BY)
        else:
            recorded = run if _record(connection, run) else None
        if recorded is not None:
            runs.append(recorded)
    return runs


def verdicts(
    due: Sequence[datetime],
    now: datetime,
    grace: timedelta,
    missed: MissedRuns,
    *,
    is_paused: bool,
) -> list[ScheduleOutcome]:
    """The outcome of each of the moments `due`, oldest first; `REQUESTED` where it is to be run.

    A moment older than `grace` was missed. With `latest` the last of them is run, unless one that
    was not missed is run anyway.
    """
    if is_paused:
        return [ScheduleOutcome.PAUSED] * len(due)
    late = sum(now - moment > grace for moment in due)
    skipped = late
    if missed is MissedRuns.ALL:
        skipped = 0
    elif missed is MissedRuns.LATEST and late == len(due) and due:
        skipped = late - 1
    return [ScheduleOutcome.MISSED] * skipped + [ScheduleOutcome.REQUESTED] * (len(due) - skipped)


def ask(
    connection: Connection,
    settings: Settings,
    spec: DatasetSpec,
    run: ScheduleRun,
    now: datetime,
    *,
    requested_by: str,
) -> ScheduleRun | None:
    """Ask for the dataset's next slice and record how it went; None where it was decided before.

    A share's date is that of `run.due_at` in the schedule's time zone.
    """
    event = None
    try:
        payload = load_request(
            connection,
            settings,
            dataset=run.dataset,
            requested_by=requested_by,
            clock=lambda: run.due_at,
        )
    except NothingToLoad as nothing:
        run = replace(run, outcome=ScheduleOutcome.NOTHING_TO_LOAD, detail=str(nothing))
    except PermanentError as error:
        detail = str(error)
        if spec.slices.increment is not None and spec.slices.source is None:
            detail += f" once with `headrace load {run.dataset} --from FOLDER`"
        run = replace(run, outcome=ScheduleOutcome.REFUSED, detail=detail)
    else:
        event_id = str(uuid5(_MOMENT, f"{run.dataset}/{run.due_at.timestamp():.6f}"))
        event = Event(payload=payload, source=SOURCE, time=now, id=event_id)
        run = replace(run, slice_key=payload.slice_key, load_id=event_id)
    if not _record(connection, run):
        return None
    if event is not None:
        outbox.put(connection, event)
        reached(FailPoint.SCHEDULE_FIRING, run.dataset)
    return run


def _record(connection: Connection, run: ScheduleRun) -> bool:
    """Whether the moment wasn't decided before."""
    statement = insert(schedule_runs).values(asdict(run)).on_conflict_do_nothing()
    return connection.execute(statement.returning(schedule_runs.c.due_at)).first() is not None


def _move(connection: Connection, dataset: str, now: datetime) -> None:
    statement = update(schedules).where(schedules.c.dataset == dataset)
    moved = func.greatest(schedules.c.settled_until, now)
    connection.execute(statement.values(settled_until=moved))
