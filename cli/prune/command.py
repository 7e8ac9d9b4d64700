"""The command: every rule in its order, and what each has removed."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from cli.output import print_table
from cli.session import ROOT, AsJson, Root, session
from shared.clock import utc_now

app = typer.Typer()


@app.command()
def prune(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """Remove what is old and nothing depends on; the PRUNE_* settings say how old that is."""
    from cli.prune.rules import prune_all
    from shared.object_store import ObjectStore

    with session(root) as current:
        store = ObjectStore(current.settings)
        removed = prune_all(current.settings, current.engine, store, now=utc_now(), is_dry=dry_run)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in removed], default=str, indent=2))
        return
    columns = ["what", "before", "items", "bytes", "note"]
    cells = [
        [
            each.what,
            f"{each.before:%Y-%m-%d %H:%M}" if each.before else "",
            str(each.items),
            str(each.bytes),
            each.note,
        ]
        for each in removed
    ]
    print_table(cells, columns)
    items, size = sum(each.items for each in removed), sum(each.bytes for each in removed)
    verb = "would be removed" if dry_run else "removed"
    typer.echo(f"{items} things of {size} bytes {verb}")
