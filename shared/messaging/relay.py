"""The relay: publishes the outbox, in the order of its rows.

At least once: a crash between the broker's word and our mark publishes an event again, under the
same id, and the readers' inboxes make that harmless. Rows become visible in commit order, not in
the order of their ids, so the relay asks for what is unpublished and never for ids after the last.
"""

import logging
import threading
from collections.abc import Callable

from sqlalchemy import Engine, select, text, update
from sqlalchemy.exc import InterfaceError, OperationalError

from shared.database.tables import outbox
from shared.errors import HeadraceError, TransientError
from shared.messaging.kafka import Producer
from shared.observability.logs import REPEATS
from shared.observability.metrics import Metrics

logger = logging.getLogger(__name__)

BATCH = 100


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
    ) -> None:
        self._engine = engine
        self._source = source
        self._connect = connect
        self._metrics = metrics
        self._interval_seconds = interval_seconds
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
            except (TransientError, OperationalError, InterfaceError) as error:
                logger.warning("the outbox waits: %s", error, extra=REPEATS)
            except HeadraceError:
                logger.exception(
                    "an event can't be published, it stays in the outbox", extra=REPEATS
                )
            self._work.wait(self._interval_seconds)
            self._work.clear()
        if self._producer is not None:
            self._producer.close()

    def publish_batch(self) -> int:
        """Publish up to `BATCH` events; how many. 0 also where another replica is at it."""
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
            if self._producer is None:
                self._producer = self._connect()
            sent = [
                self._producer.send(row.topic, row.key.encode(), row.headers, row.value)
                for row in rows
            ]
            for future in sent:
                self._producer.wait(future)
            connection.execute(
                update(outbox)
                .where(outbox.c.outbox_id.in_([row.outbox_id for row in rows]))
                .values(published_at=text("clock_timestamp()"))
            )
        self._metrics.published.labels(self._source).inc(len(rows))
        return len(rows)
