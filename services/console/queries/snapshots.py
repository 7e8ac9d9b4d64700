"""Snapshots, and what differs between two of them: found in the tables' history.

Names of ours beside a table's columns begin with `_`, which no column of a spec does.

A row of history belongs to a snapshot (`as_of`, `known_at`) if it is of no later date and wasn't
learned later. Only keys of which a row belongs to one of the two and not to the other can differ,
so only their states are looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, text

from shared.contracts.dataset_spec import DatasetSpec
from shared.database.sql_names import column_list, quoted

SNAPSHOTS = """
    SELECT snapshot_id, slice_key, load_id, as_of, known_at, tables, pruned_at,
           count(*) OVER () AS total
    FROM headrace.snapshots
    WHERE dataset = :dataset
    ORDER BY as_of DESC, known_at DESC
    LIMIT :rows OFFSET :first
"""
COUNT = "SELECT count(*) FROM headrace.snapshots WHERE dataset = :dataset"
ONE = """
    SELECT snapshot_id, slice_key, load_id, as_of, known_at, tables, pruned_at
    FROM headrace.snapshots
    WHERE dataset = :dataset AND snapshot_id = :snapshot_id
"""
BEFORE = """
    SELECT snapshot_id, slice_key, load_id, as_of, known_at, tables, pruned_at
    FROM headrace.snapshots
    WHERE dataset = :dataset AND (as_of, known_at) < (:as_of, :known_at)
    ORDER BY as_of DESC, known_at DESC
    LIMIT 1
"""
APPLIED = "SELECT spec FROM headrace.datasets WHERE dataset = :dataset"

_IN_FIRST = "(as_of <= :first_as_of AND recorded_at <= :first_known_at)"
_IN_SECOND = "(as_of <= :second_as_of AND recorded_at <= :second_known_at)"
_BOTH = "NOT _a_gone AND NOT _b_gone"
SAMPLES_SHOWN = 8
"""Rows of each kind of difference."""


@dataclass(frozen=True)
class Snapshot:
    """A frozen state. `tables` has the facts of each, `rows` among them."""

    snapshot_id: str
    slice_key: str
    load_id: str
    as_of: date
    known_at: datetime
    tables: Mapping[str, Mapping[str, Any]]
    pruned_at: datetime | None

    @property
    def rows(self) -> int:
        """Of all tables together."""
        return sum(facts["rows"] for facts in self.tables.values())


@dataclass(frozen=True)
class ColumnChange:
    """How many of a table's rows that are in both have another value in this column."""

    column: str
    rows: int
    share: float
    """Of the rows that are in both."""


@dataclass(frozen=True)
class TableDifference:
    """A table of two snapshots."""

    table: str
    first_rows: int | None
    """None where the first one hasn't the table."""
    second_rows: int | None
    inserted: int
    updated: int
    deleted: int
    unchanged: int
    columns: Sequence[ColumnChange]
    """Those with any change, the most changed first."""

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return not (self.inserted or self.updated or self.deleted)


@dataclass(frozen=True)
class RowDifference:
    """A row that differs: column, before and after of what changed.

    Of a row that is in one of the two only, all its columns.
    """

    kind: str
    key: Mapping[str, Any]
    changes: Sequence[tuple[str, Any, Any]]


def count_snapshots(connection: Connection, dataset: str) -> int:
    """How many there are."""
    return int(connection.execute(text(COUNT), {"dataset": dataset}).scalar_one())


def read_snapshots(
    connection: Connection, dataset: str, *, first: int = 0, rows: int
) -> list[Snapshot]:
    """The snapshots from place `first` on, the newest date first."""
    asked = {"dataset": dataset, "first": first, "rows": rows}
    found = connection.execute(text(SNAPSHOTS), asked).mappings()
    return [_snapshot(dict(row)) for row in found]


def find_snapshot(connection: Connection, dataset: str, snapshot_id: str) -> Snapshot | None:
    """The snapshot; None where there is none."""
    asked = {"dataset": dataset, "snapshot_id": snapshot_id}
    row = connection.execute(text(ONE), asked).mappings().one_or_none()
    return _snapshot(dict(row)) if row else None


def snapshot_before(connection: Connection, dataset: str, snapshot: Snapshot) -> Snapshot | None:
    """The one before it, by date and by when it was known."""
    asked = {"dataset": dataset, "as_of": snapshot.as_of, "known_at": snapshot.known_at}
    row = connection.execute(text(BEFORE), asked).mappings().one_or_none()
    return _snapshot(dict(row)) if row else None


def applied_spec(connection: Connection, dataset: str) -> DatasetSpec | None:
    """The spec that the dataset's tables are made from; None where they were never made."""
    found = connection.execute(text(APPLIED), {"dataset": dataset}).scalar_one_or_none()
    return DatasetSpec.model_validate(found) if found else None


