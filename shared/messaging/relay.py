"""The relay: publishes the outbox, in the order of its rows.

At least once: a crash between the broker's word and our mark publishes an event again, under the
same id, and the readers' inboxes make that harmless. Rows become visible in commit order, not in
the order of their ids, so the relay asks for what is unpublished and never for ids after the last.

An event that the broker refuses for its size becomes a dead letter, and those behind it go on.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row, select, text, update

from shared.clock import Clock, utc_now
from shared.contracts.envelope import Event, Record, decode
from shared.contracts.events import DeadLettered, Payload
from shared.database import stages
from shared.database.tables import outbox
from shared.errors import RecordTooLarge
from shared.fail_points import FailPoint, reached
from shared.messaging import dead_letters
from shared.messaging.kafka import Producer
from shared.messaging.retry import Route, route_of
from shared.observability import spans
from shared.observability.logs import REPEATS, log_context
from shared.observability.metrics import Metrics, Outcome

logger = logging.getLogger(__name__)

BATCH = 100
NO_PARTITION = -1
"""Of a dead letter that never came to one; its offset is the outbox row's id."""


class Relay:
    """Publishes what one service put into the outbox. Of its replicas one at a time is at it."""

    def __init__(
        self,
        engine: Engine,
        source: str,
        connect: Callable[[], Producer],
        metrics: Metrics,
        *,
        interval_seconds: float,
        clock: Clock = utc_now,
    ) -> None:
        self._engine = engine
        self._source = source
        self._connect = connect
        self._metrics = metrics
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._producer: Producer | None = None
        self._work = threading.Event()
        self._stop = threading.Event()

    def wake(self) -> None:
        """Something was committed; publish it without waiting for the interval."""
        self._work.set()

    def stop(self) -> None:
        """End `run` after the batch in hand."""
        self._stop.set()
        self._work.set()

    def run(self) -> None:
        """Publish until stopped. Errors that may pass are waited out."""
        while not self._stop.is_set():
            try:
                while self.publish_batch():
                    pass
            except Exception as error:  # this thread must not end: nobody else would publish
                if route_of(error) is Route.TRANSIENT:
                    logger.warning("the outbox waits: %s", error, extra=REPEATS)
                else:
                    logger.exception(
                        "an event can't be published, it stays in the outbox", extra=REPEATS
                    )
            self._work.wait(self._interval_seconds)
            self._work.clear()
        self._disconnect()

    def publish_batch(self) -> int:
        """Settle up to `BATCH` events; how many. 0 also where another replica is at it."""
        with self._engine.begin() as connection:
            lock = text(
                "SELECT pg_try_advisory_xact_lock(hashtext('headrace relay'), hashtext(:s))"
            )
            if not connection.execute(lock, {"s": self._source}).scalar():
                return 0
            rows = connection.execute(
                select(outbox)
                .where(outbox.c.source == self._source, outbox.c.published_at.is_(None))
                .order_by(outbox.c.outbox_id)
                .limit(BATCH)
            ).all()
            if not rows:
                return 0
            begun_ns = spans.now_ns()
            refused = self._send(rows)
            for row, error in refused:
                self._bury(connection, row, error)
            connection.execute(
                update(outbox)
                .where(outbox.c.outbox_id.in_([row.outbox_id for row in rows]))
                .values(published_at=text("clock_timestamp()"))
            )
            datasets = [row.key for row in rows]
            reached(FailPoint.RELAY_MARKED, *datasets)
        reached(FailPoint.RELAY_COMMITTED, *datasets)
        self._metrics.published.labels(self._source).inc(len(rows) - len(refused))
        not_sent = {row.outbox_id for row, _ in refused}
        for row in rows:
            if row.outbox_id not in not_sent:
                spans.published(row.headers, row.topic, begun_ns)
        return len(rows)

    def _send(self, rows: Sequence[Row[Any]]) -> list[tuple[Row[Any], RecordTooLarge]]:
        """Have the broker's word on each event; those that are too large for it, with why."""
        try:
            unsettled = self._send_together(rows)
            if not unsettled:
                return []
            # The broker's refusal of one ends an idempotent producer, and with it what was on its
            # way beside it. Alone each gets its own answer.
            refused = []
            for row in unsettled:
                try:
                    producer = self._connected()
                    producer.wait(self._begin(producer, row))
                except RecordTooLarge as error:
                    refused.append((row, error))
                    self._disconnect()
        except Exception:
            self._disconnect()  # kafka-python's producer keeps some errors, as a login's, for good
            raise
        return refused

    def _send_together(self, rows: Sequence[Row[Any]]) -> list[Row[Any]]:
        """Publish what can be; what is to be sent alone is returned, in order."""
        producer = self._connected()
        sent, unsettled = [], []
        for row in rows:
            try:
                reached(FailPoint.RELAY_SENDING, row.key)
                sent.append((row, self._begin(producer, row)))
                reached(FailPoint.RELAY_HANDED_OVER, row.key)
            except RecordTooLarge:
                unsettled.append(row)
        for row, sending in sent:
            try:
                producer.wait(sending)
                reached(FailPoint.RELAY_SENT, row.key)
            except RecordTooLarge:
                unsettled.append(row)
        if unsettled:
            self._disconnect()
        return sorted(unsettled, key=lambda row: row.outbox_id)

    def _connected(self) -> Producer:
        if self._producer is None:
            self._producer = self._connect()
        return self._producer

    def _begin(self, producer: Producer, row: Row[Any]) -> Any:
        return producer.send(row.topic, row.key.encode(), row.headers, row.value)

    def _bury(self, connection: Connection, row: Row[Any], error: RecordTooLarge) -> None:
        record = Record(
            row.topic, NO_PARTITION, row.outbox_id, row.key.encode(), row.headers, bytes(row.value)
        )
        event: Event[Payload] = decode(record)
        if not isinstance(event.payload, DeadLettered):  # or it might not end
            dead_letters.bury(
                connection,
                service=self._source,
                record=record,
                event=event,
                stage=None,
                error=error,
                attempts=1,
                clock=self._clock,
            )
        stages.fail_load(connection, event, self._clock())
        self._metrics.count(self._source, event.payload.type, Outcome.DEAD)
        with log_context(event):
            logger.error("gave up event %s for %s: %s", row.event_id, row.topic, error)

    def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close()
