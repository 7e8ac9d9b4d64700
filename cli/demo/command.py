"""`headrace demo`: the command."""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from cli.demo.plan import Plan, Writer, make_plan, sample_writer
from cli.demo.screen import Screen, make_screen
from cli.session import EXIT_USAGE, Session, fail
from infra.embedded.environment import Broker
from infra.embedded.errors import StackError
from infra.embedded.services import SERVICES, ensure_installed
from infra.embedded.stack import Stack
from shared.clock import utc_now
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.spec_file import find_spec
from shared.database.engine import make_engine
from shared.errors import HeadraceError
from shared.settings import Settings

DEMO_ROOT = Path(".headrace-demo")
SAMPLE = "sample"
EXIT_INTERRUPTED = 130

app = typer.Typer()


@app.command()
def demo(
    dataset: Annotated[
        str, typer.Option(help="Whose slices: streamflow, rakuten, or one of yours with --data.")
    ] = "streamflow",
    data: Annotated[
        Path | None,
        typer.Option(help="Its files: of slices a folder each, else the whole; else a sample."),
    ] = None,
    scale: Annotated[
        float, typer.Option(min=0.005, max=100, help="The sample's size; 1 is the real one.")
    ] = 1.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the facts there.")] = None,
    faults: Annotated[
        bool,
        typer.Option(
            "--faults", help="The sample's last slice is refused: mend it in the console."
        ),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack up.")] = False,
    broker: Annotated[Broker, typer.Option(help="The broker to run it on.")] = Broker.TANSU,
    root: Annotated[Path, typer.Option(help="Emptied at the start.")] = DEMO_ROOT,
) -> None:
    """Load a dataset's slices, end to end, on an embedded stack with empty data."""
    from cli.demo.facts import gather  # with an HTTP client
    from cli.demo.report import report
    from cli.demo.run import carry_out

    if faults and data is not None:
        fail("--faults is of a sample, and --data has data of its own", EXIT_USAGE)
    try:
        ensure_installed()
    except StackError as error:
        fail(str(error))
    begun = time.monotonic()
    folder = Settings().datasets_dir
    given = {"DATASETS_DIR": str(folder)}
    stack = Stack(root, given=given, inherited=dict(os.environ), broker=broker)
    try:
        spec = find_spec(folder, dataset)
        # What is wrong with either is said before anything is started.
        if data is not None:
            make_plan(spec, data, utc_now().date())
        writer = None if data else sample_writer(dataset, faults=faults)
        screen = make_screen()
        with screen:
            _fresh(stack, root)
            plan = _prepare(stack, spec, data or root / SAMPLE, writer, scale, screen)
            session = _session(stack)
            found = carry_out(session, plan, screen)
        facts = gather(session, plan, found, total_seconds=time.monotonic() - begun)
        report(facts)
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
    _say_what_is_left(stack, root, is_up=keep)
    went_well = [each.progress.is_good for each in found]
    wanted = [True] * len(plan.requests)
    if faults:
        wanted[-1] = False
    if went_well != wanted:
        raise typer.Exit(1)


def _fresh(stack: Stack, root: Path) -> None:
    """Stop what an earlier demo left and empty its folder."""
    stack.stop()
    if root.exists():
        shutil.rmtree(root)


def _prepare(
    stack: Stack,
    spec: DatasetSpec,
    folder: Path,
    writer: Writer | None,
    scale: float,
    screen: Screen,
) -> Plan:
    """Start the stack, and meanwhile have `writer` write a sample into `folder`, if there is one.

    It stays there with the stack's data, so that the next slices can be loaded when all is over.
    """
    from cli.migrate import migrate  # with Alembic

    def write() -> None:
        if writer is not None:
            begun = time.monotonic()
            writer(folder, scale)
            screen.server_ready("the sample", time.monotonic() - begun)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        stack.start(SERVICES, migrate=migrate, report=screen.server_ready)
        writing.result()
    return make_plan(spec, folder, utc_now().date())


def _session(stack: Stack) -> Session:
    settings = stack.settings()
    return Session(settings, make_engine(settings, application="demo"), stack)


def _say_what_is_left(stack: Stack, root: Path, *, is_up: bool) -> None:
    if not is_up:
        typer.echo(
            f"\neverything is stopped; `headrace up --root {root}` brings it back as it was, with "
            "MLflow and its plots"
        )
        return
    typer.echo("\nthe stack is still up:")
    for process in stack.status():
        typer.echo(f"  {process.name:<12} {process.address}")
    if password := stack.settings().console_password:
        typer.echo(f"\nthe console's password: {password.get_secret_value()}")
    typer.echo(
        f"\nlook around with `headrace status --root {root}` (or slices, loads, models, psql, "
        f"…); stop it with `headrace down --root {root}`"
    )
