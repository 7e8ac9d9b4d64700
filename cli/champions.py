"""`headrace promote | rollback`: a person's word about the champion."""

import getpass
from typing import Annotated

import typer

from cli.session import ROOT, Root, session

app = typer.Typer()
Model = Annotated[str, typer.Argument(help="The registered name, as streamflow_churn.")]
Reason = Annotated[str, typer.Option("--reason", help="Kept with the decision.")]


@app.command()
def rollback(model: Model, reason: Reason = "", root: Root = ROOT) -> None:
    """Make the champion before the present one champion again."""
    from services.trainer.champions import roll_back  # with MLflow, which takes seconds to import
    from services.trainer.registry import Registry

    with session(root) as current:
        registry = Registry(current.settings.mlflow_tracking_uri)
        made = roll_back(current.engine, registry, model, by=getpass.getuser(), reason=reason)
    typer.echo(f"{made.model_name} version {made.model_version} is the champion: {made.reason}")


@app.command()
def promote(
    model: Model,
    version: Annotated[str, typer.Argument(help="The version that becomes champion.")],
    reason: Reason = "",
    root: Root = ROOT,
) -> None:
    """Make a version champion, whatever the rule said."""
    from services.trainer.champions import promote as promote_by_hand
    from services.trainer.registry import Registry

    with session(root) as current:
        registry = Registry(current.settings.mlflow_tracking_uri)
        made = promote_by_hand(
            current.engine, registry, model, version, by=getpass.getuser(), reason=reason
        )
    typer.echo(f"{made.model_name} version {made.model_version} is the champion: {made.reason}")
