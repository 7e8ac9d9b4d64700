"""What looks at the schedules again and again, beside the ingestor's consumer."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy.exc import InterfaceError, OperationalError

from shared.errors import TransientError
from shared.observability.logs import REPEATS

logger = logging.getLogger(__name__)

STOP_SECONDS = 1.5


class Clockwork:
    """Calls `run_due` every `poll_seconds`, never twice at once. No error of it ends it.

    A companion of the ingestor, in threads of its own: neither the consumer nor the health
    endpoints wait for it.
    """

    def __init__(self, run_due: Callable[[], object], *, poll_seconds: float) -> None:
        self._run_due = run_due
        self._at_work = threading.Lock()
        # It tells of every look, and of every one left out while a look takes its time.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = BackgroundScheduler(
            timezone=UTC, executors={"default": ThreadPoolExecutor(1)}
        )
        self._scheduler.add_job(
            self._look,
            "interval",
            seconds=poll_seconds,
            next_run_time=datetime.now(UTC),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )

    def start(self) -> None:
        """Begin with a first look at once."""
        self._scheduler.start()

    def stop(self) -> None:
        """End it. A look in hand has `STOP_SECONDS`; what it hasn't committed then comes again."""
        self._scheduler.shutdown(wait=False)
        if self._at_work.acquire(timeout=STOP_SECONDS):
            self._at_work.release()
        else:
            logger.warning("a look at the schedules is abandoned")

    def _look(self) -> None:
        with self._at_work:
            try:
                self._run_due()
            except (TransientError, OperationalError, InterfaceError) as error:
                logger.warning("the schedules wait: %s", error, extra=REPEATS)
            except Exception:
                logger.exception("the schedules can't be looked at", extra=REPEATS)
