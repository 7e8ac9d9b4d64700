"""What looks at the schedules again and again, beside the ingestor's consumer."""

import logging
import threading
from collections.abc import Callable

from shared.messaging.retry import Route, route_of
from shared.observability.logs import REPEATS

logger = logging.getLogger(__name__)

STOP_SECONDS = 1.5


class Clockwork:
    """Calls `run_due` every `poll_seconds`, never twice at once. No error of it ends it.

    A companion of the ingestor, in a thread of its own: neither the consumer nor the health
    endpoints wait for it. It counts on the monotonic clock: a wall clock that is put back must not
    keep it from looking, nor one that is put forward have it make up for looks.
    """

    def __init__(self, run_due: Callable[[], object], *, poll_seconds: float) -> None:
        self._run_due = run_due
        self._poll_seconds = poll_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schedules", daemon=True)

    def start(self) -> None:
        """Begin with a first look at once."""
        self._thread.start()

    def stop(self) -> None:
        """End it. A look in hand has `STOP_SECONDS`; what it hasn't committed then comes again."""
        self._stop.set()
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            logger.warning("a look at the schedules is abandoned")

    def _run(self) -> None:
        self._look()
        while not self._stop.wait(self._poll_seconds):
            self._look()

    def _look(self) -> None:
        try:
            self._run_due()
        except Exception as error:
            if route_of(error) is Route.TRANSIENT:
                logger.warning("the schedules wait: %s", error, extra=REPEATS)
            else:
                logger.exception("the schedules can't be looked at", extra=REPEATS)
