"""All schedules of a folder of specs, decided once by whichever ingestor comes first.

See `shared.schedule.deciding`: with any number of ingestors a moment fires once.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import Counter
from sqlalchemy import Engine, Row, select

from services.ingestor.schedule.spec_folder import SpecFolder
from shared.clock import Clock
from shared.contracts.dataset_spec import DatasetSpec
from shared.database.statuses import ScheduleOutcome
from shared.database.tables import schedules
from shared.fail_points import FailPoint, reached
from shared.messaging.retry import is_database_away
from shared.observability.logs import REPEATS, log_ids
from shared.schedule.deciding import SOURCE, ScheduleRun, bear, decide, hold
from shared.schedule.moments import moments, schedule_faults
from shared.settings import Settings

logger = logging.getLogger(__name__)


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
        what `is_database_away` knows where the database is; what is decided stays decided.
        """
        specs = self._folder.specs()
        with self._engine.connect() as connection:
            rows = {row.dataset: row for row in connection.execute(select(schedules))}
        decided: list[ScheduleRun] = []
        for spec in specs:
            try:
                decided += self._settle_one(spec, rows.get(spec.dataset), now)
            except Exception as error:
                if is_database_away(error):
                    raise
                # One dataset's trouble is not the others'.
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
            reached(FailPoint.SCHEDULE_FIRED, run.dataset)
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


def _tell(run: ScheduleRun) -> None:
    what = ": ".join(filter(None, (run.outcome.value, run.slice_key, run.detail)))
    level = logging.WARNING if run.outcome is ScheduleOutcome.REFUSED else logging.INFO
    with log_ids(dataset=run.dataset, slice_key=run.slice_key, load_id=run.load_id):
        logger.log(level, "%s, due at %s, is %s", run.dataset, run.due_at, what)
