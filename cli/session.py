"""What a command works with: the running stack's settings, its database, and plain errors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError, ProgrammingError

from cli.stack import DEFAULT_ROOT
from infra.embedded.environment import given_variables
from infra.embedded.stack import Stack
from shared.database.engine import make_engine
from shared.errors import HeadraceError
from shared.settings import Settings

EXIT_FAILED, EXIT_USAGE = 1, 2

Root = Annotated[Path, typer.Option("--root", help="The folder with the stack's data.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ROOT = DEFAULT_ROOT


@dataclass(frozen=True)
class Session:
    """Settings that reach the servers, and an engine on the database."""

    settings: Settings
    engine: Engine
    stack: Stack | None
    """The embedded stack, if that is what the settings reach."""


def find_settings(root: Path) -> tuple[Settings, Stack | None]:
    """The settings of the stack that runs in `root`, else those of this process's environment.

    Ends the command with exit code 2 where there is neither.
    """
    stack = Stack(root, inherited=dict(os.environ))
    if stack.is_up():
        return stack.settings(), stack
    if "DATABASE_URL" in given_variables(Settings()):
        return Settings(), None
    typer.echo(
        f"error: no stack runs in {root}: start one with `headrace up`, or set DATABASE_URL, "
        "KAFKA_BOOTSTRAP_SERVERS, S3_ENDPOINT_URL and MLFLOW_TRACKING_URI to servers of yours",
        err=True,
    )
    raise typer.Exit(EXIT_USAGE)


@contextmanager
def session(root: Path) -> Iterator[Session]:
    """A session for the time of a block; an error of ours or of the database ends with code 1."""
    settings, stack = find_settings(root)
    engine = make_engine(settings, application="cli")
    try:
        yield Session(settings, engine, stack)
    except HeadraceError as error:
        fail(str(error))
    except OperationalError as error:
        fail(f"the database does not answer: {error.orig}")
    except ProgrammingError as error:
        if "UndefinedTable" not in repr(error.orig):
            raise
        fail("the database has no Headrace tables yet: run `headrace migrate`")
    finally:
        engine.dispose()


def fail(message: str, code: int = EXIT_FAILED) -> None:
    """Say what is wrong and end the command."""
    typer.echo(f"error: {message.strip()}", err=True)
    raise typer.Exit(code)
