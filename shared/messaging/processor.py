"""From a record to a committed effect, or to the dead letters. Knows no Kafka and no domain."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine

from shared.clock import Clock
from shared.contracts.envelope import Event, Record, decode
from shared.contracts.events import Payload, Stage
from shared.database import stages
from shared.errors import OutOfTurn, UndecodableEvent
from shared.fail_points import FailPoint, reached
from shared.messaging import dead_letters, inbox
from shared.messaging.retry import Route, backoff, route_of
from shared.messaging.unit_of_work import AlreadyDone, UnitOfWork
from shared.observability import spans
from shared.observability.logs import REPEATS, facts, log_context
from shared.observability.metrics import Metrics, Outcome
from shared.observability.telling import told
from shared.settings import Settings

logger = logging.getLogger(__name__)

Handler = Callable[[Any, UnitOfWork], None]
"""Does the work of one event. Writes outside the database first, then opens the unit's transaction
exactly once. May be called again for the same event after a failure or a crash."""


class Abandoned(Exception):
    """The work was given up because the process stops or the partition went to another member."""


class Later(Exception):
    """The work has to wait for `seconds`, then `again` goes on with it.

    `after` is the correlation id of the record that has to be done first, where there is one.
    """

    def __init__(self, seconds: float, again: Callable[[], None], after: str | None) -> None:
        super().__init__(seconds)
        self.seconds = seconds
        self.again = again
        self.after = after


@dataclass
class _Tries:
    """What became of a record so far."""

    record: Record
    waits: Iterator[float]
    attempts: int = 0
    unknown: int = 0
    after: str | None = None
    is_started: bool = False
    """Whether its handler was called."""
    begun: float = field(default_factory=time.monotonic)
    begun_ns: int = field(default_factory=spans.now_ns)


@dataclass(frozen=True)
class Processor:
    """Runs the handlers of one service."""

    service: str
    handlers: Mapping[type[Payload], Handler]
    stage_of: Mapping[type[Payload], Stage]
    engine: Engine
    clock: Clock
    settings: Settings
    metrics: Metrics
    wake_relay: Callable[[], None]
    committed: Callable[[Sequence[Payload]], None] = lambda payloads: None
    """Told what a handler has emitted, once that is committed; must not raise."""

    def process(self, record: Record, cancelled: threading.Event) -> None:
        """Return when the record is done for good: effect committed, duplicate, or dead letter.

        Raises `Abandoned` when `cancelled` is set while it waits for a retry.
        """
        tries = self._tries(record)
        while (seconds := self._try(tries)) is not None:
            if cancelled.wait(seconds):
                raise Abandoned(f"{record.topic}/{record.partition}@{record.offset}")

    def process_once(self, record: Record, cancelled: threading.Event) -> None:
        """Like `process`, but raise `Later` in place of waiting, so that the thread is free."""
        self._go_on(self._tries(record))

    def _go_on(self, tries: "_Tries") -> None:
        seconds = self._try(tries)
        if seconds is not None:
            raise Later(seconds, lambda: self._go_on(tries), tries.after)

    def _tries(self, record: Record) -> "_Tries":
        floor, ceiling = self.settings.retry_floor_seconds, self.settings.retry_ceiling_seconds
        return _Tries(record, backoff(floor, ceiling, random.random))

    def _try(self, tries: "_Tries") -> float | None:
        """Try once more; after how many seconds to try again, None where the record is done."""
        tries.attempts += 1
        event: Event[Payload] | None = None
        try:
            event = decode(tries.record)
            self._handle(event, tries)
        except Exception as error:
            route = route_of(error)
            tries.unknown += route is Route.UNKNOWN
            is_given_up = tries.unknown >= self.settings.unknown_error_attempts
            if route is Route.PERMANENT or is_given_up:
                if self._buried(tries, event, error):
                    return None
                route = Route.TRANSIENT
            self.metrics.retries.labels(self.service, route.value).inc()
            self._log_retry(event, error, tries.attempts)
            if isinstance(error, OutOfTurn):  # ready as soon as that other one is done
                tries.after = error.after
                return self.settings.retry_floor_seconds
            tries.after = None
            return next(tries.waits)
        return None

    def _handle(self, event: Event[Payload], tries: "_Tries") -> None:
        handler = self.handlers.get(type(event.payload))
        if handler is None:
            raise UndecodableEvent(f"{self.service} has no handler for {event.payload.type}")
        stage = self.stage_of.get(type(event.payload))
        with log_context(event), spans.handling(self.service, event):
            reached(FailPoint.RECORD_RECEIVED)
            with self.engine.begin() as connection:
                if inbox.is_done(connection, self.service, event.id):
                    self._passed_over(event)
                    return
                started = self.clock()
                if stage is not None:
                    stages.start(connection, event, stage, started)
            reached(FailPoint.STAGE_STARTED)
            if not tries.is_started:  # in an outage there are hundreds of tries
                tries.is_started = True
                hop = max(0.0, (started - event.time).total_seconds())
                self.metrics.hop_seconds.labels(self.service, event.payload.type).observe(hop)
                logger.info("started %s", event.payload.type)
            unit = UnitOfWork(self.engine, self.service, event, self.clock, stage)
            begun = time.monotonic()
            try:
                handler(event, unit)
            except AlreadyDone:
                self._passed_over(event)
                return
            if not unit.is_committed:
                raise RuntimeError(f"the handler of {event.payload.type} opened no transaction")
            self.wake_relay()
            seconds = time.monotonic() - begun
            self.metrics.handler_seconds.labels(self.service, event.payload.type).observe(seconds)
            self.metrics.count(self.service, event.payload.type, Outcome.DONE)
            if stage is not None:
                waited = time.monotonic() - tries.begun
                self.metrics.stage_seconds.labels(stage.value).observe(waited)
            self.committed(unit.emitted)
            spans.handled(
                self.service,
                event,
                topic=tries.record.topic,
                begun_ns=tries.begun_ns,
                attempts=tries.attempts,
            )
            for payload in unit.emitted:
                said, figures = told(payload)
                logger.info("%s", said, extra=facts(**figures))
            done = facts(seconds=round(seconds, 3), attempts=tries.attempts)
            logger.info("finished %s in %.3f s", event.payload.type, seconds, extra=done)

    def _passed_over(self, event: Event[Payload]) -> None:
        self.metrics.count(self.service, event.payload.type, Outcome.DUPLICATE)
        logger.info("passed over %s: done before", event.payload.type)

    def _buried(self, tries: "_Tries", event: Event[Payload] | None, error: Exception) -> bool:
        """Whether the record is in the dead letters now, or its event was done by another delivery;
        False where the database is away.
        """
        record, attempts = tries.record, tries.attempts
        stage = self.stage_of.get(type(event.payload)) if event else None
        try:
            with self.engine.begin() as connection:
                if event is not None and inbox.is_done(connection, self.service, event.id):
                    # Done meanwhile, and what it used up was gone for this delivery.
                    with log_context(event):
                        self._passed_over(event)
                    return True
                dead_letters.bury(
                    connection,
                    service=self.service,
                    record=record,
                    event=event,
                    stage=stage,
                    error=error,
                    attempts=attempts,
                    clock=self.clock,
                )
                reached(FailPoint.DEAD_LETTER_BURYING, record.dataset)
        except Exception as burying:
            if route_of(burying) is not Route.TRANSIENT:
                raise
            return False
        reached(FailPoint.DEAD_LETTER_BURIED, record.dataset)
        self.wake_relay()
        self.metrics.count(self.service, event.payload.type if event else "", Outcome.DEAD)
        if event is not None:
            spans.handled(
                self.service,
                event,
                topic=record.topic,
                begun_ns=tries.begun_ns,
                attempts=attempts,
                error=error,
            )
        with log_context(event):
            logger.error(
                "gave up %s/%d@%d after %d tries: %s: %s",
                record.topic,
                record.partition,
                record.offset,
                attempts,
                type(error).__name__,
                error,
                exc_info=error if route_of(error) is Route.UNKNOWN else None,
                extra=facts(error_class=type(error).__name__, attempts=attempts),
            )
        return True

    def _log_retry(self, event: Event[Payload] | None, error: Exception, attempts: int) -> None:
        """Once a minute for each kind of trouble, however many events have it."""
        kind = type(error).__name__ + (f" {error.server}" if hasattr(error, "server") else "")
        level = logging.INFO if isinstance(error, OutOfTurn) else logging.WARNING
        with log_context(event):
            logger.log(
                level,
                f"try %d failed, trying again: {kind}: %s",
                attempts,
                error,
                extra={**REPEATS, **facts(error_class=type(error).__name__, attempts=attempts)},
            )
