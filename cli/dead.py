"""`headrace dead`: records that a service gave up; to be looked at, done again, or dropped."""

import getpass
import json
from collections.abc import Mapping
from typing import Annotated

import typer
from sqlalchemy import select, text

from cli.output import jsonable, show
from cli.session import ROOT, AsJson, Root, fail, session
from shared.contracts.envelope import Record
from shared.database.tables import dead_letters
from shared.messaging.dead_letters import drop as drop_dead_letter
from shared.messaging.dead_letters import redrive as redrive_dead_letter
from shared.messaging.kafka import Producer
from shared.messaging.readable import readable

LISTING = """
    SELECT dead_letter_id, service, topic, partition, "offset", dataset, slice_key, event_id,
           event_type, error_class, reason, attempts, failed_at, redriven_at, dropped_at,
           dropped_by, drop_reason,
           CASE WHEN dropped_at IS NOT NULL THEN 'dropped'
                WHEN redriven_at IS NOT NULL THEN 'redriven' ELSE 'open' END AS state
    FROM headrace.dead_letters
    WHERE :every OR (redriven_at IS NULL AND dropped_at IS NULL)
    ORDER BY dead_letter_id
"""
COLUMNS = (
    "dead_letter_id", "state", "service", "topic", "dataset", "slice_key", "error_class", "reason",
    "attempts", "failed_at",
)  # fmt: skip

app = typer.Typer()
dead = typer.Typer(no_args_is_help=True, help="Records that a service could not process.")
app.add_typer(dead, name="dead")
Number = Annotated[int, typer.Argument(help="As `headrace dead list` shows it.")]


@dead.command("list")
def list_dead(
    only_open: Annotated[
        bool, typer.Option("--open", help="Only what is neither redriven nor dropped.")
    ] = False,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """The dead letters, oldest first, with what became of each."""
    with session(root) as current, current.engine.connect() as connection:
        found = connection.execute(text(LISTING), {"every": not only_open}).mappings()
        rows = [dict(row) for row in found]
    show(rows, COLUMNS, as_json=as_json, nothing="no dead letters")


@dead.command("show")
def show_dead(dead_letter_id: Number, as_json: AsJson = False, root: Root = ROOT) -> None:
    """All of a dead letter: where it was, its key, headers and value, and why it was given up."""
    query = select(dead_letters).where(dead_letters.c.dead_letter_id == dead_letter_id)
    with session(root) as current, current.engine.connect() as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        fail(f"there is no dead letter {dead_letter_id}: see `headrace dead list`")
        return
    facts = {**row, "key": readable(row["key"]), "value": readable(row["value"])}
    if as_json:
        typer.echo(json.dumps(facts, default=jsonable, indent=2))
        return
    for name, value in facts.items():
        if name == "headers":
            typer.echo("headers")
            for header, said in sorted(value.items()):
                typer.echo(f"  {header:<18}  {said}")
        elif isinstance(value, Mapping):
            typer.echo(name)
            typer.echo(json.dumps(value, indent=2))
        elif value is not None:
            typer.echo(f"{name:<16}  {value}")


@dead.command()
def redrive(
    dead_letter_ids: Annotated[
        list[int], typer.Argument(help="As `headrace dead list` shows them.")
    ],
    root: Root = ROOT,
) -> None:
    """Publish dead letters again, as they were, each under its own event id, in this order."""
    with session(root) as current:
        producer = Producer(current.settings)

        def publish(record: Record) -> None:
            producer.publish(
                record.topic, record.key, record.headers, record.value, record.raw_headers
            )

        try:
            for dead_letter_id in dead_letter_ids:
                redrive_dead_letter(current.engine, dead_letter_id, publish)
                typer.echo(f"dead letter {dead_letter_id} is on its topic again")
        finally:
            producer.close()


@dead.command()
def drop(
    dead_letter_id: Number,
    reason: Annotated[str, typer.Option("--reason", help="Kept with it.")],
    root: Root = ROOT,
) -> None:
    """Settle a dead letter without doing its work; it is kept, with who dropped it and why."""
    if not reason.strip():
        fail("say why with --reason: it is kept with the dead letter")
    with session(root) as current:
        drop_dead_letter(current.engine, dead_letter_id, by=getpass.getuser(), reason=reason)
    typer.echo(f"dead letter {dead_letter_id} is dropped: {reason}")
