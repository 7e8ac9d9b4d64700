"""A small catalogue, loaded by shares: texts with all that CSV allows, and their labels."""

import copy
import csv
import io
from collections.abc import Sequence
from typing import Any

from tests.integration.ingestor.conftest import Shop

SPEC: dict[str, Any] = {
    "dataset": "goods",
    "slices": {"increment": {"initial": 40, "step": 3}},
    "tables": {
        "products": {
            "key": ["sku"],
            "file": "X.csv",
            "quarantine_budget": "50%",
            "columns": {
                "sku": "integer",
                "title": {"type": "string", "nullable": False},
                "text": "string",
            },
        },
        "labels": {
            "key": ["sku"],
            "file": "Y.csv",
            "quarantine_budget": "50%",
            "columns": {
                "sku": {"type": "integer", "file": "X.csv"},
                "class": {"type": "integer", "nullable": False},
            },
        },
    },
}


def sku(row: int) -> int:
    """Keys in no order."""
    return 1_000 + row * 7919 % 10_007


def products(rows: int, *, changed: Sequence[int] = ()) -> list[list[object]]:
    """Rows whose titles have newlines, commas and quotes; every third has no text."""
    return [
        [
            row,
            f'Title {row}, "{"x" * (row % 40)}"\nline 2' + ("!" if row in changed else ""),
            "" if row % 3 == 0 else f"<p>text {row}</p>\r\n\r\n&amp;, {'é' * (row % 30)}",
            sku(row),
        ]
        for row in range(rows)
    ]


def labels(rows: int) -> list[list[object]]:
    return [[row, row % 27] for row in range(rows)]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return sink.getvalue().encode()


def x_file(rows: Sequence[Sequence[object]]) -> bytes:
    return table(("", "title", "text", "sku"), rows)


def y_file(rows: Sequence[Sequence[object]]) -> bytes:
    return table(("", "class"), rows)


def catalogue(rows: int, **how: Any) -> dict[str, bytes]:
    return {"X.csv": x_file(products(rows, **how)), "Y.csv": y_file(labels(rows))}


def use_catalogue(shop: Shop) -> Shop:
    shop.spec = copy.deepcopy(SPEC)
    shop.write_spec()
    return shop


def rows_of(outcome: Any) -> tuple[int, int, int]:
    return (outcome.load["first_row"], outcome.load["end_row"], outcome.load["source_rows"])


def accounted(outcome: Any) -> list[tuple[str, int, int, int]]:
    return [
        (t["table"], t["rows_in"], t["rows_loaded"], t["rows_quarantined"])
        for t in outcome.load["tables"]
    ]
