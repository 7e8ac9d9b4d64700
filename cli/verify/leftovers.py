"""Staging tables: of loads that need them, and no others."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, text

from cli.verify.findings import Finding
from cli.verify.ground import Ground
from shared.database.sql_names import quoted
from shared.database.statuses import LoadStatus

_STAGED = """
    SELECT n.nspname AS schema, c.relname AS name
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname = ANY(:schemas)
    ORDER BY 1, 2
"""
_LOADS = """
    SELECT load_id, dataset, slice_key, status, tables,
           left(replace(load_id, '-', ''), 16) AS mark
    FROM headrace.loads
    WHERE dataset = ANY(:datasets)
"""
_STATUS = "SELECT status FROM headrace.loads WHERE load_id = :load_id"
_IS_THERE = "SELECT to_regclass(:name) IS NOT NULL"
_NEEDED = frozenset({LoadStatus.LOADED.value, LoadStatus.VALIDATED.value})
_MAY_HAVE = _NEEDED | {
    LoadStatus.LOADING.value,
    LoadStatus.REJECTED.value,  # for a person to look at
    LoadStatus.FAILED.value,  # for a redrive
}


def check_staging(ground: Ground, finding: Finding) -> None:
    """What is staged is of a load that may yet need it; what a load needs is staged."""
    schemas = {f"{dataset}_staging": dataset for dataset in ground.names}
    with ground.engine.connect() as connection:  # the tables first: a load comes before its own
        staged = ground.rows(connection, _STAGED, schemas=list(schemas))
        connection.rollback()
        loads = ground.rows(connection, _LOADS)
        connection.rollback()
        by_mark = {(row.dataset, row.mark): row for row in loads}
        there = {(row.schema, row.name) for row in staged}
        for row in staged:
            finding.saw("staging tables")
            mark = row.name.removesuffix("__img").rpartition("__")[2]
            load = by_mark.get((schemas[row.schema], mark))
            if load is None or load.status not in _MAY_HAVE:
                _surplus(connection, finding, row, load)
        for load in loads:
            if load.status in _NEEDED:
                _needed(connection, finding, load, there)


def _surplus(
    connection: Connection, finding: Finding, row: Row[Any], load: Row[Any] | None
) -> None:
    """Note the table unless it has gone meanwhile, as when its load was published just now."""
    name = quoted(row.schema, row.name)
    is_there = connection.execute(text(_IS_THERE), {"name": name}).scalar_one()
    connection.rollback()
    if is_there:
        of = "no load that there is" if load is None else f"load {load.load_id}, {load.status}"
        finding.differs(
            f"{row.schema}.{row.name}", "staged rows", expected="none", found=f"of {of}"
        )


def _needed(
    connection: Connection, finding: Finding, load: Row[Any], there: set[tuple[str, str]]
) -> None:
    for part in load.tables or ():
        said: Mapping[str, Any] = part
        place = (f"{load.dataset}_staging", said["staging_table"])
        if not said.get("present", True) or place in there:
            continue
        now = connection.execute(text(_STATUS), {"load_id": load.load_id}).scalar()
        is_there = connection.execute(text(_IS_THERE), {"name": quoted(*place)}).scalar_one()
        connection.rollback()
        if now in _NEEDED and not is_there:
            finding.differs(
                ".".join(place),
                "staged rows",
                expected=f"of load {load.load_id}, {now}",
                found=None,
            )
