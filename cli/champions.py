"""`headrace models`: the versions and the decisions about them, and a person's word about those."""

import getpass
import json
from typing import Annotated, Any

import typer
from sqlalchemy import text
from typer.core import TyperGroup

from cli.output import print_table, show
from cli.session import EXIT_FAILED, ROOT, AsJson, Root, session

LISTING = "list"
DECISIONS = """
    SELECT p.dataset, p.model_name, p.model_version, p.as_of, l.slice_key, p.dataset_version,
           p.metric, p.score, p.decision, p.champion_version, p.champion_score, p.promoted,
           p.alias AS alias_then, p.reason, p.run_id, p.metrics, p.model_sha256, p.decided_at
    FROM headrace.promotions AS p
    LEFT JOIN headrace.loads AS l USING (load_id)
    WHERE CAST(:dataset AS text) IS NULL OR p.dataset = :dataset
    ORDER BY p.dataset, p.decided_at
"""
COLUMNS = (
    "model_name", "model_version", "alias", "as_of", "slice_key", "metric", "score",
    "champion_version", "champion_score", "decision", "reason",
)  # fmt: skip


class ListingGroup(TyperGroup):
    """A group that lists where no subcommand is named: `models`, `models rakuten`, `models --json`.

    A dataset that is called like a subcommand is listed by `models list <dataset>`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the listing before what isn't a subcommand."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = [LISTING, *args]
        return super().parse_args(ctx, args)


app = typer.Typer()
models = typer.Typer(
    cls=ListingGroup, help="List model versions (`models [DATASET]`); promote, roll back, trace."
)
app.add_typer(models, name="models")
Model = Annotated[str, typer.Argument(help="The registered name, as streamflow_churn.")]
Reason = Annotated[str, typer.Option("--reason", help="Kept with the decision.")]


@models.command(LISTING)
def list_models(
    dataset: Annotated[str | None, typer.Argument(help="One dataset; else all.")] = None,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """The model versions and each decision about them, oldest first; `alias` is who has it now."""
    with session(root) as current, current.engine.connect() as connection:
        found = connection.execute(text(DECISIONS), {"dataset": dataset}).mappings()
        rows = [dict(row) for row in found]
    show(with_aliases(rows), COLUMNS, as_json=as_json, nothing="no models yet")


def with_aliases(decisions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The decisions, in their order, each with the `alias` that its version has after all of them.

    By what was decided: an alias that somebody moved in MLflow itself isn't known here.
    """
    holders: dict[tuple[str, str], str] = {}
    for row in decisions:
        model, version, alias = row["model_name"], row["model_version"], row["alias_then"]
        if alias is None:
            continue
        holders = {held: by for held, by in holders.items() if (held[0], by) != (model, version)}
        holders[model, alias] = version
    now = {(model, version): alias for (model, alias), version in holders.items()}
    return [
        {**row, "alias": now.get((row["model_name"], row["model_version"]))} for row in decisions
    ]


@models.command()
def promote(
    model: Model,
    version: Annotated[str, typer.Argument(help="The version that becomes champion.")],
    reason: Reason = "",
    root: Root = ROOT,
) -> None:
    """Make a version champion, whatever the rule said."""
    from services.trainer.promotion.champions import (
        promote as promote_by_hand,  # MLflow: seconds to import
    )
    from services.trainer.registry import Registry

    with session(root) as current:
        registry = Registry(current.settings.mlflow_tracking_uri)
        made = promote_by_hand(
            current.engine, registry, model, version, by=getpass.getuser(), reason=reason
        )
    typer.echo(f"{made.model_name} version {made.model_version} is the champion: {made.reason}")


@models.command()
def rollback(model: Model, reason: Reason = "", root: Root = ROOT) -> None:
    """Make the champion before the present one champion again."""
    from services.trainer.promotion.champions import roll_back
    from services.trainer.registry import Registry

    with session(root) as current:
        registry = Registry(current.settings.mlflow_tracking_uri)
        made = roll_back(current.engine, registry, model, by=getpass.getuser(), reason=reason)
    typer.echo(f"{made.model_name} version {made.model_version} is the champion: {made.reason}")


@models.command("show")
def show_version(
    model: Model,
    version: Annotated[str, typer.Argument(help="The version to trace.")],
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Read every Parquet file; exit 1 if a digest differs."),
    ] = False,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """What a version came of: run, dataset, snapshot, load, slice, and the files as they came."""
    from services.trainer.lineage import trace
    from services.trainer.lineage import verify as verify_parts
    from services.trainer.registry import Registry
    from shared.object_store import ObjectStore

    with session(root) as current:
        store = ObjectStore(current.settings)
        registry = Registry(current.settings.mlflow_tracking_uri)
        lineage = trace(current.engine, store, registry, model, version)
        verdicts = list(verify_parts(store, lineage)) if verify else []
    facts = lineage.facts()
    if verify:
        facts["verified"] = [
            {"uri": verdict.part.uri, "is_same": verdict.is_same, "found": verdict.found}
            for verdict in verdicts
        ]
    if as_json:
        typer.echo(json.dumps(facts, default=str, indent=2))
    else:
        _print_lineage(facts)
    if not all(verdict.is_same for verdict in verdicts):
        typer.echo("error: a file is not what its manifest says", err=True)
        raise typer.Exit(EXIT_FAILED)


def _print_lineage(facts: dict[str, Any]) -> None:
    for name in ("model", "run", "dataset", "snapshot", "load", "slice"):
        typer.echo(name)
        for key, value in facts[name].items():
            if value is not None and not isinstance(value, dict):
                typer.echo(f"  {key:<16}  {value}")
    sides = [("dataset", side, facts["dataset"][side]) for side in ("train", "test")]
    parts = [
        ("snapshot", table, part)
        for table, of_table in facts["snapshot"]["tables"].items()
        for part in of_table
    ]
    same = {verdict["uri"]: verdict["is_same"] for verdict in facts.get("verified", ())}
    said = {True: "yes", False: "NO", None: ""}
    cells = [
        [*where, str(part["rows"]), part["sha256"], said[same.get(part["uri"])], part["uri"]]
        for *where, part in (*sides, *parts)
    ]
    print_table(cells, ["of", "name", "rows", "sha256", "verified", "uri"], "rows")
    columns = ["slice_key", "load_id", "bytes", "uri"]
    landed = [[str(file[column]) for column in columns] for file in facts["files"]]
    print_table(landed, columns, "source files in landing")
