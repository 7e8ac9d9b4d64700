"""Two distributions over the same bins: what the measures compare, and what is drawn. Pure."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MISSING = "missing"
OTHERS = "others"
LABEL_CHARACTERS = 60


@dataclass(frozen=True)
class Bins:
    """Bins in order, and how many rows (or words) of each side fall into them."""

    labels: tuple[str, ...]
    baseline: NDArray[np.int64]
    current: NDArray[np.int64]

    def drawn(self) -> list[dict[str, object]]:
        """As they are kept, to be drawn."""
        return [
            {"label": label, "baseline": int(before), "current": int(now)}
            for label, before, now in zip(self.labels, self.baseline, self.current, strict=True)
        ]


def of_numbers(baseline: NDArray[np.float64], current: NDArray[np.float64], number: int) -> Bins:
    """`number` bins of about equally many of the baseline's numbers, one below and one above all
    of them, and one for what is missing (NaN). Values that repeat make fewer bins.
    """
    known = baseline[~np.isnan(baseline)]
    if not len(known):
        known = current[~np.isnan(current)]
    if not len(known):
        return Bins((MISSING,), np.array([len(baseline)]), np.array([len(current)]))
    inner = np.quantile(known, np.linspace(0, 1, number + 1)[1:], method="inverted_cdf")
    least = float(known.min())
    # A bin has its upper edge; so what is below all ends just before the least.
    edges = np.unique([np.nextafter(least, -np.inf), *inner])
    shown = [least, *edges[1:]]
    labels = (
        f"< {least:.6g}",
        *(_between(low, high) for low, high in zip([least, *shown[1:-1]], shown[1:], strict=True)),
        f"> {shown[-1]:.6g}",
        MISSING,
    )
    return Bins(labels, _counted(baseline, edges), _counted(current, edges))


def of_categories(baseline: Mapping[str, int], current: Mapping[str, int], number: int) -> Bins:
    """The categories with the largest shares on either side, `number` at most and by name, and the
    rest as one.
    """
    names = largest(baseline, current, number)
    before, now = tally(baseline, names), tally(current, names)
    if len(baseline.keys() | current.keys()) == len(names):
        return Bins(tuple(map(_short, names)), before[:-1], now[:-1])
    return Bins((*map(_short, names), OTHERS), before, now)


def largest(baseline: Mapping[str, int], current: Mapping[str, int], number: int) -> Sequence[str]:
    """The `number` names with the largest shares on either side, sorted."""
    weights: dict[str, float] = {}
    for counts in (baseline, current):
        rows = sum(counts.values())
        for name, count in counts.items():
            weights[name] = max(weights.get(name, 0.0), count / rows)
    return sorted(heapq.nsmallest(number, weights, key=lambda name: (-weights[name], name)))


def tally(counts: Mapping[str, int], names: Sequence[str]) -> NDArray[np.int64]:
    """The counts of `names`, and that of all others."""
    picked = [counts.get(name, 0) for name in names]
    return np.array([*picked, sum(counts.values()) - sum(picked)], np.int64)


def _counted(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    known = values[~np.isnan(values)]
    counts = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 1)
    return np.append(counts, len(values) - len(known)).astype(np.int64)


def _between(low: float, high: float) -> str:
    return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"


def _short(name: str) -> str:
    return name if len(name) <= LABEL_CHARACTERS else name[: LABEL_CHARACTERS - 1] + "…"
