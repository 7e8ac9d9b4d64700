"""What a drop's files say, read without our own parser."""

import csv
from pathlib import Path

SPOILED = "many"
"""What `spoil_row` writes where a number belongs."""

Rows = dict[str, tuple[str, ...]]


def _read(drop: Path, table: str) -> list[dict[str, str]]:
    with (drop / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rows_of(drop: Path, table: str) -> Rows:
    """A table's rows by key, without the one that `spoil_row` made."""
    return {
        row["user_id"]: tuple(row.values())
        for row in _read(drop, table)
        if SPOILED not in row.values()
    }


def records_of(drop: Path, table: str) -> int:
    """How many records a table's file has, good or bad."""
    return len(_read(drop, table))


def change_cell(drop: Path, table: str, row: int, column: str, value: str) -> None:
    """Write `value` into one cell of a drop."""
    rows = _read(drop, table)
    rows[row][column] = value
    with (drop / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def spoil_row(drop: Path) -> None:
    """Make the last usage row of a drop one that can't be typed."""
    change_cell(drop, "usage_agg_30d", -1, "skips_7d", SPOILED)
