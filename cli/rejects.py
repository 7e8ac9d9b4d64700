"""`headrace rejects`: what was refused; out as a sheet to be mended, and back as a correction."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy import text

from cli.champions import LISTING, ListingGroup
from cli.load import SOURCE, follow, publish, say_end, summary
from cli.output import print_table, show
from cli.progress import reason_line
from cli.session import EXIT_FAILED, ROOT, AsJson, Root, Session, fail, session
from shared.contracts.spec_file import find_spec

if TYPE_CHECKING:
    from shared.mending.sheet import ReadRow, Sheet

REFUSED = """
    SELECT l.load_id, l.dataset, l.slice_key, l.as_of, l.revision, l.status, l.rows_in,
           l.rows_loaded, l.rows_quarantined, l.source_uri, l.started_at, l.finished_at, l.reasons,
           l.landing_uri, l.report_uri,
           (SELECT c.load_id FROM headrace.loads AS c WHERE c.corrects = l.load_id
            ORDER BY c.started_at DESC LIMIT 1) AS corrected_by
    FROM headrace.loads AS l
    WHERE l.status = 'rejected' OR l.rows_quarantined > 0
    ORDER BY l.started_at
"""
FAILED_EXPECTATIONS = """
    SELECT table_name, expectation, severity, kwargs, observed_value, unexpected_count,
           failing_keys, message
    FROM headrace.validation_results
    WHERE load_id = :load_id AND NOT success
    ORDER BY result_id
"""
QUARANTINED = """
    SELECT table_name, file, record_number, column_name, code, reason, raw
    FROM headrace.quarantined_rows
    WHERE load_id = :load_id
    ORDER BY table_name, record_number
"""
MATCHING = """
    SELECT load_id, status, dataset, slice_key, rows_quarantined, reasons
    FROM headrace.loads
    WHERE starts_with(load_id, :said) OR dataset || '/' || slice_key = :said
    ORDER BY starts_with(load_id, :said) DESC, started_at DESC
