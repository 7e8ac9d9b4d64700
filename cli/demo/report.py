"""The closing tables of a demo."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from cli.demo.facts import EVENT_TO_MODEL, Facts
from cli.output import print_table
from shared.contracts.events import Stage

ROWS = ("slice", "rows_in", "quarantined", "inserted", "updated", "unchanged", "deleted")
MODELS = ("slice", "version", "alias")
CLASSES = ("class", "train_before", "train_after", "test")
NOT_SHOWN = ("dataset", "slice_key", "last_")
"""Columns of `current_data_state` that begin like this: they head the table or mean little here."""
CLASSES_SHOWN = 4
"""Of the largest and of the smallest classes, where there are more than twice as many."""


def report(facts: Facts) -> None:
    """Print what was loaded, what became of the dataset, and what models came of it."""
    slices = facts["slices"]
    _print("what each slice brought", [_row_cells(each) for each in slices], ROWS)
    _report_state(slices)
    _report_classes(slices)
    _report_models(slices)
    for each in slices:
        for reason in each["reasons"]:
            typer.echo(f"{each['slice_key']}: {reason}")
    _report_seconds(facts)
    _report_plots(slices)
    typer.echo(f"\n{facts['total_seconds']:.1f} s in all, the start of the stack included")


def _print(title: str, cells: Sequence[Sequence[str]], columns: Sequence[str]) -> None:
    if cells:
        typer.echo()
        print_table(cells, columns, title)


def _report_state(slices: Sequence[Facts]) -> None:
    """`current_data_state` after each slice; where they queued up, the last one's alone."""
    states = [each for each in slices if each["current_data_state"]]
    if not states:
        return
    names = [n for n in states[0]["current_data_state"] if not n.startswith(NOT_SHOWN)]
    cells = [
        [name.replace("_", " "), *(_said(each["current_data_state"][name]) for each in states)]
        for name in names
    ]
    after = "each slice" if len(states) > 1 else "the last slice"
    _print(f"current_data_state after {after}", cells, ("", *(s["slice_key"] for s in states)))


def _report_classes(slices: Sequence[Facts]) -> None:
    built = [each for each in slices if each["training_dataset"]]
    if not built:
        return
    counts = built[-1]["training_dataset"]["class_counts"]
    before: Mapping[str, int] = counts["train_before"]
    names = sorted(before, key=lambda name: (-before[name], name))
    if len(names) > 2 * CLASSES_SHOWN:
        names = [*names[:CLASSES_SHOWN], "…", *names[-CLASSES_SHOWN:]]
    cells = [
        [name, *(_said(counts[side].get(name)) for side in ("train_before", "train", "test"))]
        for name in names
    ]
    _print(f"{len(before)} classes in the dataset of {built[-1]['slice_key']}", cells, CLASSES)
    typer.echo(f"largest over smallest: {_ratio(before)} before, {_ratio(counts['train'])} after")


def _report_models(slices: Sequence[Facts]) -> None:
    made = [each for each in slices if each["model"]]
    if not made:
        return
    names = list(made[0]["model"]["metrics"])
    cells = [
        [
            str(each["slice_key"]),
            each["model"]["version"],
            str(each["model"]["alias"] or ""),
            *(_score(each["model"]["metrics"].get(name)) for name in names),
        ]
        for each in made
    ]
    _print(f"versions of {made[0]['model']['name']}", cells, (*MODELS, *names))
    for each in made:
        decision = each["model"]["decision"].replace("_", " ")
        typer.echo(f"{each['slice_key']}: {decision}: {each['model']['reason']}")


def _report_seconds(facts: Facts) -> None:
    columns = (*Stage, EVENT_TO_MODEL)
    cells = [
        [each["slice_key"] or "", *(_seconds(each["seconds"][name]) for name in columns)]
        for each in facts["slices"]
    ]
    hops = facts["hop_seconds"]
    waits = ["median hop", *(_seconds(hops.get(name)) for name in columns)]
    _print("seconds", [*cells, waits], ("in", *columns))


def _report_plots(slices: Sequence[Facts]) -> None:
    last = next((each for each in reversed(slices) if each["model"]), None)
    if last is None:
        return
    typer.echo()
    for what in ("training_dataset", "model"):
        run = last[what]
        if run and run["run_url"]:
            plots = ", ".join(path.removeprefix("plots/") for path in run["plots"])
            typer.echo(f"plots of {last['slice_key']} in MLflow: {plots}\n  {run['run_url']}")


def _row_cells(each: Facts) -> list[str]:
    changes = list(each["changes"].values())
    return [
        str(each["slice_key"] or ""),
        *(_said(each[f"rows_{name}"] or 0) for name in ("in", "quarantined")),
        *(
            _said(sum(change[operation] for change in changes))
            for operation in ("inserted", "updated", "unchanged", "deleted")
        ),
    ]


def _ratio(counts: Mapping[str, int]) -> str:
    return f"{max(counts.values()) / max(1, min(counts.values())):.1f}"


def _said(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