def compare_table(
    connection: Connection, spec: DatasetSpec, table: str, first: Snapshot, second: Snapshot
) -> TableDifference:
    """What differs between the two in `table`: rows by kind, and each column's changes."""
    before, after = first.tables.get(table), second.tables.get(table)
    others = [name for name in spec.tables[table].columns if name not in spec.tables[table].key]
    counted = "".join(
        f",\n count(*) FILTER (WHERE {_BOTH} AND a.{quoted(name)} IS DISTINCT FROM "
        f"b.{quoted(name)}) AS c{number}"
        for number, name in enumerate(others)
    )
    row = connection.execute(
        text(f"""
            {_states(spec, table)}
            SELECT count(*) FILTER (WHERE _a_gone AND NOT _b_gone) AS inserted,
                   count(*) FILTER (WHERE _b_gone AND NOT _a_gone) AS deleted,
                   count(*) FILTER (WHERE {_BOTH} AND {_differs(others)}) AS updated{counted}
            {_joined(spec, table)}
        """),
        _moments(first, second),
    ).one()
    second_rows = after["rows"] if after else None
    in_both = max((second_rows or 0) - row.inserted, 0)
    columns = [
        ColumnChange(name, getattr(row, f"c{number}"), getattr(row, f"c{number}") / in_both)
        for number, name in enumerate(others)
        if in_both and getattr(row, f"c{number}")
    ]
    return TableDifference(
        table,
        before["rows"] if before else None,
        second_rows,
        row.inserted,
        row.updated,
        row.deleted,
        max(in_both - row.updated, 0),
        sorted(columns, key=lambda each: -each.rows),
    )


def sample_differences(
    connection: Connection, spec: DatasetSpec, table: str, first: Snapshot, second: Snapshot
) -> list[RowDifference]:
    """Some rows of `table` that differ, `SAMPLES_SHOWN` of each kind, by their keys."""
    key = spec.tables[table].key
    others = [name for name in spec.tables[table].columns if name not in key]
    rows = connection.execute(
        text(f"""
            {_states(spec, table)}
            SELECT _kind, _before, _after
            FROM (
                SELECT *,
                       row_number() OVER (PARTITION BY _kind ORDER BY {column_list(key)}) AS _place
                FROM (
                    SELECT {column_list(key)}, to_jsonb(a) AS _before, to_jsonb(b) AS _after,
                           CASE WHEN _a_gone AND NOT _b_gone THEN 'inserted'
                                WHEN _b_gone AND NOT _a_gone THEN 'deleted'
                                WHEN {_BOTH} AND {_differs(others)} THEN 'updated'
                           END AS _kind
                    {_joined(spec, table)}
                ) AS differences
                WHERE _kind IS NOT NULL
            ) AS placed
            WHERE _place <= :samples
            ORDER BY array_position(ARRAY['updated', 'inserted', 'deleted'], _kind), _place
        """),
        {**_moments(first, second), "samples": SAMPLES_SHOWN},
    )
    return [_row_difference(row[0], key, others, row[1], row[2]) for row in rows]


def _row_difference(
    kind: str,
    key: Sequence[str],
    others: Sequence[str],
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> RowDifference:
    was, now = before or {}, after or {}
    side = was if kind == "deleted" else now
    changes = [
        (name, was.get(name), now.get(name))
        for name in others
        if kind != "updated" or was.get(name) != now.get(name)
    ]
    return RowDifference(kind, {name: side.get(name) for name in key}, changes)


def _states(spec: DatasetSpec, table: str) -> str:
    """CTEs `a` and `b`: the states, at the two snapshots, of the keys that may differ."""
    declared = spec.tables[table]
    key, columns = column_list(declared.key), column_list(declared.columns)
    history = quoted(spec.dataset, f"{table}_history")

    def state(name: str, belongs: str) -> str:
        return f"""
            {name} AS MATERIALIZED (
                SELECT DISTINCT ON ({key}) {columns}, operation = 'delete' AS _gone
                FROM {history} JOIN touched USING ({key})
                WHERE {belongs}
                ORDER BY {key}, as_of DESC, recorded_at DESC, history_id DESC
            )"""

    return f"""
        WITH touched AS MATERIALIZED (
            SELECT DISTINCT {key} FROM {history} WHERE {_IN_FIRST} <> {_IN_SECOND}
        ), {state("a", _IN_FIRST)}, {state("b", _IN_SECOND)}
    """


def _joined(spec: DatasetSpec, table: str) -> str:
    key = column_list(spec.tables[table].key)
    return f"""
        FROM a FULL JOIN b USING ({key})
        CROSS JOIN LATERAL (
            SELECT coalesce(a._gone, true) AS _a_gone, coalesce(b._gone, true) AS _b_gone
        ) AS presence
    """


def _differs(columns: Sequence[str]) -> str:
    found = [f"a.{quoted(name)} IS DISTINCT FROM b.{quoted(name)}" for name in columns]
    return f"({' OR '.join(found)})" if found else "false"


def _moments(first: Snapshot, second: Snapshot) -> dict[str, Any]:
    return {
        "first_as_of": first.as_of,
        "first_known_at": first.known_at,
        "second_as_of": second.as_of,
        "second_known_at": second.known_at,
    }


def _snapshot(row: Mapping[str, Any]) -> Snapshot:
    return Snapshot(**{name: row[name] for name in Snapshot.__dataclass_fields__})
