"""Tables on a terminal, aligned plain text elsewhere, JSON on request."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Row = Mapping[str, Any]


def show(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool, nothing: str) -> None:
    """Print `rows`; in JSON whole, else their `columns`. `nothing` is said where there is none."""
    if as_json:
        typer.echo(json.dumps([dict(row) for row in rows], default=jsonable, indent=2))
    elif not rows:
        typer.echo(nothing)
    else:
        print_table([[text(row.get(column)) for column in columns] for row in rows], columns)


def print_table(cells: Sequence[Sequence[str]], columns: Sequence[str], title: str = "") -> None:
    """Print a table; numbers are set to the right."""
    headings = [column.replace("_", " ") for column in columns]
    numeric = [all(_is_number(row[i]) for row in cells) for i in range(len(columns))]
    if sys.stdout.isatty():
        table = Table(
            title=title or None,
            title_justify="left",
            title_style="bold",
            header_style="bold",
            box=SIMPLE_HEAD,
            pad_edge=False,
            show_edge=False,
        )
        for heading, is_numeric in zip(headings, numeric, strict=True):
            table.add_column(heading, justify="right" if is_numeric else "left", overflow="fold")
        for row in cells:
            table.add_row(*row)
        Console(highlight=False).print(table)
        return
    if title:
        typer.echo(title)
    widths = [max(len(line[i]) for line in [headings, *cells]) for i in range(len(columns))]
    for line in [headings, *cells]:
        padded = [
            cell.rjust(width) if is_numeric else cell.ljust(width)
            for cell, width, is_numeric in zip(line, widths, numeric, strict=True)
        ]
        typer.echo("  ".join(padded).rstrip())


def text(value: Any) -> str:
    """How a value stands in a table."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _is_number(cell: str) -> bool:
    return not cell.strip() or cell.replace(".", "", 1).replace("-", "", 1).isdigit()


def jsonable(value: Any) -> str:
    """How a value that JSON has no form for is written: a moment as ISO 8601, else as text."""
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value)
