"""Sends the messages, each target in a thread of its own, so none waits for another's target."""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from itertools import islice

from sqlalchemy import Engine

from services.notifier import claims
from services.notifier.claims import Claim
from services.notifier.delivery import Delivery, Outcome
from services.notifier.targets import Target
from shared.clock import Clock
from shared.fail_points import FailPoint, reached
from shared.messaging.retry import backoff, is_database_away
from shared.observability.logs import REPEATS, log_ids
from shared.observability.metrics import Metrics
from shared.settings import Settings

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 30.0
STOP_SECONDS = 1.5
LOST = "unknown whether it arrived: the notifier ended, or has been waiting, while it was sending"
NOBODYS = "its target is not in NOTIFY_URLS any more"


class Sender:
    """The notifier's companion.

    A message is handed to its target at most once, but for definite refusals: those are tried again
    with growing pauses until `notify_give_up_hours` after the event was told to us. Per target
    messages go in the order of their events; one that has to be tried again lets others pass.
    """

    def __init__(
        self,
        engine: Engine,
        targets: Sequence[Target],
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._engine = engine
        self._targets = tuple(targets)
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._jitter = jitter
        self._give_up_after = timedelta(hours=settings.notify_give_up_hours)
        self._unknown_after = timedelta(seconds=settings.notify_unknown_after_seconds)
        self._stopping = threading.Event()
        self._woken = {target.name: threading.Event() for target in self._targets}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to send."""
        for target in self._targets:
            self._begin(f"send-{target.name}", partial(self._work, target))
        self._begin("sweep", self._sweep_now_and_then)

    def stop(self) -> None:
        """End it. A target that hangs is left: its thread dies with the process."""
        self._stopping.set()
        self.wake()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def wake(self) -> None:
        """There are new messages."""
        for woken in self._woken.values():
            woken.set()

    def send_next(self, target: Target) -> bool:
        """Send the oldest message to `target` that is due; False where none is."""
        now = self._clock()
        claim = claims.claim(self._engine, target.name, now, now + self._unknown_after)
        if claim is None:
            return False
        with log_ids(dataset=claim.dataset, slice_key=claim.slice_key, event_id=claim.event_id):
            return self._send(target, claim)

    def _send(self, target: Target, claim: Claim) -> bool:
        delivery = target.send(claim.title, claim.body, claim.kind)
        reached(FailPoint.MESSAGE_SENT, claim.dataset)
        self._metrics.notifications.labels(target.name, delivery.outcome.value).inc()
        self._outlast_database(lambda: self._settle(claim, delivery))
        reached(FailPoint.MESSAGE_SETTLED, claim.dataset)
        return True

    def sweep(self) -> None:
        """Give up what nobody will ever send, so that it is seen."""
        now = self._clock()
        lost = claims.give_up_unknown(self._engine, now, LOST)
        names = [target.name for target in self._targets]
        nobodys = claims.give_up_nobodys(self._engine, names, now - self._give_up_after, NOBODYS)
        for reason, rows in ((LOST, lost), (NOBODYS, nobodys)):
            for event_id, target in rows:
                with log_ids(event_id=event_id):
                    logger.error("gave up telling %s of event %s: %s", target, event_id, reason)

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, target: Target) -> None:
        woken = self._woken[target.name]
        while not self._stopping.is_set():
            try:
                while not self._stopping.is_set() and self.send_next(target):
                    self._stopping.wait(target.pause_seconds)
            except Exception as error:
                if is_database_away(error):
                    logger.warning("messages wait: %s", error, extra=REPEATS)
                else:
                    logger.exception("%s: a message can't be sent", target.name, extra=REPEATS)
            woken.wait(self._settings.relay_interval_seconds)
            woken.clear()

    def _sweep_now_and_then(self) -> None:
        while not self._stopping.is_set():
            try:
                self.sweep()
            except Exception as error:
                if is_database_away(error):
                    logger.warning("messages wait: %s", error, extra=REPEATS)
                else:
                    logger.exception("lost messages can't be looked for", extra=REPEATS)
            self._stopping.wait(SWEEP_SECONDS)

    def _settle(self, claim: Claim, delivery: Delivery) -> None:
        now, told = self._clock(), f"{claim.target} of event {claim.event_id}"
        if delivery.outcome is Outcome.SENT:
            claims.sent(self._engine, claim, now)
            logger.info("told %s", told)
            return
        if delivery.outcome is Outcome.UNKNOWN:
            claims.give_up(self._engine, claim, f"unknown whether it arrived: {delivery.error}")
            logger.error("unknown whether it arrived at %s: %s", told, delivery.error)
            return
        last_try_at = claim.created_at + self._give_up_after
        if now >= last_try_at:
            claims.give_up(self._engine, claim, delivery.error)
            logger.error("gave up telling %s: %s", told, delivery.error)
            return
        next_try_at = min(now + self._pause(claim.attempts), last_try_at)
        claims.try_again(self._engine, claim, next_try_at, delivery.error)
        logger.warning("%s can't be told yet: %s", claim.target, delivery.error, extra=REPEATS)

    def _pause(self, attempts: int) -> timedelta:
        floor = self._settings.notify_retry_floor_seconds
        ceiling = self._settings.notify_retry_ceiling_seconds
        return timedelta(
            seconds=next(islice(backoff(floor, ceiling, self._jitter), attempts - 1, None))
        )

    def _outlast_database(self, settle: Callable[[], None]) -> None:
        """Settle also where the database is away just now: unsettled, a message is lost."""
        while True:
            try:
                return settle()
            except Exception as error:
                if not is_database_away(error):
                    raise
                logger.warning("messages wait: %s", error, extra=REPEATS)
                if self._stopping.wait(self._settings.relay_interval_seconds):
                    return None
