"""What the demo shows while it runs: a live table on a terminal, plain lines elsewhere."""

import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cli.progress import Progress
from shared.contracts.events import Stage
from shared.database.statuses import StageState

Slices = Sequence[tuple[str, Progress | None]]
"""Slice names, and how each stands; None for one that was not asked for yet."""


class Screen(Protocol):
    """Where the demo shows its progress, for the time of a `with` block."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def server_ready(self, name: str, seconds: float) -> None:
        """A part of the stack is ready. Called from threads."""

    def show(self, slices: Slices) -> None:
        """How each slice stands now."""


def make_screen() -> Screen:
    """The screen that standard output can show."""
    return LiveScreen() if sys.stdout.isatty() else PlainScreen()


class PlainScreen:
    """A line for each thing that happens."""

    def __init__(self) -> None:
        self._told: set[tuple[str, Stage, str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to end."""

    def server_ready(self, name: str, seconds: float) -> None:
        """A line for a part of the stack."""
        typer.echo(f"{seconds:6.1f} s  ready: {name}")

    def show(self, slices: Slices) -> None:
        """A line for each stage that began or ended since the last call."""
        for name, progress in slices:
            for stage, run in progress.runs.items() if progress else ():
                what = (name, stage, run["state"])
                if what not in self._told:
                    self._told.add(what)
                    seconds = progress.seconds(stage) if progress else None
                    took = f" in {seconds:.2f} s" if seconds is not None else ""
                    typer.echo(f"{name}  {stage:<8}  {run['state']}{took}")


class LiveScreen:
    """A table that is drawn again and again."""

    def __init__(self) -> None:
        self._live = Live(
            console=Console(), refresh_per_second=10, transient=False, vertical_overflow="visible"
        )
        self._lock = threading.Lock()
        self._ready: list[str] = []
        self._slices: Slices = ()
        self._spinner = Spinner("dots")

    def __enter__(self) -> Self:
        self._live.start()
        self._draw()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def server_ready(self, name: str, seconds: float) -> None:
        """Add a part of the stack to the line of those that are ready."""
        with self._lock:
            self._ready.append(f"{name} {seconds:.1f} s")
            self._draw()

    def show(self, slices: Slices) -> None:
        """Draw the slices anew."""
        with self._lock:
            self._slices = slices
            self._draw()

    def _draw(self) -> None:
        stack = Text("stack ready: " + (" · ".join(self._ready) or "nothing yet"), style="dim")
        table = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column("slice")
        for stage in Stage:
            table.add_column(stage.value, min_width=8)
        table.add_column("so far", overflow="fold")
        for name, progress in self._slices:
            table.add_row(
                name, *(self._cell(progress, stage) for stage in Stage), _outcome(progress)
            )
        self._live.update(Group(stack, table) if self._slices else stack)

    def _cell(self, progress: Progress | None, stage: Stage) -> Text | Spinner:
        run = progress.runs.get(stage) if progress else None
        if progress is None or run is None:
            return Text("·", style="dim")
        if run["state"] == StageState.RUNNING:
            return self._spinner
        if run["state"] == StageState.FAILED:
            return Text("failed", style="red")
        return Text(f"{progress.seconds(stage):.2f} s", style="green")


def _outcome(progress: Progress | None) -> Text:
    if progress is None:
        return Text("")
    if not progress.is_good:
        reasons = progress.reasons()
        return Text(f"{progress.status}: {reasons[0]}" if reasons else progress.status, style="red")
    if progress.promotion is not None:
        made = progress.promotion
        said = f"version {made['model_version']}: {made['score']:.4f}"
        return Text(f"{said} {made['alias'] or 'no alias'}", style="green")
    return Text(progress.status)
