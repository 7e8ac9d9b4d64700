"""`headrace up`, `down`, `ps` and `logs`: the embedded stack on the command line.

Exit codes: 0 all is well; 1 something failed; 3 (`ps` only) not everything runs and is ready;
130 interrupted before everything was up.
"""

import dataclasses
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from cli.scale import OPTION, counts, remarks
from infra.embedded.environment import Broker, given_variables
from infra.embedded.logs import follow, tail
from infra.embedded.services import SERVICES, ensure_installed
from infra.embedded.stack import ProcessStatus, Stack
from shared.errors import HeadraceError
from shared.settings import Settings

DEFAULT_ROOT = Path(".headrace")
SWITCHED = (
    "this stack ran on {old} so far. Its topics stay there, and {new} has none of them: what was "
    "under way goes on with `headrace up --broker {old}`, or here once it is published again (see "
    "'The broker has lost its topics' in docs/operations.md)"
)
WATCH_SECONDS = 0.2
EXIT_FAILED, EXIT_NOT_READY, EXIT_INTERRUPTED = 1, 3, 130
NAME_CELLS = 14
COLOURS = {"ready": "green", "given": "cyan", "not ready": "yellow", "stopped": "dim"}

Root = Annotated[Path, typer.Option("--root", help="The folder with the stack's data.")]

app = typer.Typer(no_args_is_help=True)
out = Console(highlight=False, soft_wrap=True, emoji=False)
err = Console(highlight=False, soft_wrap=True, emoji=False, stderr=True)


def open_stack(root: Path, broker: Broker | None = None) -> Stack:
    """The stack in `root`, less the servers that this process's environment gives instead.

    Raises `BrokerGiven` where one of those is a broker and another is asked for.
    """
    # The children's environment begins as ours; what Headrace reads from it, Settings reads.
    given = given_variables(Settings())
    return Stack(root, given=given, inherited=dict(os.environ), broker=broker)


