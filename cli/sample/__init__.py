"""`headrace sample`: invented drops that look like the real thing, the same for the same seed."""

from pathlib import Path
from typing import Annotated

import typer

from cli.sample.rakuten import write_rakuten
from cli.sample.streamflow import write_streamflow
from shared.errors import HeadraceError

__all__ = ["app", "write_rakuten", "write_streamflow"]

app = typer.Typer()


@app.callback()
def sample() -> None:
    """Write sample drops."""


@app.command()
def streamflow(
    folder: Annotated[Path, typer.Argument(help="Where the slices' folders are made.")],
    months: Annotated[int, typer.Option(min=1, max=999)] = 3,
    users: Annotated[int, typer.Option(min=50, help="In the first month.")] = 3000,
    seed: Annotated[int, typer.Option()] = 7,
    faults: Annotated[
        bool, typer.Option("--faults", help="Some cells of the last month are no numbers.")
    ] = False,
) -> None:
    """Write monthly drops of Streamflow: month_000, month_001, …, six CSV files each."""
    for path in write_streamflow(folder, months=months, users=users, seed=seed, faults=faults):
        typer.echo(str(path))


@app.command()
def rakuten(
    folder: Annotated[Path, typer.Argument(help="Where the files are made: a new folder.")],
    scale: Annotated[float, typer.Option(min=0.005, max=100, help="1 is 84,916 products.")] = 1.0,
    images: Annotated[int, typer.Option(min=0, help="How many products have a picture.")] = 300,
    seed: Annotated[int, typer.Option()] = 7,
) -> None:
    """Write the Rakuten catalogue: X_train.csv, Y_train.csv, X_test.csv and images."""
    try:
        typer.echo(str(write_rakuten(folder, scale=scale, images=images, seed=seed)))
    except HeadraceError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
