"""`headrace dead | replay`: doing again what was given up, or what is to be done anew."""

from typing import Annotated

import typer
from sqlalchemy import select, text

from cli.load import SOURCE, publish_event
from cli.output import show
from cli.session import ROOT, AsJson, Root, fail, session
from shared.clock import utc_now
from shared.contracts.envelope import Event, Record, decode
from shared.database.tables import outbox
from shared.messaging.dead_letters import redrive as redrive_dead_letter
from shared.messaging.kafka import Producer

REPLAYABLE = ("headrace.snapshotted.v1", "headrace.dataset-ready.v1")
DEAD = """
    SELECT dead_letter_id, service, topic, partition, "offset", dataset, slice_key, event_id,
           event_type, error_class, reason, attempts, failed_at, redriven_at
    FROM headrace.dead_letters
    ORDER BY dead_letter_id
"""

app = typer.Typer()
dead = typer.Typer(no_args_is_help=True, help="Records that a service could not process.")
app.add_typer(dead, name="dead")


@dead.command("list")
def list_dead(as_json: AsJson = False, root: Root = ROOT) -> None:
    """The dead letters, oldest first."""
    with session(root) as current, current.engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(text(DEAD)).mappings()]
    columns = [
        "dead_letter_id",
        "service",
        "topic",
        "dataset",
        "slice_key",
        "error_class",
        "reason",
        "attempts",
        "failed_at",
        "redriven_at",
    ]
    show(rows, columns, as_json=as_json, nothing="no dead letters")


@dead.command()
def redrive(
    dead_letter_id: Annotated[int, typer.Argument(help="As `headrace dead list` shows it.")],
    root: Root = ROOT,
) -> None:
    """Publish a dead letter again, as it was, under its own event id."""
    with session(root) as current:
        producer = Producer(current.settings)

        def publish(record: Record) -> None:
            producer.publish(record.topic, record.key, record.headers, record.value)

        try:
            redrive_dead_letter(current.engine, dead_letter_id, publish)
        finally:
            producer.close()
    typer.echo(f"dead letter {dead_letter_id} is on its topic again")


@app.command()
def replay(
    event_id: Annotated[
        str, typer.Argument(help="The id of a snapshotted or dataset-ready event.")
    ],
    root: Root = ROOT,
) -> None:
    """Publish an old event under a new id, and so redo only what follows it."""
    with session(root) as current:
        with current.engine.connect() as connection:
            row = connection.execute(select(outbox).where(outbox.c.event_id == event_id)).first()
        if row is None or row.headers["ce_type"] not in REPLAYABLE:
            fail(f"{event_id!r} is no snapshotted or dataset-ready event: see `headrace events`")
            return
        old = decode(Record(row.topic, 0, 0, row.key.encode(), row.headers, bytes(row.value)))
        new = Event(
            payload=old.payload,
            source=SOURCE,
            time=utc_now(),
            correlation_id=old.correlation_id,
            causation_id=old.id,
        )
        publish_event(current, new)
    typer.echo(f"replayed {old.payload.type} of {old.subject} as event {new.id}")
