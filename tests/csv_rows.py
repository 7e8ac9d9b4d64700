"""Editing the rows of a CSV file, as somebody who spoils or mends a drop does."""

import csv
from collections.abc import Callable
from pathlib import Path

Row = dict[str, str]


def change(path: Path, edit: Callable[[list[Row]], object]) -> None:
    """Have `edit` change the rows of a CSV file."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0])
    edit(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
