"""Comparing two queries row for row, both ways, within the database."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from cli.verify.findings import Finding
from shared.database.sql_names import column_list, quoted


def compare(
    connection: Connection,
    finding: Finding,
    *,
    where: str,
    what: str,
    expected: str,
    found: str,
    columns: Sequence[str],
    key: Sequence[str],
    parameters: Mapping[str, Any],
) -> None:
    """Note each key of which the queries `expected` and `found` don't give the same rows.

    Both give `columns`, in any order of rows; a row given twice by one counts twice. The database
    does all of it, spilling to its disk where it must, and only the differences that are listed
    come here.
    """
    names, keys = column_list(columns), column_list(key)
    # A name of a column begins with a letter, so these of ours can be none.
    statement = f"""
        WITH differing AS (
            SELECT {names}, sum(_side) AS _surplus
            FROM (
                SELECT {names}, 1 AS _side FROM ({expected}) AS _expected
                UNION ALL
                SELECT {names}, -1 FROM ({found}) AS _found
            ) AS _both
            GROUP BY {names}
            HAVING sum(_side) <> 0
        )
        SELECT jsonb_agg(to_jsonb(d)) FILTER (WHERE _surplus > 0) AS _expected,
               jsonb_agg(to_jsonb(d)) FILTER (WHERE _surplus < 0) AS _found,
               count(*) OVER () AS _count
        FROM differing AS d
        GROUP BY {keys}
        LIMIT :_most
    """
    values = {**parameters, "_most": finding.most}
    rows = connection.execute(text(statement), values).mappings().all()
    for row in rows:
        one = (row["_expected"] or row["_found"])[0]
        said = ", ".join(f"{column} {one[column]!r}" for column in key)
        finding.differs(
            f"{where}, {said}",
            what,
            expected=_rows(row["_expected"], row["_found"], key),
            found=_rows(row["_found"], row["_expected"], key),
        )
    if rows:
        finding.more(rows[0]["_count"] - len(rows))


def numbered(table: str, keys: Sequence[str], columns: str, condition: str = "TRUE") -> str:
    """SQL for what a history says of each key: its last row by date, then by knowledge.

    A key whose last row is a deletion gives none.
    """
    partition = column_list(keys)
    return f"""
        SELECT {columns}
        FROM (
            SELECT *, row_number() OVER (
                PARTITION BY {partition} ORDER BY as_of DESC, recorded_at DESC, history_id DESC
            ) AS _place
            FROM {table}
            WHERE {condition}
        ) AS _history
        WHERE _place = 1 AND operation <> 'delete'
    """


def history_of(dataset: str, table: str) -> str:
    """SQL for the name of a table's history."""
    return quoted(dataset, f"{table}_history")


def _rows(
    rows: list[dict[str, Any]] | None, others: list[dict[str, Any]] | None, key: Sequence[str]
) -> str:
    """Rows of one key as text; of one row against one other, only what the two differ in."""
    if not rows:
        return "no row"
    one, other = rows[0], (others or [{}])[0]
    if len(rows) == 1 and len(others or ()) == 1:
        told = {name: value for name, value in one.items() if other[name] != value}
    else:
        told = {name: value for name, value in one.items() if name not in key}
    told.pop("_surplus", None)
    said = ", ".join(f"{name} {value!r}" for name, value in told.items()) or "the row"
    copies = sum(abs(int(row["_surplus"])) for row in rows)
    return said if copies == 1 else f"{copies} rows more, one with {said}"
