"""What was under way when the broker lost its state: worked out from Postgres alone.

An event is under way where it was published, and its topic's consumer neither has done it (an inbox
mark) nor has given it up (a dead letter that nobody redrove). Such an event is published again as
it was, under its own id: where it comes a second time all the same, its inbox mark passes it over.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from shared.contracts.envelope import Event, Headers, RawHeaders
from shared.contracts.events import LoadRequested
from shared.contracts.topics import CONSUMERS
from shared.database.statuses import LoadStatus
from shared.messaging.dead_letters import unpacked

SOURCE = "recover"


class Origin(StrEnum):
    """Where the database has an event that was under way."""

    OUTBOX = "outbox"
    """As the service put it there."""
    LOAD = "load"
    """As the load that the ingestor had begun: the request came from a program of somebody's."""
    DEAD_LETTER = "dead letter"
    """As the dead letter that was redriven."""


@dataclass(frozen=True)
class LostEvent:
    """An event to be published again, and who has to do it."""

    event_id: str
    type: str
    subject: str
    topic: str
    consumer: str
    origin: Origin
    key: bytes | None
    headers: Headers
    value: bytes | None
    raw_headers: RawHeaders | None = None


@dataclass(frozen=True)
class UnderWay:
    """All that was under way."""

    lost: tuple[LostEvent, ...]
    """In the order in which they are to be published: that in which they once were."""
    waiting: int
    """Events in the outbox that were not published yet: the relays do it by themselves."""


@contextmanager
def relays_held(engine: Engine) -> Iterator[Connection]:
    """Keep every service's relay from publishing for the time of the block.

    So what was lost comes before what was caused since. Gives the connection that holds them.
    """
    with engine.begin() as connection:
        connection.execute(text(_HOLD))
        yield connection


def under_way(connection: Connection) -> UnderWay:
    """What was published and isn't done."""
    parameters: dict[str, Any] = {
        "topics": [topic.value for topic, names in CONSUMERS.items() for _ in names],
        "consumers": [name for names in CONSUMERS.values() for name in names],
    }
    waiting = "SELECT count(*) FROM headrace.outbox WHERE published_at IS NULL"
    return UnderWay(
        lost=(
            *map(_of_load, connection.execute(text(_LOADS), {"status": LoadStatus.LOADING.value})),
            *_each_once(connection.execute(text(_OUTBOX), parameters).all(), Origin.OUTBOX),
            *_each_once(connection.execute(text(_REDRIVEN)).all(), Origin.DEAD_LETTER),
        ),
        waiting=connection.execute(text(waiting)).scalar_one(),
    )


def _each_once(rows: Sequence[Row[Any]], origin: Origin) -> Iterator[LostEvent]:
    """The events; one that several consumers have to do is published once."""
    consumers: dict[str, list[str]] = {}
    for row in rows:
        consumers.setdefault(row.event_id, []).append(row.consumer)
    told: set[str] = set()
    for row in rows:
        if row.event_id in told:
            continue
        told.add(row.event_id)
        yield LostEvent(
            event_id=row.event_id,
            type=row.headers.get("ce_type", ""),
            subject=row.headers.get("ce_subject", ""),
            topic=row.topic,
            consumer=", ".join(consumers[row.event_id]),
            origin=origin,
            key=_bytes(row.key),
            headers=row.headers,
            value=_bytes(row.value),
            raw_headers=unpacked(row.raw_headers),
        )


def _of_load(row: Row[Any]) -> LostEvent:
    """The request of a load that was begun, as far as the load tells: all that it is made from."""
    payload = LoadRequested(
        dataset=row.dataset,
        slice_key=row.slice_key,
        source_uri=row.source_uri,
        as_of=row.as_of,
        requested_by=row.requested_by,
        trains=row.trains,
    )
    event = Event(payload=payload, source=SOURCE, time=row.requested_at, id=row.load_id)
    return LostEvent(
        event_id=event.id,
        type=payload.type,
        subject=event.subject,
        topic=payload.topic.value,
        consumer=", ".join(CONSUMERS[payload.topic]),
        origin=Origin.LOAD,
        key=event.key.encode(),
        headers=event.headers(),
        value=event.value(),
    )


def _bytes(value: str | bytes | memoryview | None) -> bytes | None:
    if value is None:
        return None
    return value.encode() if isinstance(value, str) else bytes(value)


# The lock that shared.messaging.relay tries for; here it is waited for.
_HOLD = """
    SELECT pg_advisory_xact_lock(hashtext('headrace relay'), hashtext(source))
    FROM (SELECT DISTINCT source FROM headrace.outbox ORDER BY source) AS sources
"""
# A stage's record of what it has done is looked at too: it outlives the inbox mark.
_OUTBOX = """
    SELECT o.event_id, o.topic, o.key, o.headers, NULL AS raw_headers, o.value, c.consumer
    FROM headrace.outbox AS o
    JOIN unnest(CAST(:topics AS text[]), CAST(:consumers AS text[])) AS c (topic, consumer)
        ON c.topic = o.topic
    WHERE o.published_at IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM headrace.inbox AS i
            WHERE i.consumer = c.consumer AND i.event_id = o.event_id
        )
        AND NOT EXISTS (
            SELECT FROM headrace.dead_letters AS d
            WHERE d.service = c.consumer AND d.event_id = o.event_id AND d.redriven_at IS NULL
        )
        AND NOT EXISTS (
            SELECT FROM headrace.stage_runs AS r
            WHERE r.event_id = o.event_id AND r.state = 'done'
        )
    ORDER BY o.outbox_id
"""
_LOADS = """
    SELECT l.load_id, l.dataset, l.slice_key, l.source_uri, l.as_of, l.requested_by, l.requested_at,
           l.trains
    FROM headrace.loads AS l
    WHERE l.status = :status AND l.kind = 'load'
        AND NOT EXISTS (SELECT FROM headrace.outbox AS o WHERE o.event_id = l.load_id)
        AND NOT EXISTS (SELECT FROM headrace.inbox AS i WHERE i.event_id = l.load_id)
        AND NOT EXISTS (SELECT FROM headrace.dead_letters AS d WHERE d.event_id = l.load_id)
    ORDER BY l.started_at
"""
_REDRIVEN = """
    SELECT d.event_id, d.topic, d.key, d.headers, d.raw_headers, d.value, d.service AS consumer
    FROM headrace.dead_letters AS d
    WHERE d.redriven_at IS NOT NULL AND d.event_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM headrace.outbox AS o WHERE o.event_id = d.event_id)
        AND NOT EXISTS (
            SELECT FROM headrace.inbox AS i
            WHERE i.consumer = d.service AND i.event_id = d.event_id
        )
        AND NOT EXISTS (
            SELECT FROM headrace.dead_letters AS other
            WHERE other.service = d.service AND other.event_id = d.event_id
                AND other.redriven_at IS NULL
        )
    ORDER BY d.redriven_at, d.dead_letter_id
"""
