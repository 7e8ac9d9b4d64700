"""From a record to a committed effect, or to the dead letters. Knows no Kafka and no domain."""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from shared.clock import Clock
from shared.contracts.envelope import Event, Record, decode
from shared.contracts.events import Payload, Stage
from shared.database import stages
from shared.errors import UndecodableEvent
from shared.messaging import dead_letters, inbox
from shared.messaging.retry import Route, backoff, route_of
from shared.messaging.unit_of_work import AlreadyDone, UnitOfWork
from shared.observability.logs import log_context
from shared.observability.metrics import Metrics, Outcome
from shared.settings import Settings

logger = logging.getLogger(__name__)

Handler = Callable[[Any, UnitOfWork], None]
"""Does the work of one event. Writes outside the database first, then opens the unit's transaction
exactly once. May be called again for the same event after a failure or a crash."""

LOG_INTERVAL_SECONDS = 60.0


class Abandoned(Exception):
    """The work was given up because the process stops or the partition went to another member."""


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

    def process(self, record: Record, cancelled: threading.Event) -> None:
        """Return when the record is done for good: effect committed, duplicate, or dead letter.

        Raises `Abandoned` when `cancelled` is set while it waits for a retry.
        """
        waits = backoff(
            self.settings.retry_floor_seconds, self.settings.retry_ceiling_seconds, random.random
        )
        attempts, unknown, logged_at = 0, 0, float("-inf")
        while True:
            attempts += 1
            event: Event[Payload] | None = None
            try:
                event = decode(record)
                self._handle(event)
            except Exception as error:
                route = route_of(error)
                unknown += route is Route.UNKNOWN
                if route is Route.PERMANENT or unknown >= self.settings.unknown_error_attempts:
                    if self._buried(record, event, error, attempts):
                        return
                    route = Route.TRANSIENT
                self.metrics.retries.labels(self.service, route.value).inc()
                if time.monotonic() - logged_at >= LOG_INTERVAL_SECONDS:
                    logged_at = time.monotonic()
                    self._log_retry(event, error, attempts)
            else:
                return
            if cancelled.wait(next(waits)):
                raise Abandoned(f"{record.topic}/{record.partition}@{record.offset}")

    def _handle(self, event: Event[Payload]) -> None:
        handler = self.handlers.get(type(event.payload))
        if handler is None:
            raise UndecodableEvent(f"{self.service} has no handler for {event.payload.type}")
        stage = self.stage_of.get(type(event.payload))
        with log_context(event):
            with self.engine.begin() as connection:
                if inbox.is_done(connection, self.service, event.id):
                    self._passed_over(event)
                    return
                started = self.clock()
                if stage is not None:
                    stages.start(connection, event, stage, started)
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
            logger.info("finished %s in %.3f s", event.payload.type, seconds)

    def _passed_over(self, event: Event[Payload]) -> None:
        self.metrics.count(self.service, event.payload.type, Outcome.DUPLICATE)
        logger.info("passed over %s: done before", event.payload.type)

    def _buried(
        self, record: Record, event: Event[Payload] | None, error: Exception, attempts: int
    ) -> bool:
        """Whether the record is in the dead letters now; False where the database is away."""
        stage = self.stage_of.get(type(event.payload)) if event else None
        try:
            with self.engine.begin() as connection:
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
        except Exception as burying:
            if route_of(burying) is not Route.TRANSIENT:
                raise
            return False
        self.wake_relay()
        self.metrics.count(self.service, event.payload.type if event else "", Outcome.DEAD)
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
            )
        return True

    def _log_retry(self, event: Event[Payload] | None, error: Exception, attempts: int) -> None:
        with log_context(event):
            logger.warning(
                "try %d failed, trying again: %s: %s", attempts, type(error).__name__, error
            )
