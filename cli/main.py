"""The `headrace` command: its parts, put together."""

import logging

import typer

from cli import (
    backfill,
    champions,
    console,
    contracts,
    dataset,
    dead,
    demo,
    drift,
    health,
    images,
    inspect,
    load,
    notify,
    predict,
    prune,
    psql,
    recover,
    recovery,
    rejects,
    sample,
    schedule,
    specs,
    stack,
    status,
    token,
    withdraw,
)
from cli.session import EXIT_FAILED, EXIT_USAGE, ROOT, Root, session
from cli.verify import command as verify
from shared import __version__
from shared.errors import InvalidSettings

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
    token,
    console,
    load,
    backfill,
    withdraw,
    schedule,
    inspect,
    rejects,
    images,
    specs,
    champions,
    drift,
    dataset,
    predict,
    recover,
    recovery,
    dead,
    prune,
    notify,
    verify,
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
    try:
        app()
    except InvalidSettings as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(EXIT_USAGE) from error
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] in ("cli", "infra", "shared"):
            raise
        typer.echo(
            f"error: this needs {error.name}, which is not part of this installation: in a "
            "checkout `make setup` installs everything; among containers "
            "`docker compose run --rm cli headrace …` has what the command needs",
            err=True,
        )
        raise SystemExit(EXIT_FAILED) from error
