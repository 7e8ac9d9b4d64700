"""History: appended only, by loads that are known, as each of them says it did. Promise 4."""

from typing import Any

from sqlalchemy import Connection

from cli.verify.comparing import history_of
from cli.verify.findings import Finding
from cli.verify.ground import Ground
from shared.contracts.table_spec import Table
from shared.database.sql_names import column_list
from shared.database.statuses import LoadKind

_DONE = {"insert": "inserted", "update": "updated", "delete": "deleted"}
_SAID = """
    SELECT l.load_id, l.slice_key, l.changes
    FROM headrace.loads AS l
    WHERE l.dataset = :dataset AND l.status = 'published'
"""


def check_history(ground: Ground, finding: Finding) -> None:
    """No key is told two things of one date at one moment, and no row is of nobody's making."""
    for dataset, spec in ground.specs.items():
        for name, table in spec.tables.items():
            with ground.view() as connection:
                history = history_of(dataset, name)
                rows = ground.rows(connection, f"SELECT count(*) AS rows FROM {history}")
                finding.saw("histories")
                finding.saw("rows", rows[0].rows)
                _told_once(ground, connection, finding, dataset, name, table)
                _of_known_loads(ground, connection, finding, dataset, name)
                _as_loads_say(ground, connection, finding, dataset, name)


def _told_once(
    ground: Ground,
    connection: Connection,
    finding: Finding,
    dataset: str,
    name: str,
    table: Table,
) -> None:
    keys = column_list(table.key)
    rows = ground.rows(
        connection,
        f"""
        SELECT {keys}, as_of, recorded_at, count(*) AS _rows, count(*) OVER () AS _count
        FROM {history_of(dataset, name)}
        GROUP BY {keys}, as_of, recorded_at
        HAVING count(*) > 1
        LIMIT :most
        """,
        most=finding.most,
    )
    for row in rows:
        values = row._mapping
        finding.differs(
            f"{dataset}.{name}_history, {_key(table, values)}",
            f"rows as of {values['as_of']} recorded at {values['recorded_at']}",
            expected=1,
            found=values["_rows"],
        )
    _more(finding, rows)


def _of_known_loads(
    ground: Ground, connection: Connection, finding: Finding, dataset: str, name: str
) -> None:
    """Each row was recorded with its load's snapshot, at its date or, restating it, a later one.

    A withdrawal restates from the first date on that the slice ever had.
    """
    rows = ground.rows(
        connection,
        f"""
        SELECT h.load_id, h.recorded_at, h.as_of, s.known_at, s.as_of AS frozen_as_of,
               count(*) AS rows, count(*) OVER () AS _count
        FROM {history_of(dataset, name)} AS h
        LEFT JOIN headrace.snapshots AS s ON s.load_id = h.load_id AND s.dataset = :dataset
        LEFT JOIN headrace.loads AS l ON l.load_id = h.load_id
        WHERE s.load_id IS NULL OR h.recorded_at <> s.known_at
            OR (h.as_of < s.as_of AND l.kind <> :withdrawal)
        GROUP BY h.load_id, h.recorded_at, h.as_of, s.known_at, s.as_of
        LIMIT :most
        """,
        dataset=dataset,
        withdrawal=LoadKind.WITHDRAWAL.value,
        most=finding.most,
    )
    for row in rows:
        found = f"{row.rows} rows as of {row.as_of} recorded at {row.recorded_at}"
        expected = "none, for no snapshot is of that load"
        if row.known_at is not None:
            expected = f"as of {row.frozen_as_of} or later, recorded at {row.known_at}"
        where = f"{dataset}.{name}_history"
        finding.differs(where, f"rows of load {row.load_id}", expected=expected, found=found)
    _more(finding, rows)


def _as_loads_say(
    ground: Ground, connection: Connection, finding: Finding, dataset: str, name: str
) -> None:
    """As many rows of a load at its own date as its changes say; those later restate."""
    found: dict[str, dict[str, int]] = {}
    for row in ground.rows(
        connection,
        f"""
        SELECT h.load_id, h.operation, count(*) AS rows
        FROM {history_of(dataset, name)} AS h
        JOIN headrace.snapshots AS s ON s.load_id = h.load_id AND s.as_of = h.as_of
        GROUP BY h.load_id, h.operation
        """,
    ):
        found.setdefault(row.load_id, {})[row.operation] = row.rows
    said = ground.rows(connection, _SAID, dataset=dataset)
    for load in said:
        changes: dict[str, Any] = (load.changes or {}).get(name) or {}
        there = found.get(load.load_id, {})
        for operation, word in _DONE.items():
            finding.require(
                f"{dataset}.{name}_history, load {load.load_id} of {load.slice_key}",
                f"rows {word}",
                expected=changes.get(word, 0),
                found=there.get(operation, 0),
            )


def _key(table: Table, values: Any) -> str:
    return ", ".join(f"{column} {values[column]!r}" for column in table.key)


def _more(finding: Finding, rows: list[Any]) -> None:
    if rows:
        finding.more(rows[0]._mapping["_count"] - len(rows))
