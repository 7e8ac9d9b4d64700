"""Staging tables of loads that are finished."""

from sqlalchemy import text

from cli.prune.ground import FINAL, IS_FINISHED, Ground, Removed
from shared.database.dataset_tables import quoted

WHAT = "staging tables"

# A table of no load at all is nobody's: a load's row is there before its staging is.
_TABLES = f"""
    SELECT n.nspname AS schema, c.relname AS name, pg_total_relation_size(c.oid) AS bytes
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN headrace.datasets AS d ON n.nspname = d.dataset || '_staging'
    CROSS JOIN LATERAL substring(c.relname FROM '__([0-9a-f]{{16}})(__img)?$') AS found (load)
    WHERE c.relkind = 'r' AND found.load IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM headrace.loads AS l
            WHERE left(replace(l.load_id, '-', ''), 16) = found.load AND l.dataset = d.dataset
                AND NOT ({IS_FINISHED})
        )
    ORDER BY 1, 2
"""


def prune_staging(ground: Ground) -> Removed:
    """Drop what rejected and failed loads have left, and what is of no load."""
    before = ground.before(ground.settings.prune_staging_days)
    parameters = {"before": before, "final": list(FINAL)}
    with ground.engine.begin() as connection:
        tables = connection.execute(text(_TABLES), parameters).all()
        if not ground.is_dry:
            for table in tables:
                connection.execute(text(f"DROP TABLE {quoted(table.schema, table.name)}"))
    return Removed(WHAT, before, len(tables), sum(table.bytes for table in tables))
