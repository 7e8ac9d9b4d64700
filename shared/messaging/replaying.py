"""A replay: an old event again, on purpose, under a new id, to redo only what follows it."""

from datetime import datetime

from sqlalchemy import Connection, select

from shared.contracts.envelope import Event, Record, decode
from shared.contracts.events import DatasetReady, Payload, Snapshotted
from shared.database.tables import outbox
from shared.errors import PermanentError

REPLAYABLE = (Snapshotted.type, DatasetReady.type)
"""What may be replayed; what comes before it is done again by loading the slice again."""


def replay_of(
    connection: Connection, event_id: str, *, source: str, time: datetime
) -> Event[Payload]:
    """A new event, to be published by `source`, that says what the old one said.

    Raises `PermanentError` where there is no such event, or none that can be replayed.
    """
    row = connection.execute(select(outbox).where(outbox.c.event_id == event_id)).first()
    if row is None or row.headers["ce_type"] not in REPLAYABLE:
        raise PermanentError(
            f"{event_id!r} is no snapshotted or dataset-ready event, or its snapshot was "
            "pruned: see `headrace events` and `headrace snapshots`"
        )
    old = decode(Record(row.topic, 0, 0, row.key.encode(), row.headers, bytes(row.value)))
    payload = old.payload
    if isinstance(payload, Snapshotted):  # of a backfill it may say to train nothing
        payload = payload.model_copy(update={"trains": True})
    return Event(
        payload=payload,
        source=source,
        time=time,
        correlation_id=old.correlation_id,
        causation_id=old.id,
    )