@app.command()
def up(
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay, watch, and stop everything on Ctrl-C.")
    ] = False,
    servers_only: Annotated[
        bool, typer.Option("--servers-only", help="No services: to run them in a debugger.")
    ] = False,
    scale: Annotated[
        list[str] | None,
        typer.Option(
            "--scale",
            metavar="SERVICE=NUMBER",
            help="How many processes of a service, from now on; repeatable.",
        ),
    ] = None,
    broker: Annotated[
        Broker | None,
        typer.Option(help="Which broker to run, from now on; at first it is tansu."),
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Start every server and service that does not run yet, and wait until all are ready."""
    from cli.migrate import migrate

    wanted = counts(scale or ())
    if wanted and servers_only:
        raise typer.BadParameter("starts services, and --servers-only none", param_hint=OPTION)
    with _errors_explained():
        stack = open_stack(root, broker)
    if broker and stack.broker() not in (None, broker):
        told = SWITCHED.format(old=stack.broker(), new=broker)
        err.print(f"warning: {told}", style="yellow", markup=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _errors_explained():
            stack.start(
                () if servers_only else SERVICES,
                scale=wanted,
                migrate=migrate,
                report=_say_ready,
                report_surplus=_say_stopped,
            )
            if not servers_only:
                _remark(stack)
    except KeyboardInterrupt:
        if foreground:
            _stop(stack)
        else:
            err.print("interrupted; what was started runs on: `headrace down` stops it")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except typer.Exit:
        if foreground:
            _stop(stack)
        raise
    if foreground:
        _watch(stack)


@app.command()
def down(root: Root = DEFAULT_ROOT) -> None:
    """Stop everything that was started, and keep its data."""
    with _errors_explained():
        if not _stop(Stack(root)):
            out.print(f"nothing runs in {root}")


@app.command()
def ps(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """The processes of the stack and their addresses; exit 3 unless all are ready."""
    with _errors_explained():
        stack = Stack(root)
        processes, given = stack.status(), stack.given()
    if as_json:
        facts = {"processes": [dataclasses.asdict(p) for p in processes], "given": given}
        out.print_json(json.dumps(facts, default=str))
    elif not processes:
        err.print(f"no stack was started in {root}: run `headrace up`")
    else:
        _show(processes, given)
        if out.is_terminal:
            out.print(f"logs in {stack.root / 'logs'}; `headrace logs <name>` shows one")
    if not processes or any(process.condition != "ready" for process in processes):
        raise typer.Exit(EXIT_NOT_READY)


@app.command()
def logs(
    service: Annotated[str | None, typer.Argument(help="One server or service; else all.")] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many, of each.")] = 40,
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new lines.")
    ] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Print the ends of the logs, each line under its name unless one was asked for."""
    with _errors_explained():
        paths = Stack(root).logs()
    if service is not None and service not in paths:
        known = ", ".join(paths) or "none yet: run `headrace up`"
        err.print(f"no log of {service!r} in {root / 'logs'}; there are: {known}", style="red")
        raise typer.Exit(EXIT_FAILED)
    if service is not None:
        paths = {service: paths[service]}
    for name, path in paths.items():
        for line in tail(path, lines).splitlines():
            _print_line(name, line, is_only=service is not None)
    if following:
        with suppress(KeyboardInterrupt):
            for name, line in follow(paths):
                _print_line(name, line, is_only=service is not None)


def _watch(stack: Stack) -> None:
    """Stay until a signal, a death, or a `headrace down` elsewhere; leave nothing running."""
    interrupted = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.set()

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    out.print("everything is up; Ctrl-C stops it")
    while not interrupted.wait(WATCH_SECONDS):
        deaths = stack.dead()
        for death in deaths:
            err.print(f"{death.name} died; the end of {death.log}:", style="red")
            typer.echo(death.tail or "(it wrote nothing)", err=True)
        if deaths:
            _stop(stack)
            raise typer.Exit(EXIT_FAILED)
        if not stack.is_up():
            out.print("stopped by another command")
            return
    _stop(stack)


def _stop(stack: Stack) -> list[str]:
    # Once begun it has to end: a second Ctrl-C would leave half of it running. And then as before,
    # or what this process starts later would ignore the signals too.
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        return stack.stop(report=_say_stopped)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remark(stack: Stack) -> None:
    """Say what is odd about the numbers of processes, if anything is."""
    scale = stack.scale()
    if not any(count != 1 for count in scale.values()):
        return
    from shared.messaging.kafka import Admin

    admin = Admin(stack.settings())
    try:
        partitions = max(admin.partitions().values())
    finally:
        admin.close()
    for line in remarks(scale, partitions):
        err.print(f"warning: {line}", style="yellow", markup=False)


@contextmanager
def _errors_explained() -> Iterator[None]:
    try:
        ensure_installed()
        yield
    except HeadraceError as error:
        err.print(str(error), style="red", markup=False)
        raise typer.Exit(EXIT_FAILED) from error


def _say_ready(name: str, seconds: float) -> None:
    out.print(f"{name} ready after {seconds:.1f} s")


def _say_stopped(name: str, seconds: float) -> None:
    out.print(f"{name} stopped in {seconds:.1f} s")


def _print_line(name: str, line: str, *, is_only: bool) -> None:
    typer.echo(line if is_only else f"{name:<{NAME_CELLS}} {line}")


def _show(processes: list[ProcessStatus], given: dict[str, str]) -> None:
    rows = [
        *((p.name, str(p.condition), p.address, str(p.pid or ""), str(p.log)) for p in processes),
        *((variable, "given", address, "", "") for variable, address in given.items()),
    ]
    if not out.is_terminal:
        for row in rows:
            typer.echo("\t".join(row))
        return
    table = Table("name", "condition", Column("address", overflow="fold"), "pid")
    for name, condition, address, pid, _ in rows:
        colour = COLOURS.get(condition, "red")
        table.add_row(name, f"[{colour}]{condition}[/]", address, pid)
    out.print(table)
