"""The `headrace` command: its parts, put together."""

import logging

import typer

from cli import (
    champions,
    contracts,
    dataset,
    demo,
    health,
    images,
    inspect,
    load,
    notify,
    predict,
    psql,
    recover,
    sample,
    schedule,
    specs,
    stack,
    status,
)
from cli.session import ROOT, Root, session
from shared import __version__

app = typer.Typer(
    name="headrace",
    help="Turns periodic drops of data into versioned datasets and model versions.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for part in (
    stack,
    status,
    health,
    psql,
    load,
    schedule,
    inspect,
    images,
    specs,
    champions,
    dataset,
    predict,
    recover,
    notify,
    demo,
    contracts,
):
    app.registered_commands += part.app.registered_commands
    app.registered_groups += part.app.registered_groups
app.add_typer(sample.app, name="sample")


@app.command()
def migrate(root: Root = ROOT) -> None:
    """Create or update the control tables, the datasets' tables, the topics and the buckets."""
    from cli.migrate import migrate as apply

    with session(root) as current:
        apply(current.settings)
    typer.echo("the database, the topics and the buckets are up to date")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the command."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for name in ("kafka", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    app()
