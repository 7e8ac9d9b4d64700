"""How long each step of a run took, for the table at its end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Timings:
    """Steps in the order in which they ended, in seconds, and facts that aren't times."""

    steps: list[tuple[str, float, str]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a block, whether it succeeds or not."""
        begun = time.monotonic()
        note = "failed"
        try:
            yield
            note = ""
        finally:
            self.add(name, time.monotonic() - begun, note)

    def add(self, name: str, seconds: float, note: str = "") -> None:
        """Note a step that was timed elsewhere."""
        self.steps.append((name, seconds, note))

    def lines(self) -> list[str]:
        """The table: a line a step, then a line a fact."""
        width = max((len(name) for name, *_ in [*self.steps, *self.facts]), default=0)
        rows = [f"{name:<{width}}  {seconds:7.1f} s  {note}" for name, seconds, note in self.steps]
        rows += [f"{name:<{width}}  {fact}" for name, fact in self.facts]
        return [row.rstrip() for row in rows]
