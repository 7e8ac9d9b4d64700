"""Profiles of tables: row count and share of NULLs by column, and how they changed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, insert, text
from sqlalchemy.exc import ProgrammingError

from services.validator.results import ValidationResult
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import Stability
from shared.database.dataset_tables import quoted, staging_schema
from shared.database.tables import table_profiles
from shared.errors import InconsistentState

ROW_CHANGE = "headrace_row_change"
NULL_SHARE_CHANGE = "headrace_null_share_change"
_NOTHING_BEFORE = "no earlier slice to compare with"


@dataclass(frozen=True)
class Profile:
    """One table of one slice. `null_shares` are from 0 to 1; of an empty table they are 0."""

    rows: int
    null_shares: Mapping[str, float]


def profile(connection: Connection, spec: DatasetSpec, table: str, staging_table: str) -> Profile:
    """The profile of a staged table, in one scan.

    Raises `InconsistentState` where the table is gone or was staged under another version of the
    spec.
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
    return Profile(rows, dict(zip(columns, shares, strict=True)))


def previous_profiles(connection: Connection, dataset: str, as_of: date) -> dict[str, Profile]:
    """By table, the profile of the last published slice before `as_of` that had the table."""
    query = text("""
        SELECT DISTINCT ON (p.table_name) p.table_name, p.rows, p.null_shares
        FROM headrace.slices AS s
        JOIN headrace.table_profiles AS p ON p.load_id = s.load_id
        WHERE s.dataset = :dataset AND s.as_of < :as_of
        ORDER BY p.table_name, s.as_of DESC, s.published_at DESC
    """)
    found = connection.execute(query, {"dataset": dataset, "as_of": as_of})
    return {row.table_name: Profile(row.rows, row.null_shares) for row in found}


def store_profiles(connection: Connection, load_id: str, profiles: Mapping[str, Profile]) -> None:
    """Keep the profiles for the slices to come. Those that another try kept are replaced."""
    connection.execute(table_profiles.delete().where(table_profiles.c.load_id == load_id))
    rows = [
        {
            "load_id": load_id,
            "table_name": table,
            "rows": found.rows,
            "null_shares": dict(found.null_shares),
        }
        for table, found in profiles.items()
    ]
    if rows:
        connection.execute(insert(table_profiles), rows)


def changes(
    table: str, stability: Stability, now: Profile, before: Profile | None
) -> Iterable[ValidationResult]:
    """The results of those of the two checks that `stability` asks for."""
    if stability.max_row_change is not None:
        yield _row_change(table, stability.max_row_change, now, before)
    if stability.max_null_share_change is not None:
        yield _null_share_change(table, stability.max_null_share_change, now, before)


def _row_change(table: str, limit: float, now: Profile, before: Profile | None) -> ValidationResult:
    kwargs = {"max_row_change": limit}
    if before is None:
        return ValidationResult(table, ROW_CHANGE, True, kwargs, message=_NOTHING_BEFORE)
    change = abs(now.rows - before.rows) / max(before.rows, 1)
    message = (
        f"{table}: {now.rows:,} rows after {before.rows:,}, a change of {change:.1%} where at most "
        f"{limit:.1%} is allowed"
    )
    observed = {"rows_before": before.rows, "rows": now.rows, "change": change}
    is_met = change <= limit
    return ValidationResult(
        table,
        ROW_CHANGE,
        is_met,
        kwargs,
        observed_value=observed,
        message=None if is_met else message,
    )


def _null_share_change(
    table: str, limit: float, now: Profile, before: Profile | None
) -> ValidationResult:
    kwargs = {"max_null_share_change": limit}
    if before is None:
        return ValidationResult(table, NULL_SHARE_CHANGE, True, kwargs, message=_NOTHING_BEFORE)
    change = {
        column: abs(share - before.null_shares[column])
        for column, share in now.null_shares.items()
        if column in before.null_shares
    }
    beyond = sorted((c for c in change if change[c] > limit), key=lambda c: -change[c])
    if not beyond:
        observed = {"largest_change": max(change.values(), default=0.0)}
        return ValidationResult(table, NULL_SHARE_CHANGE, True, kwargs, observed_value=observed)
    observed_by_column = {
        column: {"share_before": before.null_shares[column], "share": now.null_shares[column]}
        for column in beyond
    }
    told = "; ".join(
        f"{column} from {before.null_shares[column]:.1%} to {now.null_shares[column]:.1%}"
        for column in beyond
    )
    return ValidationResult(
        table,
        NULL_SHARE_CHANGE,
        False,
        kwargs,
        tuple(beyond),
        observed_by_column,
        message=f"{table}: the share of missing values changed by more than {limit:.1%}: {told}",
    )
