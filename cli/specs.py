"""`headrace check`: what is wrong with a spec, line by line."""

from pathlib import Path
from typing import Annotated

import typer

from cli.session import EXIT_FAILED
from shared.contracts.spec_file import FaultySpec, read_spec

app = typer.Typer()


@app.command()
def check(
    paths: Annotated[list[Path], typer.Argument(help="Specs, as datasets/mine.yaml.")],
) -> None:
    """Check specs; exit 1 and explain each fault with its line if there is one."""
    is_good = True
    for path in paths:
        try:
            spec = read_spec(path)
        except FaultySpec as error:
            is_good = False
            typer.echo(str(error), err=True)
            continue
        typer.echo(f"{path}: good: {len(spec.tables)} tables")
    if not is_good:
        raise typer.Exit(EXIT_FAILED)
