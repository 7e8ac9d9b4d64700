"""`headrace demo`: drops go in, model versions come out, on a stack of its own."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from cli.demo_screen import Screen, make_screen
from cli.load import publish
from cli.migrate import migrate
from cli.output import print_table
from cli.progress import Progress, hops, progress_of
from cli.sample import write_streamflow
from cli.session import Session
from infra.embedded.errors import StackError
from infra.embedded.services import SERVICES
from infra.embedded.stack import Stack
from shared.contracts.events import LoadRequested, Stage
from shared.database.engine import make_engine
from shared.errors import HeadraceError

DATASET = "streamflow"
DEMO_ROOT = Path(".headrace-demo")
POLL_SECONDS = 0.15
GIVE_UP_SECONDS = 900.0
EXIT_INTERRUPTED = 130
ROWS = (
    "slice", "as_of", "rows_in", "loaded", "quarantined",
    "inserted", "updated", "unchanged", "deleted",
)  # fmt: skip
RESULTS = ("slice", "snapshot", "dataset_version", "model_version", "alias", "AUC", "F1")

app = typer.Typer()


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option(help="Drops to load, a folder each; invented ones by default.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the facts there.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack up.")] = False,
    root: Annotated[Path, typer.Option(help="Emptied at the start.")] = DEMO_ROOT,
) -> None:
    """Load monthly drops of Streamflow, end to end, on an embedded stack with empty data."""
    begun = time.monotonic()
    stack = Stack(root, inherited=dict(os.environ))
    try:
        with tempfile.TemporaryDirectory(prefix="headrace-demo-") as scratch:
            drops = _drops(data, Path(scratch))
            screen = make_screen()
            with screen:
                _fresh(stack, root)
                stack.start(SERVICES, migrate=migrate, report=screen.server_ready)
                session = _session(stack)
                found = _run(session, drops, screen)
            facts = _facts(found, time.monotonic() - begun)
            _report(session.engine, found, facts)
            session.engine.dispose()
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except (StackError, HeadraceError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    finally:
        if not keep:
            stack.stop()
    if json_file is not None:
        json_file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    if keep:
        _say_addresses(stack, root)
    if not all(progress.is_good for progress in found):
        raise typer.Exit(1)


def _drops(data: Path | None, scratch: Path) -> list[Path]:
    """The slices' folders, in order of their names."""
    if data is None:
        return write_streamflow(scratch, months=3, users=3000, seed=7)
    if not data.is_dir():
        raise HeadraceError(f"{data} is no folder: DATA names the folder above the slices' folders")
    found = sorted(path.resolve() for path in data.iterdir() if path.is_dir())
    if not found:
        raise HeadraceError(f"{data} has no folder in it: a slice is a folder, as month_000")
    return found


def _fresh(stack: Stack, root: Path) -> None:
    """Stop what an earlier demo left and empty its folder."""
    stack.stop()
    if root.exists():
        shutil.rmtree(root)


def _session(stack: Stack) -> Session:
    settings = stack.settings()
    return Session(settings, make_engine(settings, application="demo"), stack)


def _run(session: Session, drops: Sequence[Path], screen: Screen) -> list[Progress]:
    """Publish a load event for each drop and watch until nothing more will come of any."""
    load_ids = {}
    for folder in drops:
        payload = LoadRequested(
            dataset=DATASET, slice_key=folder.name, source_uri=str(folder), requested_by="demo"
        )
        load_ids[publish(session, payload).id] = folder.name
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while True:
        with session.engine.connect() as connection:
            found = [progress_of(connection, load_id) for load_id in load_ids]
        screen.show(list(zip(load_ids.values(), found, strict=True)))
        if all(progress.is_over(with_model=True) for progress in found):
            return found
        if session.stack and (deaths := session.stack.dead()):
            raise HeadraceError(f"{deaths[0].name} has died; its log ends:\n{deaths[0].tail}")
        if time.monotonic() > deadline:
            raise HeadraceError(f"the slices are not through after {GIVE_UP_SECONDS:g} s")
        time.sleep(POLL_SECONDS)


