"""The one transaction in which a handler's effects, its inbox mark and its events commit."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from shared.clock import Clock
from shared.contracts.envelope import Event
from shared.contracts.events import Payload, Stage
from shared.database import stages
from shared.fail_points import FailPoint, reached
from shared.messaging import inbox, outbox


class AlreadyDone(Exception):
    """The event was done by another delivery while this one was preparing."""


class Transaction:
    """An open transaction that holds the event's inbox mark."""

    def __init__(self, connection: Connection, unit: "UnitOfWork") -> None:
        self.connection = connection
        self._unit = unit
        self._emitted = 0

    def emit(self, payload: Payload) -> Event[Payload]:
        """Have `payload` published once this transaction has committed."""
        self._emitted += 1
        event = self._unit.event.caused(
            payload,
            source=self._unit.consumer,
            time=self._unit.clock(),
            number=self._emitted,
        )
        outbox.put(self.connection, event)
        self._unit.emitted.append(payload)
        return event


class UnitOfWork:
    """What a handler is given beside the event.

    What lies outside the database (objects, MLflow) a handler writes first, under names that
    follow from content or event id. Then it opens `transaction()`, exactly once, for all the rest.
    """

    def __init__(
        self,
        engine: Engine,
        consumer: str,
        event: Event[Payload],
        clock: Clock,
        stage: Stage | None = None,
    ) -> None:
        self.engine = engine
        self.consumer = consumer
        self.event = event
        self.clock = clock
        self.stage = stage
        self.is_committed = False
        self.emitted: list[Payload] = []
        """What was put into the outbox, in order."""

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commit at the end of the block, roll back at an exception.

        Raises `AlreadyDone` where the event's inbox mark is there already; let it pass.
        """
        with self.engine.begin() as connection:
            if not inbox.claim(connection, self.consumer, self.event.id):
                raise AlreadyDone(self.event.id)
            reached(FailPoint.INBOX_CLAIMED)
            yield Transaction(connection, self)
            if self.stage is not None:
                stages.finish(connection, self.event, self.stage, self.clock())
            reached(FailPoint.UNIT_COMMITTING)
        reached(FailPoint.UNIT_COMMITTED)
        self.is_committed = True
