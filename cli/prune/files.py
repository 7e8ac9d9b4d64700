"""Objects of loads: the files as they landed, and the reports."""

from typing import Any

from sqlalchemy import Connection, text

from cli.prune.ground import FINAL, IS_DEPENDED_ON, IS_FINISHED, IS_OPEN, Ground, Removed
from services.ingestor.loads import lock_slice
from shared.object_store import ObjectUri

LANDING, REPORTS = "landing copies", "reports"

# A registered model's rows are from the files of every load that its snapshot knew; see
# services.trainer.lineage.
_IN_A_MODEL = f"""
    l.status = 'published' AND EXISTS (
        SELECT FROM headrace.snapshots AS own
        JOIN headrace.snapshots AS s ON s.dataset = own.dataset AND s.as_of >= own.as_of
            AND s.known_at >= own.known_at
        WHERE own.load_id = l.load_id
            AND (l.withdrawn_at IS NULL OR l.withdrawn_at > s.known_at)
            AND ({IS_DEPENDED_ON})
    )
"""
_LANDED = f"""
    SELECT l.landing_uri, min(l.dataset) AS dataset, min(l.slice_key) AS slice_key,
           bool_and(l.landing_pruned_at IS NOT NULL) AS is_marked
    FROM headrace.loads AS l
    WHERE l.landing_uri IS NOT NULL AND (CAST(:uri AS text) IS NULL OR l.landing_uri = :uri)
    GROUP BY l.landing_uri
    HAVING bool_and(
            l.landing_pruned_at IS NOT NULL
            OR ({IS_FINISHED}) AND NOT ({IS_OPEN}) AND NOT ({_IN_A_MODEL})
        )
        AND bool_or(l.landing_pruned_bytes IS NULL)
    ORDER BY l.landing_uri
"""
_REPORTED = f"""
    SELECT l.load_id, l.report_uri
    FROM headrace.loads AS l
    WHERE l.report_uri IS NOT NULL AND l.report_pruned_bytes IS NULL
        AND (l.report_pruned_at IS NOT NULL OR ({IS_FINISHED}) AND NOT ({IS_OPEN}))
    ORDER BY l.load_id
"""
_LANDED_AGAIN = """
    UPDATE headrace.loads AS l SET landing_pruned_bytes = 0
    WHERE l.landing_pruned_at IS NOT NULL AND l.landing_pruned_bytes IS NULL
        AND EXISTS (
            SELECT FROM headrace.loads AS other
            WHERE other.landing_uri = l.landing_uri AND other.landing_pruned_at IS NULL
        )
"""


def prune_landing(ground: Ground) -> Removed:
    """Delete the copies of loads that were refused, replaced or withdrawn, if no model needs them.

    Several loads of a slice may have the same content, and so one copy. While it is deleted the
    slice is locked: a load that lands the same content again would take it for there.
    """
    before = ground.before(ground.settings.prune_landing_days)
    parameters = {"before": before, "final": list(FINAL), "uri": None}
    with ground.engine.begin() as connection:
        if not ground.is_dry:  # a pruning was killed, and the content has come again since
            connection.execute(text(_LANDED_AGAIN))
        found = connection.execute(text(_LANDED), parameters).all()
    items = size = 0
    for row in found:
        prefix = ObjectUri.parse(row.landing_uri + "/")
        if ground.is_dry:
            items, size = items + 1, size + ground.size(prefix)
            continue
        with ground.engine.begin() as guard:
            lock_slice(guard, row.dataset, row.slice_key)
            where = parameters | {"uri": row.landing_uri}
            with ground.engine.begin() as connection:
                if connection.execute(text(_LANDED), where).first() is None:
                    continue  # somebody needs it now
                _mark(connection, "landing", "landing_uri = :which", row.landing_uri, ground)
            size += (freed := ground.delete(prefix))
            _settle(ground, "landing", "landing_uri = :which", row.landing_uri, freed)
        items += 1
    return Removed(LANDING, before, items, size)


def prune_reports(ground: Ground) -> Removed:
    """Delete the reports of loads that are not what their slice has now."""
    before = ground.before(ground.settings.prune_reports_days)
    with ground.engine.begin() as connection:
        parameters: dict[str, Any] = {"before": before, "final": list(FINAL)}
        found = connection.execute(text(_REPORTED), parameters).all()
    items = size = 0
    for row in found:
        prefix = ObjectUri.parse(row.report_uri.rpartition("/")[0] + "/")
        items += 1
        if ground.is_dry:
            size += ground.size(prefix)
            continue
        with ground.engine.begin() as connection:
            _mark(connection, "report", "load_id = :which", row.load_id, ground)
        size += (freed := ground.delete(prefix))
        _settle(ground, "report", "load_id = :which", row.load_id, freed)
    return Removed(REPORTS, before, items, size)


def _mark(connection: Connection, what: str, condition: str, which: str, ground: Ground) -> None:
    statement = f"""
        UPDATE headrace.loads SET {what}_pruned_at = :now
        WHERE {condition} AND {what}_pruned_at IS NULL
    """
    connection.execute(text(statement), {"which": which, "now": ground.now})


def _settle(ground: Ground, what: str, condition: str, which: str, freed: int) -> None:
    statement = f"""
        UPDATE headrace.loads SET {what}_pruned_bytes = :freed
        WHERE {condition} AND {what}_pruned_at IS NOT NULL AND {what}_pruned_bytes IS NULL
    """
    with ground.engine.begin() as connection:
        connection.execute(text(statement), {"which": which, "freed": freed})