"""
ENDING = ".mend.csv"

app = typer.Typer()
rejects = typer.Typer(
    cls=ListingGroup,
    help="List what was refused (`rejects [LOAD]`); export bad rows to mend them, replay them.",
)
app.add_typer(rejects, name="rejects")
Which = Annotated[
    str | None,
    typer.Argument(help="A load's id, or its beginning; or dataset/slice, its newest load."),
]


@rejects.command(LISTING)
def list_rejects(which: Which = None, as_json: AsJson = False, root: Root = ROOT) -> None:
    """The refused loads; of one load the reasons, failed expectations and quarantined rows."""
    with session(root) as current:
        if which is None:
            refused = _query(current, REFUSED)
            for row in refused:
                row["why"] = "; ".join(str(reason["message"]) for reason in row["reasons"] or [])
            columns = ["load_id", "dataset", "slice_key", "status", "rows_quarantined"]
            show(
                refused,
                [*columns, "corrected_by", "why"],
                as_json=as_json,
                nothing="nothing was refused or quarantined",
            )
            return
        load = _matching(current, which)
        failed = _query(current, FAILED_EXPECTATIONS, load_id=load["load_id"])
        rows = _query(current, QUARANTINED, load_id=load["load_id"])
    if as_json:
        facts = {"load": load, "expectations": failed, "rows": rows}
        typer.echo(json.dumps(facts, default=str, indent=2))
        return
    _show_reject(load, failed, rows)


@rejects.command()
def export(
    to: Annotated[
        Path, typer.Option("--to", help="The sheet, or a folder for one sheet for each file.")
    ],
    which: Which = None,
    root: Root = ROOT,
) -> None:
    """Write the quarantined rows of a load as CSV, to be mended in a spreadsheet."""
    from shared.mending.replaying import export_load
    from shared.mending.sheet import write_sheet
    from shared.object_store import ObjectStore

    with session(root) as current:
        load_id = _matching(current, which)["load_id"] if which else _only_one(current)
        with current.engine.connect() as connection:
            store = ObjectStore(current.settings)
            found = export_load(connection, current.settings, store, load_id)
        for said in found.missing:
            typer.echo(f"not on a sheet: {said}", err=True)
        if not found.sheets:
            fail(f"load {load_id} has no quarantined rows that could be mended")
        for sheet, path in zip(found.sheets, _paths(found.sheets, to), strict=True):
            path.write_bytes(write_sheet(sheet))
            typer.echo(f"{len(sheet.rows)} rows of {sheet.file} (load {load_id[:8]}): {path}")
    typer.echo("mend them, then: headrace rejects replay " + str(to))


@rejects.command()
def replay(
    paths: Annotated[list[Path], typer.Argument(help="Mended sheets, or a folder of them.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what was changed in the sheets.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the load to its end.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds to wait at most; exit code 4 after.")
    ] = 3600.0,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """Load mended rows as a correction of their slice: what came, with these rows instead."""
    from shared.mending.correction import check_newest
    from shared.mending.replaying import read_mending
    from shared.object_store import ObjectStore

    with session(root) as current:
        read = _read(paths)
        store = ObjectStore(current.settings)
        with current.engine.connect() as connection:
            mending = read_mending(connection, current.settings, store, read)
            if not mending.rows:
                fail("no row differs from what was exported: nothing to replay")
            if dry_run or not as_json:
                said = mending.said()
                typer.echo(json.dumps(said) if as_json else "\n".join(said))
            if dry_run:
                check_newest(connection, mending.base)
                return
            payload = mending.request(connection, store, requested_by=SOURCE)
        event = publish(current, payload)
        if not wait:
            facts = {"load_id": event.id, **payload.model_dump(mode="json")}
            asked = (
                f"requested {event.subject} with {len(mending.rows)} mended rows: load {event.id}"
            )
            typer.echo(json.dumps(facts) if as_json else asked)
            return
        spec = find_spec(current.settings.datasets_dir, payload.dataset)
        found = follow(
            current, event, with_model=spec.training is not None, timeout=timeout, quiet=as_json
        )
        if as_json:
            typer.echo(json.dumps(summary(found), default=str))
        else:
            say_end(event, found)
        if not found.is_good:
            raise typer.Exit(EXIT_FAILED)


def _query(current: Session, statement: str, **parameters: Any) -> list[dict[str, Any]]:
    with current.engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(statement), parameters).mappings()]


def _matching(current: Session, said: str) -> dict[str, Any]:
    found = _query(current, MATCHING, said=said)
    if "/" in said and found:
        return found[0]
    if len(found) != 1:
        fail(f"{len(found)} loads have an id that begins with {said!r}: see `headrace loads`")
    return found[0]


def _only_one(current: Session) -> str:
    """The load with quarantined rows, where there is one that isn't corrected."""
    found = [
        row["load_id"]
        for row in _query(current, REFUSED)
        if row["rows_quarantined"] and row["corrected_by"] is None
    ]
    if len(found) != 1:
        fail(f"{len(found)} loads have quarantined rows: name one, see `headrace rejects`")
    return str(found[0])


def _paths(sheets: "Sequence[Sheet]", to: Path) -> list[Path]:
    if to.is_dir() or to.suffix.lower() != ".csv":
        to.mkdir(parents=True, exist_ok=True)
        return [to / (sheet.file + ENDING) for sheet in sheets]
    if len(sheets) > 1:
        names = ", ".join(sheet.file for sheet in sheets)
        fail(f"the bad rows are in several files ({names}): name a folder with --to")
    return [to]


def _read(paths: Sequence[Path]) -> "list[ReadRow]":
    from shared.mending.sheet import BadSheet, read_sheet

    files = []
    for path in paths:
        files += sorted(path.glob("*.csv")) if path.is_dir() else [path]
    rows = []
    for path in files:
        if not path.is_file():
            raise BadSheet(f"there is no file {path}")
        rows += read_sheet(str(path), path.read_bytes())
    if not rows:
        raise BadSheet("there is no row on the sheets")
    return rows


def _show_reject(
    load: Mapping[str, Any], failed: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> None:
    typer.echo(f"{load['dataset']}/{load['slice_key']}: {load['status']}, load {load['load_id']}")
    for reason in load["reasons"] or []:
        typer.echo(f"  {reason_line(reason)}")
    if failed:
        columns = ["table_name", "expectation", "severity", "unexpected_count", "failing_keys"]
        columns.append("message")
        cells = [[_short(row[column]) for column in columns] for row in failed]
        print_table(cells, columns, "expectations that were not met")
    if rows:
        columns = ["table_name", "file", "record_number", "column_name", "code", "reason", "raw"]
        cells = [[_short(row[column]) for column in columns] for row in rows]
        print_table(cells, columns, "quarantined rows")


def _short(value: Any) -> str:
    said = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return said if len(said) <= 120 else said[:119] + "…"
