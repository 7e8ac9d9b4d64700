"""The inbox: which event each consumer has done."""

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from shared.database.tables import inbox


def is_done(connection: Connection, consumer: str, event_id: str) -> bool:
    """Whether `consumer` has done the event."""
    query = select(inbox.c.event_id).where(
        inbox.c.consumer == consumer, inbox.c.event_id == event_id
    )
    return connection.execute(query).first() is not None


def claim(connection: Connection, consumer: str, event_id: str) -> bool:
    """Mark the event as done in this transaction; False where it was done before.

    Waits for another transaction that is claiming the same event, so of two deliveries at once
    only one can have effects.
    """
    statement = (
        insert(inbox)
        .values(consumer=consumer, event_id=event_id)
        .on_conflict_do_nothing()
        .returning(inbox.c.event_id)
    )
    return connection.execute(statement).first() is not None