def _facts(found: Sequence[Progress], total_seconds: float) -> dict[str, Any]:
    """The demo's result as data."""
    return {
        "slices": [_slice_facts(progress) for progress in found],
        "total_seconds": round(total_seconds, 2),
    }


def _slice_facts(progress: Progress) -> dict[str, Any]:
    load: Mapping[str, Any] = progress.load or {}
    promotion = progress.promotion
    model = None
    if promotion is not None:
        wanted = ("roc_auc", "f1", "accuracy")
        model = {
            "name": promotion["model_name"],
            "version": promotion["model_version"],
            "alias": promotion["alias"],
            "metrics": {name: promotion["metrics"].get(name) for name in wanted},
        }
    as_of = load.get("as_of")
    return {
        "dataset": DATASET,
        "slice_key": load.get("slice_key"),
        "as_of": as_of.isoformat() if as_of else None,
        "status": progress.status,
        "reasons": progress.reasons(),
        "rows_in": load.get("rows_in"),
        "rows_loaded": load.get("rows_loaded"),
        "rows_quarantined": load.get("rows_quarantined"),
        "changes": load.get("changes") or {},
        "snapshot_id": progress.snapshot["snapshot_id"] if progress.snapshot else None,
        "dataset_version": promotion["dataset_version"] if promotion else None,
        "model": model,
        "seconds": {stage.value: progress.seconds(stage) for stage in Stage},
    }


def _report(engine: Engine, found: Sequence[Progress], facts: Mapping[str, Any]) -> None:
    """Print the closing tables."""
    typer.echo()
    print_table([_row_cells(each) for each in facts["slices"]], ROWS)
    typer.echo()
    print_table([_result_cells(each) for each in facts["slices"]], RESULTS)
    for each in facts["slices"]:
        for reason in each["reasons"]:
            typer.echo(f"{each['slice_key']}: {reason}")
    seconds = [
        [each["slice_key"] or "", *(_seconds(each["seconds"][stage]) for stage in Stage)]
        for each in facts["slices"]
    ]
    with engine.connect() as connection:
        medians = hops(connection, [progress.load_id for progress in found])
    waits = ["hop before it (median)", *(_seconds(medians.get(stage)) for stage in Stage)]
    typer.echo()
    print_table([*seconds, waits], ["seconds_in", *Stage])
    typer.echo(f"\n{facts['total_seconds']:.1f} s from nothing to the last model, stack included")


def _row_cells(each: Mapping[str, Any]) -> list[str]:
    changes = list(each["changes"].values())
    return [
        str(each["slice_key"] or ""),
        str(each["as_of"] or ""),
        *(str(each[f"rows_{name}"] or 0) for name in ("in", "loaded", "quarantined")),
        *(
            str(sum(change[operation] for change in changes))
            for operation in ("inserted", "updated", "unchanged", "deleted")
        ),
    ]


def _result_cells(each: Mapping[str, Any]) -> list[str]:
    model = each["model"] or {"name": "", "version": "", "alias": "", "metrics": {}}
    return [
        str(each["slice_key"] or ""),
        str(each["snapshot_id"] or each["status"]),
        str(each["dataset_version"] or "")[:12],
        f"{model['name']} {model['version']}".strip(),
        str(model["alias"] or ""),
        *(_score(model["metrics"].get(name)) for name in ("roc_auc", "f1")),
    ]


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _say_addresses(stack: Stack, root: Path) -> None:
    typer.echo("\nthe stack is still up:")
    for process in stack.status():
        typer.echo(f"  {process.name:<12} {process.address}")
    typer.echo(
        f"\nlook around with `headrace slices --root {root}` (loads, snapshots, datasets, models, "
        f"events, …); stop it with `headrace down --root {root}`"
    )
