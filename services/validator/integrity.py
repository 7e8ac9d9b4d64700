"""Headrace's own checks across tables: every foreign key leads to a row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, text

from services.validator.results import ValidationResult, json_safe, key_text
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import ForeignKey
from shared.database.dataset_tables import column_list, quoted, staging_schema

FOREIGN_KEY = "headrace_foreign_key"
_SHOWN = 3


def foreign_keys(
    connection: Connection,
    spec: DatasetSpec,
    table: str,
    staged: Mapping[str, str],
    failing_keys_kept: int,
) -> Iterator[ValidationResult]:
    """The results of the foreign keys of one staged table.

    `staged` has the slice's staging tables by table. A value is good if it is a key of the staged
    parent or of the current one; where the slice brings the parent and absence from it means
    deletion, only the staged parent counts, for the current rows that it lacks are about to go.
    Rows with a NULL in the foreign key are not looked at.
    """
    for foreign_key in spec.tables[table].foreign_keys:
        yield _foreign_key(connection, spec, table, staged, foreign_key, failing_keys_kept)


def _foreign_key(
    connection: Connection,
    spec: DatasetSpec,
    table: str,
    staged: Mapping[str, str],
    foreign_key: ForeignKey,
    failing_keys_kept: int,
) -> ValidationResult:
    key, columns = spec.tables[table].key, foreign_key.columns
    shown = list(dict.fromkeys((*key, *columns)))
    query = f"""
        SELECT count(*) OVER () AS orphans, {column_list(shown, "c")}
        FROM {quoted(staging_schema(spec.dataset), staged[table])} AS c
        WHERE {" AND ".join(f"c.{quoted(column)} IS NOT NULL" for column in columns)}
        {_in_no_parent(spec, staged, foreign_key)}
        ORDER BY {column_list(key, "c")}
        LIMIT :kept
    """
    rows = connection.execute(text(query), {"kept": failing_keys_kept}).all()
    orphans = rows[0].orphans if rows else 0
    failing = [json_safe(dict(zip(shown, row[1:], strict=True))) for row in rows]
    result = ValidationResult(
        table=table,
        expectation=FOREIGN_KEY,
        success=not orphans,
        kwargs={"columns": list(columns), "table": foreign_key.table},
        columns=columns,
        unexpected_count=orphans,
        failing_keys=tuple(failing),
    )
    if result.success:
        return result
    return replace(result, message=_in_words(result, foreign_key, key))


def _in_no_parent(spec: DatasetSpec, staged: Mapping[str, str], foreign_key: ForeignKey) -> str:
    """SQL that keeps the rows whose parent is nowhere."""
    parent = spec.tables[foreign_key.table]
    places = []
    if foreign_key.table in staged:
        places.append(quoted(staging_schema(spec.dataset), staged[foreign_key.table]))
    if foreign_key.table not in staged or parent.absence == "keep":
        places.append(quoted(spec.dataset, foreign_key.table))
    leads_there = " AND ".join(
        f"p.{quoted(own)} = c.{quoted(other)}"
        for own, other in zip(parent.key, foreign_key.columns, strict=True)
    )
    return "\n".join(
        f"AND NOT EXISTS (SELECT FROM {place} AS p WHERE {leads_there})" for place in places
    )


def _in_words(result: ValidationResult, foreign_key: ForeignKey, key: Sequence[str]) -> str:
    count = result.unexpected_count or 0
    verb = "value is" if count == 1 else "values are"
    shown = []
    for row in result.failing_keys[:_SHOWN]:
        value = ", ".join(f"'{row[column]}'" for column in foreign_key.columns)
        is_key = tuple(foreign_key.columns) == tuple(key)
        shown.append(value if is_key else f"{value} at {key_text(row, key)}")
    more = f"; and {count - len(shown):,} more" if count > len(shown) else ""
    return (
        f"{result.table}.{result.column}: {count:,} {verb} no key of {foreign_key.table}: "
        f"{'; '.join(shown)}{more}"
    )
