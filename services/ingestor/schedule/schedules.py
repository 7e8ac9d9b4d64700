"""What becomes of the moments of the datasets' schedules: decided once, by whichever ingestor.

A dataset's row of `headrace.schedules` says until when its moments are decided. It is locked while
those after are: their rows of `headrace.schedule_runs`, the load requests in the outbox and the
row's new `settled_until` commit together. So with any number of ingestors a moment fires once.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from prometheus_client import Counter
from sqlalchemy import Connection, Engine, Row, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import InterfaceError, OperationalError

from services.ingestor.schedule.moments import last_moments, moments, next_moment, schedule_faults
from services.ingestor.schedule.spec_folder import SpecFolder
from shared.clock import Clock
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.envelope import Event
from shared.contracts.schedule_spec import MissedRuns
from shared.database.statuses import ScheduleOutcome
from shared.database.tables import schedule_runs, schedules
from shared.errors import PermanentError
from shared.load_requests import NothingToLoad, load_request
from shared.messaging import outbox
from shared.observability.logs import REPEATS
from shared.settings import Settings

logger = logging.getLogger(__name__)

SOURCE = "ingestor"
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


class Schedules:
    """The schedules of all specs in a folder."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        clock: Clock,
        *,
        wake_relay: Callable[[], None] = lambda: None,
        runs: Counter | None = None,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._wake_relay = wake_relay
        self._runs = runs
        self._folder = SpecFolder(settings.datasets_dir, schedule_faults)

    def run_due(self) -> list[ScheduleRun]:
        """Decide all that is due now; see `settle`."""
        return self.settle(self._clock())

    def settle(self, now: datetime) -> list[ScheduleRun]:
        """Decide every moment up to `now` that isn't decided yet; what this call decided.

        A faulty spec, and a dataset that another ingestor is at, are left for the next time. Raises
        SQLAlchemy's `OperationalError` or `InterfaceError` where the database is away; what is
        decided stays decided.
        """
        specs = self._folder.specs()
        with self._engine.connect() as connection:
            rows = {row.dataset: row for row in connection.execute(select(schedules))}
        decided: list[ScheduleRun] = []
        for spec in specs:
            try:
                decided += self._settle_one(spec, rows.get(spec.dataset), now)
            except (OperationalError, InterfaceError):
                raise
            except Exception:  # one dataset's trouble is not the others'
                logger.exception(f"the schedule of {spec.dataset} waits", extra=REPEATS)
        return decided

    def _settle_one(
        self, spec: DatasetSpec, row: Row[Any] | None, now: datetime
    ) -> list[ScheduleRun]:
        if row is None and spec.schedule is None:
            return []
        if row is not None and not self._is_due(spec, row, now):
            return []
        with self._engine.begin() as connection:
            if row is None:
                bear(connection, spec.dataset, now, by=SOURCE)
            # Another ingestor that has the row is at it: nothing to wait for.
            held = hold(connection, spec.dataset, skip_locked=True)
            decided = decide(connection, self._settings, spec, held, now) if held else []
        for run in decided:
            if self._runs is not None:
                self._runs.labels(run.dataset, run.outcome.value).inc()
            _tell(run)
        if any(run.load_id for run in decided):
            self._wake_relay()
        return decided

    def _is_due(self, spec: DatasetSpec, row: Row[Any], now: datetime) -> bool:
        """Whether there is anything to decide or to move on; this look takes no lock."""
        grace = timedelta(seconds=self._settings.schedule_grace_seconds)
        if row.settled_until > now + grace:
            logger.warning(
                f"the schedule of {row.dataset} is settled until %s, which is to come: was a clock "
                "wrong? `headrace schedule resume` begins it anew",
                row.settled_until,
                extra=REPEATS,
            )
        # It is moved on now and then though nothing fired, so that a schedule which is changed, or
        # put in again, counts from then and not from when the old one fired last.
        if now - row.settled_until > grace:
            return True
        return spec.schedule is not None and bool(moments(spec.schedule, row.settled_until, now))


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
    return run


def _record(connection: Connection, run: ScheduleRun) -> bool:
    """Whether the moment wasn't decided before."""
    statement = insert(schedule_runs).values(asdict(run)).on_conflict_do_nothing()
    return connection.execute(statement.returning(schedule_runs.c.due_at)).first() is not None


def _move(connection: Connection, dataset: str, now: datetime) -> None:
    statement = update(schedules).where(schedules.c.dataset == dataset)
    moved = func.greatest(schedules.c.settled_until, now)
    connection.execute(statement.values(settled_until=moved))


def _tell(run: ScheduleRun) -> None:
    what = ": ".join(filter(None, (run.outcome.value, run.slice_key, run.detail)))
    level = logging.WARNING if run.outcome is ScheduleOutcome.REFUSED else logging.INFO
    logger.log(level, "%s, due at %s, is %s", run.dataset, run.due_at, what)
