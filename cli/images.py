"""`headrace images`: the pictures of a dataset's rows, and those that are missing."""

from typing import Annotated, Any

import typer
from sqlalchemy import text

from cli.output import show
from cli.session import ROOT, AsJson, Root, fail, session
from shared.database.statuses import ImageState

COUNTS = """
    SELECT table_name, state, count(*) AS rows, coalesce(sum(bytes), 0)::bigint AS bytes,
           count(DISTINCT uri) AS distinct_pictures
    FROM headrace.images
    WHERE dataset = :dataset
    GROUP BY table_name, state
    ORDER BY table_name, state
"""
MISSING = """
    SELECT i.table_name, i.row_key, i.file, l.slice_key, i.load_id
    FROM headrace.images AS i
    LEFT JOIN headrace.loads AS l ON l.load_id = i.load_id
    WHERE i.dataset = :dataset AND i.state = :state
    ORDER BY i.table_name, i.file, i.row_key
"""
IS_KNOWN = "SELECT EXISTS (SELECT FROM headrace.datasets WHERE dataset = :dataset)"

app = typer.Typer()


@app.command()
def images(
    dataset: Annotated[str, typer.Argument(help="The dataset.")],
    missing: Annotated[
        bool, typer.Option("--missing", help="List the rows whose picture is missing.")
    ] = False,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """How many rows have their picture, by table and state; or which ones have none."""
    with session(root) as current, current.engine.connect() as connection:
        if not connection.execute(text(IS_KNOWN), {"dataset": dataset}).scalar_one():
            fail(f"there is no dataset {dataset!r}")
        parameters: dict[str, Any] = {"dataset": dataset, "state": ImageState.MISSING.value}
        found = connection.execute(text(MISSING if missing else COUNTS), parameters)
        columns = list(found.keys())
        rows = [dict(row) for row in found.mappings()]
    nothing = "no picture is missing" if missing else f"no row of {dataset} has pictures yet"
    show(rows, columns, as_json=as_json, nothing=nothing)
