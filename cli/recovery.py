"""`headrace recover`: republish what a broker that lost its state has forgotten."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cli.output import show
from cli.session import EXIT_FAILED, ROOT, AsJson, Root, Session, fail, session
from shared.errors import RecordTooLarge
from shared.messaging.kafka import Admin, Producer
from shared.messaging.recovery import LostEvent, UnderWay, relays_held, under_way

BATCH = 100
COLUMNS = ["type", "subject", "consumer", "origin", "event_id"]
NOT_KNOWN = (
    "what nobody can know of: a load that a program of yours requested straight at the broker and "
    "that no ingestor had begun. Request it again. `headrace load`, `POST /loads` and schedules "
    "keep their requests in the database."
)

app = typer.Typer()


@app.command()
def recover(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """After the broker lost its topics: make them, and publish again what was under way.

    Events keep their ids, so what is done is not done again, however often this is run. Services
    may be running. Exit code 1 where an event was refused, or the broker or the database is away.
    """
    with session(root) as current:
        if dry_run:
            with current.engine.connect() as connection:
                found = under_way(connection)
            _tell(found, made=[], refused={}, as_json=as_json, is_done=False)
            return
        with relays_held(current.engine) as connection:
            admin = Admin(current.settings)
            try:
                made = admin.create_topics()
            finally:
                admin.close()
            found = under_way(connection)
            refused = _publish(current, found.lost)
        _tell(found, made=made, refused=refused, as_json=as_json, is_done=True)
    if refused:
        fail(f"{len(refused)} events are too large for the broker's topics", EXIT_FAILED)


def _publish(session: Session, lost: Sequence[LostEvent]) -> dict[str, str]:
    """Publish the events in their order; those that the broker refuses, with why, by id."""
    refused: dict[str, str] = {}
    for begin in range(0, len(lost), BATCH):
        batch = lost[begin : begin + BATCH]
        try:
            _send(session, batch)
        except RecordTooLarge:
            # One that is refused takes those on their way beside it along. Alone each has its own
            # answer, and one that is published twice is passed over.
            for event in batch:
                try:
                    _send(session, [event])
                except RecordTooLarge as error:
                    refused[event.event_id] = str(error)
    return refused


def _send(session: Session, events: Sequence[LostEvent]) -> None:
    producer = Producer(session.settings)
    try:
        sent = [
            producer.send(each.topic, each.key, each.headers, each.value, each.raw_headers)
            for each in events
        ]
        for sending in sent:
            producer.wait(sending)
    finally:
        producer.close()


def _tell(
    found: UnderWay, *, made: list[str], refused: dict[str, str], as_json: bool, is_done: bool
) -> None:
    rows = [_row(event, refused) for event in found.lost]
    if as_json:
        facts = {
            "is_done": is_done,
            "topics_made": made,
            "events": rows,
            "waiting_in_outbox": found.waiting,
            "not_known": NOT_KNOWN,
        }
        typer.echo(json.dumps(facts))
        return
    if made:
        typer.echo(f"topics made: {', '.join(made)}")
    show(rows, COLUMNS, as_json=False, nothing="no event was under way")
    verb = "published again" if is_done else "would be published again"
    typer.echo(f"{len(rows) - len(refused)} events {verb}")
    if found.waiting:
        typer.echo(f"{found.waiting} events wait in the outbox; the services publish them")
    typer.echo(NOT_KNOWN)


def _row(event: LostEvent, refused: dict[str, str]) -> dict[str, Any]:
    facts = asdict(event)
    row = {name: facts[name] for name in (*COLUMNS, "topic")}
    return row | ({"refused": refused[event.event_id]} if event.event_id in refused else {})
