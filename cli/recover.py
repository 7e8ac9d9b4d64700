"""`headrace replay`: doing anew what follows from an old event."""

from typing import Annotated

import typer

from cli.load import SOURCE, publish_event
from cli.session import ROOT, Root, session
from shared.clock import utc_now
from shared.messaging.replaying import replay_of

app = typer.Typer()


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
            new = replay_of(connection, event_id, source=SOURCE, time=utc_now())
        publish_event(current, new)
    typer.echo(f"replayed {new.payload.type} of {new.subject} as event {new.id}")
