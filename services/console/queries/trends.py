"""How a dataset developed from slice to slice: rows, classes, NULLs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, text

from shared.database.state_views import REACH_AND_CHANGES

ROWS = f"""
    SELECT l.slice_key, l.as_of, l.rows_quarantined AS quarantined,
           changed.inserted, changed.updated, changed.unchanged, changed.deleted
    FROM (
        SELECT load_id, as_of AS published_as_of
        FROM headrace.slices
        WHERE dataset = :dataset
        ORDER BY as_of DESC
        LIMIT :slices
    ) AS s
    JOIN headrace.loads AS l USING (load_id)
    {REACH_AND_CHANGES}
    ORDER BY s.published_as_of, l.slice_key
"""

CLASSES = """
    SELECT d.as_of, s.slice_key, d.class_counts
    FROM (
        SELECT as_of, snapshot_id, class_counts, created_at
        FROM headrace.training_datasets
        WHERE dataset = :dataset
        ORDER BY as_of DESC, created_at DESC
        LIMIT :slices
    ) AS d
    LEFT JOIN headrace.snapshots AS s USING (snapshot_id)
    ORDER BY d.as_of, d.created_at
"""

NULLS = """
    SELECT s.slice_key, s.as_of, p.table_name, p.rows, p.null_shares
    FROM (
        SELECT slice_key, as_of, load_id
        FROM headrace.slices
        WHERE dataset = :dataset
        ORDER BY as_of DESC
        LIMIT :slices
    ) AS s
    JOIN headrace.table_profiles AS p USING (load_id)
    ORDER BY s.as_of, s.slice_key
"""

STATE = """
    SELECT tables
    FROM headrace.snapshots
    WHERE dataset = :dataset
    ORDER BY as_of DESC, known_at DESC
    LIMIT 1
"""

SHOWN_CLASSES = 7
OTHERS = "all others"


@dataclass(frozen=True)
class ClassShares:
    """Each shown class's share of the rows, by training dataset in the order of their dates."""

    places: Sequence[str]
    names: Sequence[str]
    """The most frequent ones of the newest dataset; the rest is `OTHERS`, at the end."""
    shares: Mapping[str, Sequence[float | None]]
    newest: Mapping[str, int]
    """Rows by class of the newest one, the most frequent first."""


@dataclass(frozen=True)
class NullShares:
    """Shares of NULLs, by table and column, in each slice; None where it had no such table."""

    slices: Sequence[str]
    shares: Mapping[tuple[str, str], Sequence[float | None]]
    """Of the columns that had any."""
    columns: int
    """How many columns there are, those without NULLs too."""


def read_rows_over_time(
    connection: Connection, dataset: str, slices: int
) -> list[Mapping[str, Any]]:
    """What each of the last published slices did to the tables, in the order of their dates."""
    rows = connection.execute(text(ROWS), {"dataset": dataset, "slices": slices})
    return [dict(row) for row in rows.mappings()]


def read_class_shares(connection: Connection, dataset: str, slices: int) -> ClassShares | None:
    """The class shares of the last training datasets, as they are before any balancing."""
    rows = connection.execute(text(CLASSES), {"dataset": dataset, "slices": slices}).all()
    counts = [_both_sides(row.class_counts) for row in rows]
    if not counts or not counts[-1]:
        return None
    newest = dict(sorted(counts[-1].items(), key=lambda item: (-item[1], item[0])))
    names = list(newest)[:SHOWN_CLASSES]
    others = len({name for each in counts for name in each} - set(names))
    shares: dict[str, list[float | None]] = {name: [] for name in names}
    if others:
        shares[OTHERS] = []
    for each in counts:
        total = sum(each.values())
        for name in names:
            shares[name].append(each.get(name, 0) / total if total else None)
        if others:
            rest = total - sum(each.get(name, 0) for name in names)
            shares[OTHERS].append(rest / total if total else None)
    places = [row.slice_key or _day(row.as_of) for row in rows]
    return ClassShares(places, list(shares), shares, newest)


def _both_sides(class_counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for side in ("train_before", "test"):
        for name, rows in class_counts.get(side, {}).items():
            found[name] = found.get(name, 0) + rows
    return found


def read_null_shares(connection: Connection, dataset: str, slices: int) -> NullShares | None:
    """The shares of NULLs of the last published slices, as they were staged."""
    rows = connection.execute(text(NULLS), {"dataset": dataset, "slices": slices}).all()
    if not rows:
        return None
    keys = list(dict.fromkeys(row.slice_key for row in rows))
    shares: dict[tuple[str, str], list[float | None]] = {}
    for row in rows:
        for column, share in row.null_shares.items():
            line = shares.setdefault((row.table_name, column), [None] * len(keys))
            line[keys.index(row.slice_key)] = share
    some = {where: line for where, line in shares.items() if any(line)}
    return NullShares(keys, dict(sorted(some.items())), len(shares))


def read_table_rows(connection: Connection, dataset: str) -> dict[str, int]:
    """Rows by table in the newest snapshot."""
    tables = connection.execute(text(STATE), {"dataset": dataset}).scalar_one_or_none() or {}
    return {name: facts["rows"] for name, facts in tables.items()}


def _day(found: date) -> str:
    return found.isoformat()
