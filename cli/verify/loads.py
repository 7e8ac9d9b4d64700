"""Loads and slices: every row of the input accounted for, each slice published by its newest load.

Promise 3, from the counts that each stage has recorded and the rows that are there.
"""

from typing import Any

from sqlalchemy import Row

from cli.verify.findings import Finding
from cli.verify.ground import Ground
from shared.database.statuses import LoadStatus

_TABLES = """
    SELECT l.load_id, l.dataset, l.slice_key, l.status, l.rows_in, l.rows_loaded,
           l.rows_quarantined, l.changes,
           t.part ->> 'table' AS table_name,
           (t.part ->> 'rows_in')::bigint AS part_in,
           (t.part ->> 'rows_loaded')::bigint AS part_loaded,
           (t.part ->> 'rows_quarantined')::bigint AS part_quarantined,
           (t.part ->> 'present')::boolean AS is_present,
           sum((t.part ->> 'rows_in')::bigint) OVER whole AS sum_in,
           sum((t.part ->> 'rows_loaded')::bigint) OVER whole AS sum_loaded,
           sum((t.part ->> 'rows_quarantined')::bigint) OVER whole AS sum_quarantined,
           (
               SELECT count(*) FROM headrace.quarantined_rows AS q
               WHERE q.load_id = l.load_id AND q.table_name = t.part ->> 'table'
           ) AS kept
    FROM headrace.loads AS l
    CROSS JOIN LATERAL jsonb_array_elements(
        CASE WHEN jsonb_typeof(l.tables) = 'array' THEN l.tables ELSE '[]' END
    ) AS t (part)
    WHERE l.dataset = ANY(:datasets)
    WINDOW whole AS (PARTITION BY l.load_id)
    ORDER BY l.started_at, table_name
"""
_NO_LOAD = """
    SELECT 'quarantined row ' || q.quarantine_id AS what, q.load_id
    FROM headrace.quarantined_rows AS q
    LEFT JOIN headrace.loads AS l ON l.load_id = q.load_id
    WHERE q.dataset = ANY(:datasets) AND l.load_id IS NULL
    UNION ALL
    SELECT 'validation result ' || v.result_id, v.load_id
    FROM headrace.validation_results AS v
    LEFT JOIN headrace.loads AS l ON l.load_id = v.load_id
    WHERE v.dataset = ANY(:datasets) AND l.load_id IS NULL
    UNION ALL
    SELECT 'coverage of ' || c.table_name, c.load_id
    FROM headrace.coverage AS c
    LEFT JOIN headrace.snapshots AS s ON s.load_id = c.load_id
    WHERE c.dataset = ANY(:datasets) AND s.load_id IS NULL
"""
_FAILED_EXPECTATION = """
    SELECT DISTINCT l.dataset, l.slice_key, l.load_id, v.table_name, v.expectation
    FROM headrace.loads AS l
    JOIN headrace.validation_results AS v ON v.load_id = l.load_id
    WHERE l.dataset = ANY(:datasets) AND l.status = ANY(:passed)
        AND NOT v.success AND v.severity = 'critical'
"""
_PUBLISHED = """
    SELECT l.dataset, l.slice_key, l.load_id, l.as_of, l.revision, l.content_sha256, l.started_at,
           s.snapshot_id, s.as_of AS frozen_as_of, s.known_at,
           l.withdrawn_at IS NOT NULL AS is_withdrawn, l.kind = 'withdrawal' AS is_withdrawal
    FROM headrace.loads AS l
    LEFT JOIN headrace.snapshots AS s ON s.load_id = l.load_id
    WHERE l.dataset = ANY(:datasets) AND l.status = ANY(:published)
    ORDER BY l.dataset, l.slice_key, l.revision, l.started_at
"""
_SLICES = """
    SELECT dataset, slice_key, load_id, as_of, revision, content_sha256, published_at
    FROM headrace.slices
    WHERE dataset = ANY(:datasets)
"""
_FROZEN = """
    SELECT s.snapshot_id, s.load_id, l.status
    FROM headrace.snapshots AS s
    LEFT JOIN headrace.loads AS l ON l.load_id = s.load_id
    WHERE s.dataset = ANY(:datasets) AND (l.status IS NULL OR l.status <> ALL(:published))
"""
PUBLISHED = (LoadStatus.PUBLISHED.value, LoadStatus.WITHDRAWN.value)
"""Of loads that have changed the tables: they have a snapshot."""
_PASSED = (LoadStatus.VALIDATED.value, *PUBLISHED, LoadStatus.SUPERSEDED.value)


