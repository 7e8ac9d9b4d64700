"""Records that a service could not process: kept whole, announced, redriven or dropped."""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable

from sqlalchemy import Connection, Engine, RowMapping, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from shared.clock import Clock
from shared.contracts.envelope import ID_CHARACTERS, Event, RawHeaders, Record, plain_text
from shared.contracts.events import DeadLettered, Payload, Stage
from shared.database import stages
from shared.database.tables import dead_letters
from shared.errors import PermanentError
from shared.messaging import inbox, outbox

REASON_CHARACTERS = 4000
KEY_CHARACTERS = 200
_IDENTITY = ["service", "topic", "partition", "offset", "record_sha256"]


def bury(
    connection: Connection,
    *,
    service: str,
    record: Record,
    event: Event[Payload] | None,
    stage: Stage | None,
    error: BaseException,
    attempts: int,
    clock: Clock,
) -> bool:
    """Keep the record with the reason and announce it; False where that was done before.

    Of an event one dead letter is open at a time, however often it was published. `event` is None
    where the record could not be decoded.
    """
    reason = _storable(f"{error}", REASON_CHARACTERS) or type(error).__name__
    digest = _digest(record)
    told = {"error_class": type(error).__name__, "reason": reason, "attempts": attempts}
    statement = insert(dead_letters).values(
        service=service,
        event_id=event.id if event else _attribute(record, "ce_id"),
        event_type=event.payload.type if event else _attribute(record, "ce_type"),
        correlation_id=event.correlation_id if event else _attribute(record, "ce_correlationid"),
        dataset=event.payload.dataset if event else None,
        slice_key=event.payload.slice_key if event else None,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        headers=record.headers,
        raw_headers=_packed(record.raw_headers),
        value=record.value,
        record_sha256=digest,
        **told,
    )
    # The same record at the same place again is the same dead letter, unless it was redriven: after
    # a broker was wiped, offsets begin anew.
    again = statement.on_conflict_do_update(
        index_elements=_IDENTITY,
        set_={**told, "failed_at": func.clock_timestamp(), "redriven_at": None},
        where=dead_letters.c.redriven_at.is_not(None),
    ).returning(dead_letters.c.dead_letter_id)
    is_kept = event is not None and _is_open(connection, service, event.id, digest)
    number = None if is_kept else connection.execute(again).scalar()
    if event is not None and stage is not None:
        # Also where it was kept before: a record that comes again has begun its load anew.
        stages.fail(connection, event, stage, clock(), reason)
    else:
        _fail_load_of(connection, service, record)
    if number is None:
        return False
    payload = _announced(
        service,
        record,
        event,
        dead_letter_id=number,
        error_class=type(error).__name__,
        reason=reason,
        attempts=attempts,
    )
    if event is None:
        announcement: Event[Payload] = Event(payload=payload, source=service, time=clock())
    else:  # a redriven record that fails again is announced again
        announcement = event.caused(payload, source=service, time=clock(), number=record.offset)
    outbox.put(connection, announcement)
    return True


def _is_open(connection: Connection, service: str, event_id: str, digest: str) -> bool:
    """Whether this record of the event is a dead letter of the service, not redriven nor dropped.

    One that has the event's id but says something else is another one. Whoever else asks about the
    event waits until this transaction is over.
    """
    lock = "SELECT pg_advisory_xact_lock(hashtext('headrace dead letter'), hashtext(:event))"
    connection.execute(text(lock), {"event": f"{service} {event_id}"})
    found = select(dead_letters.c.dead_letter_id).where(
        dead_letters.c.service == service,
        dead_letters.c.event_id == event_id,
        dead_letters.c.record_sha256 == digest,
        dead_letters.c.redriven_at.is_(None),
        dead_letters.c.dropped_at.is_(None),
    )
    return connection.execute(found).first() is not None


def redrive(engine: Engine, dead_letter_id: int, publish: Callable[[Record], None]) -> None:
    """Publish the dead letter's record again, as it was, to the topic that it came from.

    It runs under its own event id: a dead letter has no inbox mark. Published before it is marked,
    so an interruption may publish it twice, which the inbox makes harmless.

    Raises `PermanentError` where there is no such dead letter, or it was dropped.
    """
    with engine.begin() as connection:
        redrive_within(connection, dead_letter_id, publish)


def redrive_within(
    connection: Connection, dead_letter_id: int, publish: Callable[[Record], None]
) -> RowMapping:
    """`redrive` as part of a transaction; the dead letter's row as it was before."""
    row = _held(connection, dead_letter_id)
    publish(_record(row))
    connection.execute(
        update(dead_letters)
        .where(dead_letters.c.dead_letter_id == dead_letter_id)
        .values(redriven_at=text("clock_timestamp()"))
    )
    return row


