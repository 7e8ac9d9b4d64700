"""The geometry of the pages' charts; `templates/charts.html` draws it. Pure.

A chart is drawn in a box of 1000 by 100 that is stretched to its place, so strokes don't scale and
texts stand outside. Colours are classes of the stylesheet: `c1` to `c8`, or a name of its own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 1000.0, 100.0
COLOURS = 8
_GAP = 0.18
"""Of a bar's place, what is left free."""
_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Dot:
    """A point of a line, with what is said of it."""

    x: float
    y: float
    title: str
    is_marked: bool = False


@dataclass(frozen=True)
class Line:
    """A series. `path` is SVG's; it has gaps where values are missing."""

    name: str
    colour: str
    path: str
    dots: Sequence[Dot]


@dataclass(frozen=True)
class Bar:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    title: str


@dataclass(frozen=True)
class Chart:
    """Lines or bars between `low` and `high`, from `first` to `last`."""

    label: str
    """What it shows, in words: for who can't see it."""
    low: str
    high: str
    first: str
    last: str
    lines: Sequence[Line] = ()
    bars: Sequence[Bar] = ()
    legend: Sequence[tuple[str, str]] = ()
    """Name and colour."""


@dataclass(frozen=True)
class Series:
    """Values in the order of the chart's places; None where there is none."""

    name: str
    values: Sequence[float | None]
    marks: Sequence[bool] = ()
    colour: str = ""


def colour(number: int) -> str:
    """The class of the `number`-th series, counted from 0; they repeat."""
    return f"c{number % COLOURS + 1}"


def line_chart(
    label: str,
    places: Sequence[str],
    series: Sequence[Series],
    write: Callable[[float], str],
    *,
    low: float | None = None,
    high: float | None = None,
) -> Chart:
    """Lines over `places`, of which each has a value in every series.

    Without `low` and `high` the axis ends close around the values.
    """
    found = [v for each in series for v in each.values if v is not None]
    bottom, top = _ends(found, low, high)

    def at(number: int, value: float) -> tuple[float, float]:
        x = WIDTH / 2 if len(places) == 1 else WIDTH * number / (len(places) - 1)
        return round(x, 1), round(HEIGHT - HEIGHT * (value - bottom) / (top - bottom), 1)

    lines = []
    for number, each in enumerate(series):
        points = [None if v is None else at(i, v) for i, v in enumerate(each.values)]
        marks = each.marks or [False] * len(points)
        dots = [
            Dot(*point, f"{each.name}, {place}: {write(value)}", is_marked)
            for point, place, value, is_marked in zip(
                points, places, each.values, marks, strict=True
            )
            if point is not None and value is not None
        ]
        lines.append(Line(each.name, each.colour or colour(number), _path(points), dots))
    return Chart(
        label,
        write(bottom),
        write(top),
        places[0] if places else "",
        places[-1] if len(places) > 1 else "",
        lines=lines,
        legend=[(line.name, line.colour) for line in lines],
    )


def stacked_chart(
    label: str,
    places: Sequence[str],
    parts: Sequence[tuple[str, str]],
    values: Sequence[Mapping[str, float]],
    write: Callable[[float], str],
) -> Chart:
    """A bar for each place, of `parts` (name and colour) laid on one another from below."""
    top = _round_up(max((sum(v.get(name, 0) for name, _ in parts) for v in values), default=0))
    step = WIDTH / max(len(places), 1)
    bars = []
    for number, (place, parts_of) in enumerate(zip(places, values, strict=True)):
        base = HEIGHT
        for name, tone in parts:
            amount = parts_of.get(name, 0)
            if amount <= 0:
                continue
            height = HEIGHT * amount / top
            base -= height
            bars.append(
                Bar(
                    *(round(step * (number + _GAP / 2), 1), round(base, 2)),
                    *(round(step * (1 - _GAP), 1), round(height, 2)),
                    colour=tone,
                    title=f"{place}: {write(amount)} {name}",
                )
            )
    first, last = (places[0], places[-1]) if places else ("", "")
    return Chart(label, write(0), write(top), first, last, bars=bars, legend=list(parts))


def grouped_chart(
    label: str,
    places: Sequence[str],
    series: Sequence[Series],
    write: Callable[[float], str],
) -> Chart:
    """For each place a bar of each series, side by side."""
    top = max((v for each in series for v in each.values if v is not None), default=0) or 1
    step = WIDTH / max(len(places), 1)
    width = step * (1 - _GAP) / max(len(series), 1)
    bars = []
    for order, each in enumerate(series):
        tone = each.colour or colour(order)
        for number, (place, value) in enumerate(zip(places, each.values, strict=True)):
            if value is None:
                continue
            height = HEIGHT * value / top
            bars.append(
                Bar(
                    round(step * (number + _GAP / 2) + width * order, 1),
                    round(HEIGHT - height, 2),
                    round(width, 1),
                    round(height, 2),
                    colour=tone,
                    title=f"{each.name}, {place}: {write(value)}",
                )
            )
    legend = [(each.name, each.colour or colour(i)) for i, each in enumerate(series)]
    first, last = (places[0], places[-1]) if places else ("", "")
    return Chart(label, write(0), write(top), first, last, bars=bars, legend=legend)


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    parts, is_down = [], False
    for point in points:
        if point is None:
            is_down = False
            continue
        parts.append(f"{'L' if is_down else 'M'}{point[0]:g} {point[1]:g}")
        is_down = True
    return "".join(parts)


def _ends(found: Sequence[float], low: float | None, high: float | None) -> tuple[float, float]:
    bottom = min(found, default=0.0) if low is None else low
    top = max(found, default=1.0) if high is None else high
    if top - bottom < 1e-9:
        bottom, top = bottom - abs(bottom) * 0.05 - 1e-6, top + abs(top) * 0.05 + 1e-6
    margin = (top - bottom) * 0.06
    return (
        bottom - margin if low is None else bottom,
        top + margin if high is None else top,
    )


def _round_up(value: float) -> float:
    """The next number after `value` that reads well on an axis."""
    if value <= 0:
        return 1.0
    scale = 10.0 ** math.floor(math.log10(value))
    return next(step * scale for step in _NICE if step * scale >= value - 1e-9)
