"""How an overview is written: the same lines in colour on a terminal and plain elsewhere."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.database.overview import ChampionNow, DatasetOverview, WaitingLoad

BAR_CELLS = 34
LABEL_CELLS = 11
CLASSES_SHOWN = 2
"""Of the largest and of the smallest classes, where there are more."""
LISTED = 3
"""How many rejected or waiting loads are named; the rest is counted."""
STATUS_STYLES = {"published": "green", "unchanged": "green", "rejected": "red", "failed": "red"}

Line = tuple[str, Text]


def print_overview(console: Console, each: DatasetOverview, now: datetime) -> None:
    """Print a dataset's part of the glance."""
    console.print(heading(each), soft_wrap=True)
    if not console.is_terminal:
        for label, value in lines(each, now):
            console.print(f"  {label:<{LABEL_CELLS}}{value.plain}", soft_wrap=True)
        return
    table = Table.grid(padding=(0, 0))
    table.add_column(width=LABEL_CELLS + 2, style="dim")
    table.add_column(overflow="fold")
    for label, value in lines(each, now):
        table.add_row(f"  {label}", value)
    console.print(table)


def heading(each: DatasetOverview) -> Text:
    """The dataset's name and how much of it is in: a share as a bar, else the number of slices."""
    said = Text(f"{each.dataset}  ", style="bold")
    if each.percentage is not None:
        full = int(each.percentage / 100 * BAR_CELLS)
        said.append("█" * full, style="green")
        said.append("░" * (BAR_CELLS - full), style="dim")
        said.append(f"  {each.percentage:g} %", style="bold")
    else:
        said.append(counted(each.slices, "slice"))
    return said


def lines(each: DatasetOverview, now: datetime) -> list[Line]:
    """What there is to say of a dataset, label and value; what is in order is said shortly."""
    if each.fault is not None:
        return [("spec", Text(each.fault, style="red"))]
    said = [("slice", _slice(each))]
    if each.rows:
        said.append(("rows", Text(" · ".join(f"{t} {n:,}" for t, n in each.rows.items()))))
    if each.classes:
        said.append(("classes", _classes(each)))
    if each.missing_images:
        missing = Text(f"{each.missing_images:,} missing", style="yellow")
        said.append(("pictures", missing))
    said.append(("last load", _last_load(each, now)))
    said.append(("next run", _next_run(each, now)))
    if each.trains or each.champion:
        said.append(("champion", _champion(each.champion)))
    said.append(("waiting", _waiting(each, now)))
    said += [("rejected", text) for text in _rejected(each)]
    said += [("withdrawn", text) for text in _withdrawn(each, now)]
    if each.dead_letters:
        dead = f"{counted(each.dead_letters, 'dead letter')}: see `headrace dead list`"
        said.append(("dead", Text(dead, style="red")))
    return said


def ago(then: datetime, now: datetime) -> str:
    """How long `then` is past, in its largest unit."""
    return f"{_span(now - then)} ago"


def counted(number: int, noun: str) -> str:
    """`1 event`, `2 events`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _span(length: timedelta) -> str:
    seconds = max(0, int(length.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _slice(each: DatasetOverview) -> Text:
    if each.slice_key is None:
        hint = f"none yet: `headrace load {each.dataset} --from <folder>`"
        return Text(hint, style="yellow")
    loads = "" if each.percentage is None else f", {counted(each.slices, 'slice')} in all"
    return Text(f"{each.slice_key} as of {each.as_of}{loads}")


def _classes(each: DatasetOverview) -> Text:
    by_size = sorted(each.classes.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{name} {rows:,}" for name, rows in by_size]
    if len(named) > 2 * CLASSES_SHOWN:
        named = [*named[:CLASSES_SHOWN], "…", *named[-CLASSES_SHOWN:]]
    return Text(f"{len(by_size)}: {' · '.join(named)}")


def _last_load(each: DatasetOverview, now: datetime) -> Text:
    load = each.last_load
    if load is None:
        return Text("none yet", style="dim")
    said = Text(f"{load.slice_key} ")
    said.append(load.status, style=STATUS_STYLES.get(load.status, "yellow"))
    return said.append(f" {ago(load.at, now)}")


def _next_run(each: DatasetOverview, now: datetime) -> Text:
    if not each.is_scheduled:
        return Text("no schedule in the spec", style="dim")
    if each.is_paused:
        return Text(f"paused: `headrace schedule resume {each.dataset}`", style="yellow")
    if each.next_run is None:
        return Text("never", style="dim")
    local = each.next_run.astimezone(ZoneInfo(each.time_zone or "UTC"))
    return Text(f"{local:%a %Y-%m-%d %H:%M} {each.time_zone}, in {_span(each.next_run - now)}")


def _champion(champion: ChampionNow | None) -> Text:
    if champion is None:
        return Text("none yet", style="dim")
    return Text.assemble(
        (f"{champion.model_name} {champion.model_version}", "bold"),
        f", {champion.metric} {champion.score:.4f}, data of {champion.as_of}",
    )


def _waiting(each: DatasetOverview, now: datetime) -> Text:
    parts = [_waiting_load(load, now) for load in each.waiting[:LISTED]]
    if len(each.waiting) > LISTED:
        parts.append(f"{len(each.waiting) - LISTED} more")
    if each.unpublished_events and each.oldest_unpublished:
        age = _span(now - each.oldest_unpublished)
        parts.append(f"{counted(each.unpublished_events, 'event')} to publish, oldest {age}")
    return Text("; ".join(parts), style="yellow") if parts else Text("nothing", style="dim")


def _waiting_load(load: WaitingLoad, now: datetime) -> str:
    if load.stage is None:
        where = "requested"
    elif load.is_running:
        where = f"{load.stage} running" + (f", try {load.attempts}" if load.attempts > 1 else "")
    else:
        where = f"{load.stage} done"
    return f"{load.slice_key} {where} ({_span(now - load.since)})"


def _withdrawn(each: DatasetOverview, now: datetime) -> Sequence[Text]:
    said = [
        Text(f"{gone.slice_key} {ago(gone.at, now)} by {gone.requested_by}: {gone.reason}")
        for gone in each.withdrawn[:LISTED]
    ]
    if len(each.withdrawn) > LISTED:
        more = counted(len(each.withdrawn) - LISTED, "more slice")
        said.append(Text(f"{more}: `headrace slices {each.dataset}`"))
    return said


def _rejected(each: DatasetOverview) -> Sequence[Text]:
    said = []
    for found in each.rejected[:LISTED]:
        more = f" (and {found.reasons - 1} more)" if found.reasons > 1 else ""
        text = f"{found.slice_key}: {found.reason}{more}: `headrace rejects {found.load_id[:8]}`"
        said.append(Text(text, style="red"))
    if len(each.rejected) > LISTED:
        more = counted(len(each.rejected) - LISTED, "more slice")
        said.append(Text(f"{more}: `headrace rejects`", style="red"))
    return said