def drop(engine: Engine, dead_letter_id: int, *, by: str, reason: str) -> None:
    """Settle the dead letter without its work being done: its service passes the event over.

    The row stays, with who dropped it and why. Raises `PermanentError` where there is no such dead
    letter, or it was dropped or redriven before.
    """
    with engine.begin() as connection:
        drop_within(connection, dead_letter_id, by=by, reason=reason)


def drop_within(connection: Connection, dead_letter_id: int, *, by: str, reason: str) -> RowMapping:
    """`drop` as part of a transaction; the dead letter's row as it was before."""
    row = _held(connection, dead_letter_id)
    if row["redriven_at"] is not None:
        raise PermanentError(
            f"dead letter {dead_letter_id} was redriven at {row['redriven_at']}: if that "
            "failed it is a dead letter again"
        )
    if row["event_id"] is not None:
        inbox.claim(connection, row["service"], row["event_id"])
    _fail_load_of(connection, row["service"], _record(row))
    connection.execute(
        update(dead_letters)
        .where(dead_letters.c.dead_letter_id == dead_letter_id)
        .values(dropped_at=text("clock_timestamp()"), dropped_by=by, drop_reason=reason)
    )
    return row


def _held(connection: Connection, dead_letter_id: int) -> RowMapping:
    """The dead letter, locked. Raises `PermanentError` where there is none or it was dropped."""
    query = select(dead_letters).where(dead_letters.c.dead_letter_id == dead_letter_id)
    row = connection.execute(query.with_for_update()).mappings().first()
    if row is None:
        raise PermanentError(f"there is no dead letter {dead_letter_id}")
    if row["dropped_at"] is not None:
        raise PermanentError(
            f"dead letter {dead_letter_id} was dropped at {row['dropped_at']} by "
            f"{row['dropped_by']}: {row['drop_reason']}"
        )
    return row


def _record(row: RowMapping) -> Record:
    """The record that the dead letter keeps."""
    return Record(
        topic=row["topic"],
        partition=row["partition"],
        offset=row["offset"],
        key=row["key"],
        headers=row["headers"],
        value=row["value"],
        raw_headers=unpacked(row["raw_headers"]),
    )


def _fail_load_of(connection: Connection, service: str, record: Record) -> None:
    """Let the load that waits for what the record says wait no longer.

    The headers name it also where no event could be made of the record. It would hold up all later
    slices of its dataset; a redriven record takes it on from there.
    """
    load_id = _attribute(record, "ce_correlationid")
    if load_id is not None:
        stages.fail_waiting_load(connection, service, _dataset_by_key(record), load_id)


def _digest(record: Record) -> str:
    """Of all that the record holds, whatever its place."""
    headers = record.raw_headers or sorted(record.headers.items())
    content = record.key, headers, record.value
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _dataset_by_key(record: Record) -> str:
    return _storable(record.dataset, ID_CHARACTERS)


def _attribute(record: Record, name: str) -> str | None:
    """What a header says, at the length that an index takes; `headers` has the whole of it."""
    text = record.headers.get(name)
    return None if text is None else text[:ID_CHARACTERS]


def _storable(text: str, characters: int) -> str:
    """The beginning of `text`, in a form that Postgres can keep."""
    return plain_text(text[:characters].encode(errors="backslashreplace"))[:characters]


def _packed(headers: RawHeaders | None) -> list[list[str | None]] | None:
    """As JSON can hold them: names and values in base64."""
    if headers is None:
        return None
    return [
        [b64encode(name).decode(), None if text is None else b64encode(text).decode()]
        for name, text in headers
    ]


def unpacked(packed: list[list[str | None]] | None) -> RawHeaders | None:
    """The headers that the column `raw_headers` holds."""
    if packed is None:
        return None
    return tuple(
        (b64decode(name or ""), None if text is None else b64decode(text)) for name, text in packed
    )


def _announced(
    service: str,
    record: Record,
    event: Event[Payload] | None,
    *,
    dead_letter_id: int,
    error_class: str,
    reason: str,
    attempts: int,
) -> DeadLettered:
    return DeadLettered(
        dataset=event.payload.dataset if event else _dataset_by_key(record) or "unknown",
        slice_key=event.payload.slice_key if event else "unknown",
        service=service,
        event_id=event.id if event else _attribute(record, "ce_id"),
        event_type=event.payload.type if event else _attribute(record, "ce_type"),
        correlation_id=event.correlation_id if event else None,
        original_topic=record.topic,
        original_partition=record.partition,
        original_offset=record.offset,
        original_key=_key(record),
        error_class=error_class,
        reason=reason,
        attempts=attempts,
        dead_letter_id=dead_letter_id,
    )


def _key(record: Record) -> str | None:
    if record.key is None:
        return None
    return plain_text(record.key[:KEY_CHARACTERS])[:KEY_CHARACTERS]
