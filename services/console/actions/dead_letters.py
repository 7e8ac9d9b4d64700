"""Redrive a dead letter, or drop it."""

from typing import Any

from sqlalchemy import Connection, RowMapping, select

from services.console.actions.action import Action, Done, Field, Proposal, Values
from services.console.forms import BadForm, needed, number
from services.console.session import Actor
from services.console.site import Site
from shared.contracts.envelope import Record
from shared.database.tables import dead_letters
from shared.errors import InconsistentState
from shared.messaging.dead_letters import drop_within, redrive_within
from shared.messaging.kafka import Producer

ID = "dead_letter_id"


def dead_letter_url(dead_letter_id: int) -> str:
    """The address of a dead letter's page."""
    return f"/trouble/dead/{dead_letter_id}"


def _propose_redrive(site: Site, connection: Connection, values: Values) -> Proposal:
    row = _open(connection, values, is_redriven_good=True)
    return Proposal(
        title=f"Redrive dead letter {row[ID]}?",
        verb="Redrive it",
        says=(
            f"The record goes to its topic again as it was, under its own event id, and the "
            f"{row['service']} tries once more.",
            "That helps where the cause was mended: a spec, a folder, a server, a version of the "
            "code. Else it comes back as a dead letter.",
        ),
        values={ID: str(row[ID])},
        facts=_facts(row),
        back=dead_letter_url(row[ID]),
    )


def _redrive(site: Site, connection: Connection, actor: Actor, values: Values) -> Done:
    dead_letter_id = number(values, ID)
    producer = Producer(site.settings)

    def publish(record: Record) -> None:
        producer.publish(record.topic, record.key, record.headers, record.value, record.raw_headers)

    try:
        row = redrive_within(connection, dead_letter_id, publish)
    finally:
        producer.close()
    return Done(
        subject=f"dead letter {dead_letter_id}",
        message=f"Dead letter {dead_letter_id} is on its topic again.",
        dataset=row["dataset"],
        event_id=row["event_id"],
        detail=_detail(row),
    )


def _propose_drop(site: Site, connection: Connection, values: Values) -> Proposal:
    row = _open(connection, values, is_redriven_good=False)
    return Proposal(
        title=f"Drop dead letter {row[ID]}?",
        verb="Drop it",
        says=(
            "Its work won't be done: the event counts as settled, and its service passes it over "
            "if it comes again. The record is kept, with who dropped it and why.",
        ),
        values={ID: str(row[ID])},
        facts=_facts(row),
        fields=(Field("reason", "Why", is_needed=True, hint="Kept with the dead letter."),),
        is_grave=True,
        back=dead_letter_url(row[ID]),
    )


def _drop(site: Site, connection: Connection, actor: Actor, values: Values) -> Done:
    dead_letter_id, reason = number(values, ID), needed(values, "reason")
    row = drop_within(connection, dead_letter_id, by=actor.name, reason=reason)
    return Done(
        subject=f"dead letter {dead_letter_id}",
        message=f"Dead letter {dead_letter_id} is dropped.",
        dataset=row["dataset"],
        detail={**_detail(row), "reason": reason},
    )


def _open(connection: Connection, values: Values, *, is_redriven_good: bool) -> RowMapping:
    """The dead letter, where something can still be done about it."""
    dead_letter_id = number(values, ID)
    query = select(dead_letters).where(dead_letters.c.dead_letter_id == dead_letter_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise InconsistentState(f"there is no dead letter {dead_letter_id}")
    if row["dropped_at"] is not None:
        raise BadForm(f"dead letter {dead_letter_id} was dropped by {row['dropped_by']}")
    if row["redriven_at"] is not None and not is_redriven_good:
        raise BadForm(f"dead letter {dead_letter_id} was redriven: see what became of it")
    return row


def _facts(row: RowMapping) -> tuple[tuple[str, str], ...]:
    what = "/".join(filter(None, (row["dataset"], row["slice_key"]))) or "not known"
    return (
        ("What", f"{row['event_type'] or 'a record that is no event'} of {what}"),
        ("Given up by", f"{row['service']}, {row['failed_at']:%Y-%m-%d %H:%M:%S}"),
        ("Why", f"{row['error_class']}: {row['reason']}"),
    )


def _detail(row: RowMapping) -> dict[str, Any]:
    names = (ID, "service", "topic", "event_id", "event_type", "slice_key")
    return {name: row[name] for name in names} | {"why_dead": row["reason"]}


REDRIVE = Action("redrive", "redrive", _propose_redrive, _redrive)
DROP = Action("drop", "drop", _propose_drop, _drop)
