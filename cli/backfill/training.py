"""The training at the end of a backfill: of which snapshot it is, and its event."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, Row, select, text, update

from cli.load import SOURCE, publish_event
from cli.session import Session
from shared.clock import utc_now
from shared.contracts.envelope import Event, Record, decode
from shared.contracts.events import Snapshotted
from shared.contracts.topics import Topic
from shared.database.tables import loads, outbox
from shared.errors import InconsistentState

_TRAINING = UUID("8f1f7c43-0d3f-4c57-8e53-4c0a3a1b5d20")
# A snapshot of a later date doesn't say what an earlier one does where it was frozen before: then
# what came since is not in it. So of the two moments both must be as late.
_NEWEST_UNTRAINED = """
    SELECT s.snapshot_id, s.slice_key, s.load_id
    FROM headrace.snapshots AS s
    JOIN headrace.loads AS l USING (load_id)
    WHERE s.dataset = :dataset AND s.slice_key = ANY (:slices) AND s.pruned_at IS NULL
        AND l.status = 'published' AND l.withdrawn_at IS NULL AND NOT l.trains
        AND NOT EXISTS (
            SELECT FROM headrace.snapshots AS later
            JOIN headrace.loads AS by ON by.load_id = later.load_id
            WHERE later.dataset = s.dataset AND later.as_of >= s.as_of
                AND later.known_at >= s.known_at AND by.trains
        )
    ORDER BY s.as_of DESC, s.known_at DESC
    LIMIT 1
"""


def newest_untrained(
    connection: Connection, dataset: str, slice_keys: Sequence[str]
) -> Row[Any] | None:
    """Of the snapshots of these slices the newest that says what no trained one does.

    None where there is none: all that the slices brought was trained on, here or by a later load.
    """
    parameters = {"dataset": dataset, "slices": list(slice_keys)}
    return connection.execute(text(_NEWEST_UNTRAINED), parameters).one_or_none()


def ask_for_training(current: Session, snapshot: Row[Any]) -> Event[Snapshotted]:
    """Publish the snapshot's event again, as one that trains; the event of before.

    Its id follows from that one's, so asking twice is asking once.
    """
    with current.engine.connect() as connection:
        row = connection.execute(
            select(outbox).where(
                outbox.c.topic == Topic.SNAPSHOTTED.value,
                outbox.c.headers["ce_correlationid"].astext == snapshot.load_id,
                outbox.c.source == "snapshotter",
            )
        ).first()
    if row is None:
        raise InconsistentState(f"the event of snapshot {snapshot.snapshot_id} is not there")
    old = decode(Record(row.topic, 0, 0, row.key.encode(), row.headers, bytes(row.value)))
    if not isinstance(old.payload, Snapshotted):
        raise InconsistentState(f"event {old.id} is no snapshotted")
    event = Event(
        payload=old.payload.model_copy(update={"trains": True}),
        source=SOURCE,
        time=utc_now(),
        id=str(uuid5(_TRAINING, old.id)),
        correlation_id=old.correlation_id,
        causation_id=old.id,
    )
    publish_event(current, event)
    with current.engine.begin() as connection:
        connection.execute(
            update(loads).where(loads.c.load_id == snapshot.load_id).values(trains=True)
        )
    return event