def check_rows(ground: Ground, finding: Finding) -> None:
    """`rows in = loaded + quarantined` for each table and load, against the rows that are kept."""
    with ground.view() as connection:
        for row in ground.each(connection, _TABLES):
            finding.saw("tables of loads")
            finding.saw("rows in", row.part_in)
            _of_table(ground, finding, row)
        for row in ground.rows(connection, _NO_LOAD):
            finding.differs(row.what, "its load", expected=f"a load {row.load_id}", found=None)
        for row in ground.rows(connection, _FAILED_EXPECTATION, passed=list(_PASSED)):
            finding.differs(
                f"{_named(row)}, table {row.table_name}",
                row.expectation,
                expected="met, for the slice has passed",
                found="not met",
            )


def _of_table(ground: Ground, finding: Finding, row: Row[Any]) -> None:
    where = f"{_named(row)}, table {row.table_name}"
    finding.require(
        where,
        "rows in = loaded + quarantined",
        expected=row.part_in,
        found=row.part_loaded + row.part_quarantined,
    )
    for what in ("in", "loaded", "quarantined"):
        said, summed = getattr(row, f"rows_{what}"), int(getattr(row, f"sum_{what}"))
        finding.require(
            _named(row), f"rows {what}, of all tables together", expected=summed, found=said
        )
    # Of a slice that is rejected no more are kept than this; the setting may have been another one.
    limit = ground.settings.quarantine_rows_kept
    is_cut = row.status == LoadStatus.REJECTED and row.part_quarantined > limit
    if not is_cut or row.kept > row.part_quarantined:
        finding.require(where, "quarantined rows", expected=row.part_quarantined, found=row.kept)
    if row.status in PUBLISHED and row.is_present:
        changes = (row.changes or {}).get(row.table_name) or {}
        merged = sum(changes.get(name, 0) for name in ("inserted", "updated", "unchanged"))
        finding.require(where, "rows merged", expected=row.part_loaded, found=merged)


def check_slices(ground: Ground, finding: Finding) -> None:
    """Each published load is frozen once, each slice stands as the newest of its loads says."""
    with ground.view() as connection:
        published = ground.rows(connection, _PUBLISHED, published=list(PUBLISHED))
        slices = ground.rows(connection, _SLICES)
        frozen = ground.rows(connection, _FROZEN, published=list(PUBLISHED))
    newest: dict[tuple[str, str], Row[Any]] = {}
    for row in published:
        finding.saw("published loads")
        place = (row.dataset, row.slice_key)
        before = newest.get(place)
        if before is not None and not row.is_withdrawal and before.revision == row.revision:
            finding.differs(
                _named(row),
                f"revision {row.revision}",
                expected="one published load",
                found=f"load {before.load_id} too",
            )
        if not row.is_withdrawn and not row.is_withdrawal:
            newest[place] = row
        if finding.require(
            _named(row), "snapshot", expected=True, found=row.snapshot_id is not None
        ):
            finding.require(
                _named(row), "as_of of its snapshot", expected=row.as_of, found=row.frozen_as_of
            )
    for row in frozen:
        finding.differs(
            f"snapshot {row.snapshot_id}", "its load", expected="published", found=row.status
        )
    _newest(finding, newest, {(row.dataset, row.slice_key): row for row in slices})


def _newest(
    finding: Finding,
    newest: dict[tuple[str, str], Row[Any]],
    slices: dict[tuple[str, str], Row[Any]],
) -> None:
    for place in sorted(newest.keys() | slices.keys()):
        finding.saw("slices")
        load, said = newest.get(place), slices.get(place)
        where = "/".join(place)
        if load is None or said is None:
            finding.differs(
                where,
                "published load",
                expected=load and load.load_id,
                found=said and said.load_id,
            )
            continue
        for column, expected in (
            ("load_id", load.load_id),
            ("revision", load.revision),
            ("as_of", load.as_of),
            ("content_sha256", load.content_sha256),
            ("published_at", load.known_at),
        ):
            finding.require(where, column, expected=expected, found=getattr(said, column))


def _named(row: Row[Any]) -> str:
    return f"{row.dataset}/{row.slice_key}, load {row.load_id}"
