"""The arithmetic of a benchmark: paired ratios, medians, targets and the table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

FIRST, UNCHANGED = "first", "unchanged"
LOADS = (FIRST, UNCHANGED)
LIMIT, HEADRACE, WHOLE = "raw COPY", "Headrace", "Headrace, with landing and export"
MEMORY_TARGET_BYTES = 300_000_000
NOT_RUN = "not run"


@dataclass(frozen=True)
class Result:
    """One contender in one run: seconds by load, and the peak memory of its processes."""

    contender: str
    seconds: dict[str, float]
    peak_bytes: dict[str, int] = field(default_factory=dict)
    import_bytes: dict[str, int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """All contenders once, one after the other; `load_average` is the machine's at its start."""

    results: Sequence[Result]
    load_average: float

    def seconds(self, contender: str, load: str) -> float | None:
        """What the contender took; None where it did not do that load."""
        for result in self.results:
            if result.contender == contender:
                return result.seconds.get(load)
        return None


@dataclass(frozen=True)
class Target:
    """A promise and what was measured of it; `measured` is None where a part was not run."""

    promise: str
    limit: float
    measured: float | None

    @property
    def is_met(self) -> bool | None:
        """Whether the promise holds; None where nobody can say."""
        return None if self.measured is None else self.measured <= self.limit

    def __str__(self) -> str:
        verdict = {None: NOT_RUN, True: "met", False: "MISSED"}[self.is_met]
        measured = "" if self.measured is None else f" ({self.measured:.3g})"
        return f"{verdict}: {self.promise}{measured}"


@dataclass(frozen=True)
class Comparison:
    """Several runs at one number of rows."""

    rows: int
    runs: Sequence[Run]

    def seconds(self, contender: str, load: str) -> float | None:
        """The median over the runs."""
        return _median(run.seconds(contender, load) for run in self.runs)

    def ratio(self, contender: str, load: str, base: str, base_load: str) -> float | None:
        """The median of the ratios within each run."""
        return _median(
            None if over is None or not under else over / under
            for over, under in (
                (run.seconds(contender, load), run.seconds(base, base_load)) for run in self.runs
            )
        )

    def over_limit(self, contender: str, load: str) -> float | None:
        """How many times the time of raw COPY it took."""
        return self.ratio(contender, load, LIMIT, FIRST)

    def rows_per_second(self, contender: str, load: str) -> float | None:
        """By the median of the seconds."""
        seconds = self.seconds(contender, load)
        return self.rows / seconds if seconds else None

    def peak_bytes(self, contender: str) -> dict[str, int]:
        """The largest peak of any run, by process."""
        return self._largest(contender, "peak_bytes")

    def import_bytes(self, contender: str) -> dict[str, int]:
        """What each process had before its first load."""
        return self._largest(contender, "import_bytes")

    def targets(self) -> list[Target]:
        """The targets that Headrace has set itself."""
        peaks = self.peak_bytes(HEADRACE).values()
        return [
            Target("first load, at most 6 times raw COPY", 6.0, self.over_limit(HEADRACE, FIRST)),
            Target(
                "unchanged load, at most 3.5 times raw COPY",
                3.5,
                self.over_limit(HEADRACE, UNCHANGED),
            ),
            Target(
                "first load, at most 1/8 of pandas",
                1 / 8,
                self.ratio(HEADRACE, FIRST, "pandas", FIRST),
            ),
            Target(
                "peak memory of each process under 300 MB",
                MEMORY_TARGET_BYTES / 1e6,
                max(peaks) / 1e6 if peaks else None,
            ),
        ]

    def table(self, contenders: Sequence[str]) -> str:
        """The comparison for people, with a line for each contender, also those not run."""
        head = [
            "",
            "first load",
            "rows/s",
            "x COPY",
            "unchanged",
            "rows/s",
            "x COPY",
            "peak memory",
        ]
        lines = [head, *(self._line(contender) for contender in contenders)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if place == 0 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def _line(self, contender: str) -> list[str]:
        cells = [contender]
        for load in LOADS:
            seconds = self.seconds(contender, load)
            if seconds is None:
                absent = "-" if self.seconds(contender, FIRST) is not None else NOT_RUN
                cells += [absent, "", ""]
                continue
            ratio = self.over_limit(contender, load)
            cells += [
                f"{seconds:.2f} s",
                f"{self.rows / seconds:,.0f}",
                "" if ratio is None else f"{ratio:.2f}",
            ]
        peaks = self.peak_bytes(contender).values()
        return [*cells, " / ".join(f"{peak / 1e6:.0f} MB" for peak in peaks)]

    def _largest(self, contender: str, name: str) -> dict[str, int]:
        largest: dict[str, int] = {}
        for run in self.runs:
            for result in run.results:
                if result.contender == contender:
                    for process, value in getattr(result, name).items():
                        largest[process] = max(value, largest.get(process, 0))
        return largest


def _median(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return median(present) if present else None
