"""`headrace status`: where every dataset stands, at a glance; `headrace history`: its loads."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import text

from cli.glance import STATUS_STYLES, print_overview
from cli.output import jsonable, show
from cli.session import ROOT, AsJson, Root, Session, session
from shared.clock import utc_now
from shared.contracts.spec_file import spec_names
from shared.database.overview import read_overview
from shared.database.overview_queries import HISTORY
from shared.database.statuses import LoadKind, LoadStatus
from shared.errors import UnknownDataset

HISTORY_COLUMNS = (
    "slice_key", "as_of", "revision", "percentage", "rows", "inserted", "updated", "unchanged",
    "deleted", "status", "started_at", "completed_at", "model_version", "score", "note",
)  # fmt: skip

app = typer.Typer()


@app.command()
def status(as_json: AsJson = False, root: Root = ROOT) -> None:
    """Where every dataset stands: slice, rows, last and next load, champion, what waits."""
    from shared.schedule.deciding import next_run  # with the scheduler's library

    now = utc_now()
    with session(root) as current:
        folder = current.settings.datasets_dir
        with current.engine.connect() as connection:
            found = read_overview(connection, folder, lambda spec, row: next_run(spec, row, now))
        stack = _stack(current)
    if as_json:
        facts = {"stack": stack, "datasets": [dataclasses.asdict(each) for each in found]}
        typer.echo(json.dumps(facts, default=jsonable, indent=2))
        return
    console = Console(highlight=False, emoji=False)
    console.print(_stack_line(stack), soft_wrap=True)
    for each in found:
        console.print()
        print_overview(console, each, now)
    if not found:
        console.print(f"\nno dataset is declared in {folder}: see docs/datasets.md", soft_wrap=True)


@app.command()
def history(
    dataset: Annotated[str, typer.Argument(help="The dataset's name.")],
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """Every load of a dataset, oldest first: what it changed, and the model that came of it."""
    with session(root) as current, current.engine.connect() as connection:
        query = connection.execute(text(HISTORY), {"dataset": dataset})
        rows = [{**row, "note": note(row)} for row in map(dict, query.mappings())]
        if not rows and dataset not in spec_names(current.settings.datasets_dir):
            raise UnknownDataset(dataset, current.settings.datasets_dir)
    nothing = f"no load of {dataset} yet: `headrace load {dataset} --from <folder>`"
    console = Console(highlight=False, emoji=False)
    if rows and console.is_terminal and not as_json:
        console.print(_history_table(rows))
    else:
        if not as_json:
            rows = [{**row, "percentage": _percentage(row["percentage"])} for row in rows]
        show(rows, HISTORY_COLUMNS, as_json=as_json, nothing=nothing)


def note(row: Mapping[str, Any]) -> str:
    """What else there is to say of a load: what it corrects, that it was withdrawn, and why."""
    said = []
    if row["kind"] == LoadKind.WITHDRAWAL:
        why = (row["reasons"] or [{}])[0].get("message", "")
        said.append(f"withdrawal by {row['requested_by']}: {why}")
    elif row["kind"] == LoadKind.CORRECTION:
        facts = row["correction"] or {}
        said.append(
            f"corrects {row['corrects'][:8]}: {facts.get('rows', 0)} rows mended, "
            f"{facts.get('left_out', 0)} of them left out"
        )
    if row["withdrawn_at"] is not None:
        said.append(f"withdrawn {row['withdrawn_at']:%Y-%m-%d %H:%M}")
    if not row["trains"] and row["status"] == LoadStatus.PUBLISHED:
        said.append("not trained on")
    return "; ".join(said)


def _history_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """What a terminal of 80 columns has room for: `--json` and a pipe get all of it."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("slice", overflow="fold")
    for heading in ("rows", "+", "~", "=", "-"):
        table.add_column(heading, justify="right")
    table.add_column("status")
    table.add_column("started")
    for heading in ("took", "model", "score"):
        table.add_column(heading, justify="right")
    for row in rows:
        counts = (row[name] for name in ("rows", "inserted", "updated", "unchanged", "deleted"))
        ended = row["completed_at"]
        took = f"{(ended - row['started_at']).total_seconds():.1f} s" if ended else ""
        revision = f" r{row['revision']}" if (row["revision"] or 1) > 1 else ""
        status = "taken back" if row["withdrawn_at"] else row["status"]
        table.add_row(
            row["slice_key"] + revision,
            *("" if count is None else str(count) for count in counts),
            Text(status, style=STATUS_STYLES.get(status, "yellow")),
            f"{row['started_at']:%m-%d %H:%M}",
            took,
            row["model_version"] or "",
            "" if row["score"] is None else f"{row['score']:.4f}",
        )
    table.caption = "+ inserted  ~ updated  = unchanged  - deleted  r2 second revision"
    table.caption_justify = "left"
    return table


def _percentage(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _stack(current: Session) -> dict[str, Any] | None:
    """The processes of the embedded stack; None where all servers are somebody else's."""
    if current.stack is None:
        return None
    processes = current.stack.status()
    return {
        "root": str(current.stack.root),
        "processes": len(processes),
        "ready": sum(process.condition == "ready" for process in processes),
        "others": {p.name: p.condition for p in processes if p.condition != "ready"},
        "none_of": sorted(name for name, n in current.stack.scale().items() if n == 0),
    }


def _stack_line(stack: dict[str, Any] | None) -> Text:
    if stack is None:
        return Text("stack  servers of yours; `headrace health` asks the services", style="dim")
    said = Text(f"stack  {stack['ready']} of {stack['processes']} processes up")
    if stack["none_of"]:
        said.append(f"; none of {', '.join(stack['none_of'])}, as was asked for", style="yellow")
    if not stack["others"]:
        return said
    others = ", ".join(f"{name} {condition}" for name, condition in stack["others"].items())
    return said.append(f": {others}; `headrace up` starts what is missing", style="red")
