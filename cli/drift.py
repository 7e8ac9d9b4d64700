"""`headrace drift`: how far a dataset is from what the champion was trained on."""

import json
from typing import Annotated, Any

import typer
from sqlalchemy import text

from cli.output import jsonable, print_table
from cli.output import text as cell
from cli.session import EXIT_USAGE, ROOT, AsJson, Root, fail, session

NEWEST = """
    SELECT snapshot_id, baseline_version
    FROM headrace.drift
    WHERE dataset = :dataset AND (CAST(:snapshot AS text) IS NULL OR snapshot_id = :snapshot)
    ORDER BY measured_at DESC
    LIMIT 1
"""
DIFFERENCES = """
    SELECT d.*, l.slice_key, b.slice_key AS baseline_slice_key
    FROM headrace.drift AS d
    LEFT JOIN headrace.loads AS l ON l.load_id = d.load_id
    LEFT JOIN headrace.snapshots AS b ON b.snapshot_id = d.baseline_snapshot_id
    WHERE d.dataset = :dataset AND d.snapshot_id = :snapshot_id
        AND d.baseline_version = :baseline_version
    ORDER BY d.value / d.threshold DESC, d.feature, d.measure
"""
COLUMNS = ("feature", "measure", "value", "threshold", "p_value", "is_drifted")
OF_ROW = ("feature", "is_target", "measure", "value", "threshold", "p_value", "is_drifted", "bins")

app = typer.Typer()


@app.command()
def drift(
    dataset: Annotated[str, typer.Argument(help="The dataset.")],
    snapshot: Annotated[
        str | None, typer.Option("--snapshot", help="A snapshot's id; else the one measured last.")
    ] = None,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """How far features and target are from what the champion was trained on, the farthest first.

    With --json also how many rows fall into which bin, of both.
    """
    with session(root) as current, current.engine.connect() as connection:
        asked = {"dataset": dataset, "snapshot": snapshot}
        newest = connection.execute(text(NEWEST), asked).mappings().first()
        if newest is None:
            fail(_nothing(dataset, snapshot), EXIT_USAGE)
            return
        found = connection.execute(text(DIFFERENCES), {"dataset": dataset, **newest})
        rows = [dict(row) for row in found.mappings()]
    if as_json:
        typer.echo(json.dumps(_facts(rows), default=jsonable, indent=2))
        return
    typer.echo(_heading(rows))
    print_table([[cell(row[column]) for column in COLUMNS] for row in rows], COLUMNS)


def _nothing(dataset: str, snapshot: str | None) -> str:
    if snapshot is not None:
        return (
            f"no drift was measured of {dataset}'s snapshot {snapshot}: see "
            f"`headrace snapshots {dataset}`, or leave out --snapshot for the one measured last"
        )
    return (
        f"no drift was measured of {dataset} yet: it is when a model has been trained and there "
        f"was a champion before, see `headrace models {dataset}`"
    )


def _heading(rows: list[dict[str, Any]]) -> str:
    first = rows[0]
    drifted = len({row["feature"] for row in rows if row["is_drifted"]})
    compared = len({row["feature"] for row in rows})
    return (
        f"{first['dataset']} {first['slice_key']} of {first['as_of']} against "
        f"{first['baseline_slice_key']} of {first['baseline_as_of']}, which {first['model_name']} "
        f"version {first['champion_version']} was trained on: {drifted} of {compared} have drifted"
    )


def _facts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    facts = {name: value for name, value in rows[0].items() if name not in OF_ROW}
    return {**facts, "differences": [{name: row[name] for name in OF_ROW} for row in rows]}
