"""Profiles of tables: row count, share of NULLs by column, shares of values where asked for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from sqlalchemy import Connection, insert, text
from sqlalchemy.exc import ProgrammingError

from shared.contracts.dataset_spec import DatasetSpec
from shared.database.dataset_tables import quoted, staging_schema
from shared.database.tables import table_profiles
from shared.errors import InconsistentState, InvalidSpec

MOST_VALUES = 10_000
"""Distinct values of a column whose shares are kept. One that has more is no class."""


@dataclass(frozen=True)
class Profile:
    """One table of one slice. Shares are from 0 to 1 of its rows; of an empty table 0."""

    rows: int
    null_shares: Mapping[str, float]
    value_shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By column, then by value as Postgres writes it; of the columns whose stability is declared.
    NULL is no value."""


def profile(connection: Connection, spec: DatasetSpec, table: str, staging_table: str) -> Profile:
    """The profile of a staged table, in one scan and one more for each column whose values count.

    Raises `InconsistentState` where the table is gone or was staged under another version of the
    spec, and `InvalidSpec` where a column has too many values to keep their shares.
    """
    columns = list(spec.tables[table].columns)
    counts = "".join(f", count({quoted(column)})" for column in columns)
    query = f"SELECT count(*){counts} FROM {quoted(staging_schema(spec.dataset), staging_table)}"
    try:
        rows, *present = connection.exec_driver_sql(query).one()
    except ProgrammingError as error:
        raise InconsistentState(
            f"table {table!r} is not staged as the spec has it; load the slice again: {error.orig}"
        ) from error
    shares = [1 - count / rows if rows else 0.0 for count in present]
    value_shares = {
        column: _value_shares(connection, spec, table, staging_table, column, rows)
        for column in spec.tables[table].stability.max_value_share_change
    }
    return Profile(rows, dict(zip(columns, shares, strict=True)), value_shares)


def _value_shares(
    connection: Connection,
    spec: DatasetSpec,
    table: str,
    staging_table: str,
    column: str,
    rows: int,
) -> dict[str, float]:
    query = text(f"""
        SELECT {quoted(column)}::text AS value, count(*) AS rows
        FROM {quoted(staging_schema(spec.dataset), staging_table)}
        WHERE {quoted(column)} IS NOT NULL
        GROUP BY {quoted(column)}
        LIMIT :most
    """)
    found = connection.execute(query, {"most": MOST_VALUES + 1}).all()
    if len(found) > MOST_VALUES:
        raise InvalidSpec(
            f"tables.{table}.stability.max_value_share_change: {column!r} has more than "
            f"{MOST_VALUES:,} distinct values, and shares are for columns of few, as classes"
        )
    return {row.value: row.rows / rows for row in found}


def previous_profiles(
    connection: Connection, tables: Iterable[str], dataset: str, slice_key: str, as_of: date
) -> dict[str, Profile]:
    """By table, the profile of the last other slice published up to `as_of` that had the table.

    Of several slices of one day the last is the one that was published last.
    """
    query = text("""
        SELECT t.table_name, before.rows, before.null_shares, before.value_shares
        FROM unnest(CAST(:tables AS text[])) AS t (table_name)
        CROSS JOIN LATERAL (
            SELECT p.rows, p.null_shares, p.value_shares
            FROM headrace.slices AS s
            JOIN headrace.table_profiles AS p
                ON p.load_id = s.load_id AND p.table_name = t.table_name
            WHERE s.dataset = :dataset AND s.slice_key <> :slice_key AND s.as_of <= :as_of
            ORDER BY s.as_of DESC, s.published_at DESC
            LIMIT 1
        ) AS before
    """)
    where = {"tables": list(tables), "dataset": dataset, "slice_key": slice_key, "as_of": as_of}
    return {
        row.table_name: Profile(row.rows, row.null_shares, row.value_shares)
        for row in connection.execute(query, where)
    }


def store_profiles(connection: Connection, load_id: str, profiles: Mapping[str, Profile]) -> None:
    """Keep the profiles for the slices to come. Those that another try kept are replaced."""
    connection.execute(table_profiles.delete().where(table_profiles.c.load_id == load_id))
    rows = [
        {
            "load_id": load_id,
            "table_name": table,
            "rows": found.rows,
            "null_shares": dict(found.null_shares),
            "value_shares": {name: dict(part) for name, part in found.value_shares.items()},
        }
        for table, found in profiles.items()
    ]
    if rows:
        connection.execute(insert(table_profiles), rows)
