"""The outbox: events that are published because their cause was committed, and only then."""

from sqlalchemy import Connection, func
from sqlalchemy.dialects.postgresql import insert

from shared.contracts.envelope import Event
from shared.contracts.events import Payload
from shared.database.tables import outbox


def put(connection: Connection, event: Event[Payload], *, is_published: bool = False) -> bool:
    """Have `event` published after this transaction commits; False where it was put before.

    The relay of `event.source` sends it, unless it `is_published` already: then it is only kept,
    for the day when the broker has lost it.
    """
    statement = (
        insert(outbox)
        .values(
            source=event.source,
            event_id=event.id,
            topic=event.payload.topic.value,
            key=event.key,
            headers=event.headers(),
            value=event.value(),
            published_at=func.clock_timestamp() if is_published else None,
        )
        .on_conflict_do_nothing(index_elements=[outbox.c.event_id])
        .returning(outbox.c.outbox_id)
    )
    return connection.execute(statement).first() is not None
