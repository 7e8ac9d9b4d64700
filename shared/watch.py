"""A look at the servers now and then, whether or not anybody asks: for the log, and for hangs.

A handler that waits for a database which hangs raises nothing and logs nothing. So the service
itself says what it waits for, once a minute, and that it is back; and connections to a database
that says nothing at all are hung up, so that no thread waits for one that will never speak again.
"""

import logging
import threading
import time
from collections.abc import Callable

from shared.observability.logs import REPEATS
from shared.readiness import Readiness

logger = logging.getLogger(__name__)


class Watch:
    """Looks every `interval_seconds`. After `silence_seconds` without a word it calls `hang_up`."""

    def __init__(
        self,
        readiness: Readiness,
        *,
        database: str,
        hang_up: Callable[[], int],
        interval_seconds: float,
        silence_seconds: float,
    ) -> None:
        self._readiness = readiness
        self._database = database
        self._hang_up = hang_up
        self._interval_seconds = interval_seconds
        self._silence_seconds = silence_seconds
        self._away_since: dict[str, float] = {}
        self._hung_up_at = float("-inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin; the first look is after an interval, when the service is up."""
        self._thread.start()

    def stop(self) -> None:
        """End it; a look in hand is left to itself."""
        self._stop.set()

    def look(self) -> None:
        """Say what is away, what is back, and hang up on a database that is silent."""
        faults = self._readiness.faults()
        now = time.monotonic()
        for name, fault in faults.items():
            self._away_since.setdefault(name, now)
            logger.warning(f"waiting for {name}: %s", fault, extra=REPEATS)
        for name in self._away_since.keys() - faults.keys():
            logger.info("%s answers again, after %.0f s", name, now - self._away_since.pop(name))
        silent = self._readiness.silent_seconds(self._database)
        if silent >= self._silence_seconds and now - self._hung_up_at >= self._silence_seconds:
            self._hung_up_at = now
            if given_up := self._hang_up():
                logger.warning(
                    "hung up on %s after %.0f s of silence: %d connections",
                    *(self._database, silent, given_up),
                )

    def _run(self) -> None:
        while not self._stop.wait(self._interval_seconds):
            try:
                self.look()
            except Exception:
                logger.exception("the servers can't be looked at", extra=REPEATS)
