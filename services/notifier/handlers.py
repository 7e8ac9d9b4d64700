"""The notifier's front door: what happened becomes a message to every target, to be sent.

A handler writes rows and talks to no target, so no target can hold it up.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from services.notifier.messages import (
    Message,
    Occasion,
    Scores,
    dead_letter,
    drifting,
    publication,
    rejection,
)
from shared.contracts.envelope import Event
from shared.contracts.events import (
    DeadLettered,
    DriftDetected,
    ModelPublished,
    Payload,
    SliceRejected,
)
from shared.contracts.topics import Topic
from shared.database.statuses import NotificationState
from shared.database.tables import dead_letters, loads, notifications, promotions
from shared.messaging.unit_of_work import UnitOfWork
from shared.settings import Settings

logger = logging.getLogger(__name__)

SERVICE = "notifier"

Compose = Callable[[Connection], Message]


class Notifier:
    """The handlers. `targets` are the names of those to tell; `wake` is called after a commit."""

    def __init__(
        self, settings: Settings, targets: Sequence[str], wake: Callable[[], None]
    ) -> None:
        self._targets = tuple(targets)
        self._wake = wake
        self._occasions = frozenset(map(Occasion, settings.notify_on.split()))
        self._max_age = timedelta(hours=settings.notify_max_age_hours)
        self._dead_letters_topic = settings.topic(Topic.DEAD_LETTERS)

    def on_slice_rejected(self, event: Event[SliceRejected], unit: UnitOfWork) -> None:
        """Tell that a slice was refused, why, and what to do."""
        self._tell(event, unit, lambda connection: _rejection(connection, event.payload))

    def on_model_published(self, event: Event[ModelPublished], unit: UnitOfWork) -> None:
        """Tell which model version there is, and whether it is the champion."""
        self._tell(event, unit, lambda connection: _publication(connection, event))

    def on_drift_detected(self, event: Event[DriftDetected], unit: UnitOfWork) -> None:
        """Tell what is far from what the champion was trained on."""
        self._tell(event, unit, lambda connection: drifting(event.payload))

    def on_dead_lettered(self, event: Event[DeadLettered], unit: UnitOfWork) -> None:
        """Tell that a service gave up an event.

        Of the notifier's own dead letters those are not told that it made of dead letters: telling
        might fail as before, and so without end.
        """
        dead = event.payload
        if dead.service == SERVICE and dead.original_topic == self._dead_letters_topic:
            with unit.transaction():
                logger.error("not told: the notifier itself gave up a dead letter: %s", dead.reason)
            return
        self._tell(event, unit, lambda connection: _dead_letter(connection, dead))

    def _tell(self, event: Event[Payload], unit: UnitOfWork, compose: Compose) -> None:
        now = unit.clock()
        with unit.transaction() as tx:
            if not self._targets:
                return
            if now - event.time > self._max_age:
                logger.info("not told: %s is of %s", event.payload.type, event.time.isoformat())
                return
            message = compose(tx.connection)
            if message.occasion not in self._occasions:
                return
            rows = [
                {
                    "event_id": event.id,
                    "target": target,
                    "event_type": event.payload.type,
                    "dataset": event.payload.dataset,
                    "slice_key": event.payload.slice_key,
                    "title": message.title,
                    "body": message.body,
                    "kind": message.kind.value,
                    "state": NotificationState.PENDING.value,
                    "attempts": 0,
                    "created_at": now,
                    "next_try_at": now,
                }
                for target in self._targets
            ]
            tx.connection.execute(insert(notifications).on_conflict_do_nothing(), rows)
        self._wake()


def _rejection(connection: Connection, rejected: SliceRejected) -> Message:
    query = select(loads.c.source_uri).where(loads.c.load_id == rejected.load_id)
    return rejection(rejected, connection.execute(query).scalar())


def _publication(connection: Connection, event: Event[ModelPublished]) -> Message:
    """A decision is recorded under the event that caused it, a person's under its own."""
    query = select(
        promotions.c.metric,
        promotions.c.score,
        promotions.c.champion_version,
        promotions.c.champion_score,
    ).where(
        promotions.c.event_id.in_((event.id, event.causation_id)),
        promotions.c.model_version == event.payload.model_version,
    )
    row = connection.execute(query).first()
    return publication(event.payload, Scores(*row) if row else None)


def _dead_letter(connection: Connection, dead: DeadLettered) -> Message:
    query = select(dead_letters.c.dead_letter_id).where(
        dead_letters.c.service == dead.service,
        dead_letters.c.topic == dead.original_topic,
        dead_letters.c.partition == dead.original_partition,
        dead_letters.c.offset == dead.original_offset,
        dead_letters.c.event_id.is_not_distinct_from(dead.event_id),
    )
    query = query.order_by(dead_letters.c.failed_at.desc()).limit(1)
    return dead_letter(dead, connection.execute(query).scalar())
