"""Records that a service could not process: kept whole, announced, and redriven on request."""

from collections.abc import Callable

from sqlalchemy import Connection, Engine, select, text, update
from sqlalchemy.dialects.postgresql import insert

from shared.clock import Clock
from shared.contracts.envelope import Event, Record
from shared.contracts.events import DeadLettered, Payload, Stage
from shared.database import stages
from shared.database.tables import dead_letters
from shared.errors import PermanentError
from shared.messaging import outbox

REASON_CHARACTERS = 4000


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

    `event` is None where the record could not be decoded.
    """
    reason = f"{error}"[:REASON_CHARACTERS] or type(error).__name__
    statement = (
        insert(dead_letters)
        .values(
            service=service,
            event_id=event.id if event else record.headers.get("ce_id"),
            event_type=event.payload.type if event else record.headers.get("ce_type"),
            correlation_id=(
                event.correlation_id if event else record.headers.get("ce_correlationid")
            ),
            dataset=event.payload.dataset if event else None,
            slice_key=event.payload.slice_key if event else None,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=record.key,
            headers=record.headers,
            value=record.value,
            error_class=type(error).__name__,
            reason=reason,
            attempts=attempts,
        )
        .on_conflict_do_nothing()
        .returning(dead_letters.c.dead_letter_id)
    )
    if connection.execute(statement).first() is None:
        return False
    now = clock()
    if event is not None and stage is not None:
        stages.fail(connection, event, stage, now, reason)
    outbox.put(connection, _announcement(service, record, event, error, reason, attempts, clock))
    return True


def redrive(engine: Engine, dead_letter_id: int, publish: Callable[[Record], None]) -> None:
    """Publish the dead letter's record again, as it was, to the topic that it came from.

    It runs under its own event id: a dead letter has no inbox mark. Published before it is marked,
    so an interruption may publish it twice, which the inbox makes harmless.

    Raises `PermanentError` where there is no such dead letter.
    """
    query = select(dead_letters).where(dead_letters.c.dead_letter_id == dead_letter_id)
    with engine.begin() as connection:
        row = connection.execute(query).mappings().first()
        if row is None:
            raise PermanentError(f"there is no dead letter {dead_letter_id}")
        publish(
            Record(
                topic=row["topic"],
                partition=row["partition"],
                offset=row["offset"],
                key=row["key"],
                headers=row["headers"],
                value=row["value"],
            )
        )
        connection.execute(
            update(dead_letters)
            .where(dead_letters.c.dead_letter_id == dead_letter_id)
            .values(redriven_at=text("clock_timestamp()"))
        )


def _announcement(
    service: str,
    record: Record,
    event: Event[Payload] | None,
    error: BaseException,
    reason: str,
    attempts: int,
    clock: Clock,
) -> Event[Payload]:
    key = (record.key or b"").decode(errors="replace")
    payload = DeadLettered(
        dataset=event.payload.dataset if event else key or "unknown",
        slice_key=event.payload.slice_key if event else "unknown",
        service=service,
        event_id=event.id if event else record.headers.get("ce_id"),
        event_type=event.payload.type if event else record.headers.get("ce_type"),
        correlation_id=event.correlation_id if event else None,
        original_topic=record.topic,
        original_partition=record.partition,
        original_offset=record.offset,
        error_class=type(error).__name__,
        reason=reason,
        attempts=attempts,
    )
    if event is None:
        return Event(payload=payload, source=service, time=clock())
    number = record.offset  # a redriven record that fails again is announced again
    return event.caused(payload, source=service, time=clock(), number=number)
