"""The views that say where a dataset stands, in its schema.

- `data_loads`: its loads, one row each. `total_rows` is how far the load reaches: of an increment
  the rows of the source up to its end, earlier ones included; else the rows of the largest table
  that it loaded. `inserted`, `updated`, `unchanged` and `deleted` are of all tables together.
  `completed_at` is when the load came to its end, whatever that was.
- `current_data_state`: one row, also before any load. The slice reached is, of the published ones,
  that with the largest share or else the latest date; `last_load_id` is the load that was published
  last. `percentage` is NULL where slices are no increments. `total_<table>` counts current rows,
  `total_classes` the distinct values of the training's target.
- `class_distribution`, where there is a training: each value of the target under the column's own
  name, with its `rows` and its `percentage` of the rows that have one; the most frequent first.
"""

from collections.abc import Collection

from shared.contracts.dataset_spec import STATE_VIEWS, DatasetSpec
from shared.contracts.training_spec import Target
from shared.database.sql_names import quoted

REACH_AND_CHANGES = """
    CROSS JOIN LATERAL (
        SELECT max((t ->> 'rows_loaded')::bigint) AS rows
        FROM jsonb_array_elements(nullif(l.tables, 'null')) AS t
    ) AS largest
    CROSS JOIN LATERAL (
        SELECT sum((c.value ->> 'inserted')::bigint)::bigint AS inserted,
               sum((c.value ->> 'updated')::bigint)::bigint AS updated,
               sum((c.value ->> 'unchanged')::bigint)::bigint AS unchanged,
               sum((c.value ->> 'deleted')::bigint)::bigint AS deleted
        FROM jsonb_each(nullif(l.changes, 'null')) AS c
    ) AS changed
"""
"""To a load `l`: the rows of the largest table that it loaded, and what became of its rows."""


def drop_state_views(dataset: str) -> list[str]:
    """Statements that drop those views that are there."""
    return [f"DROP VIEW IF EXISTS {quoted(dataset, name)}" for name in STATE_VIEWS]


def create_state_views(spec: DatasetSpec) -> list[str]:
    """Statements that make the dataset's views; its tables must be there, and no such view."""
    statements = [_data_loads(spec), _current_data_state(spec)]
    if spec.training is not None:
        statements.append(_class_distribution(spec.dataset, spec.training.target))
    return statements


def _data_loads(spec: DatasetSpec) -> str:
    return f"""
        CREATE VIEW {quoted(spec.dataset, "data_loads")} AS
        SELECT l.load_id, l.slice_key, l.percentage, l.as_of, l.revision, l.status,
               l.rows_in, l.rows_loaded, l.rows_quarantined,
               coalesce(l.end_row, largest.rows) AS total_rows,
               changed.inserted, changed.updated, changed.unchanged, changed.deleted,
               l.requested_by, l.started_at, l.finished_at AS completed_at, l.reasons
        FROM headrace.loads AS l
        {REACH_AND_CHANGES}
        WHERE l.dataset = '{spec.dataset}'
    """


def _current_data_state(spec: DatasetSpec) -> str:
    percentage = "reached.percentage"
    if spec.slices.increment is not None:
        percentage = "coalesce(reached.percentage, 0)"
    totals = {
        f"total_{table}": f"(SELECT count(*) FROM {quoted(spec.dataset, table)})"
        for table in spec.tables
    }
    if spec.training is not None:
        target = spec.training.target
        totals[_other_than("total_classes", totals)] = (
            f"(SELECT count(DISTINCT {quoted(target.column)}) "
            f"FROM {quoted(spec.dataset, target.table)})"
        )
    counts = ",\n               ".join(f"{sql} AS {quoted(n)}" for n, sql in totals.items())
    return f"""
        CREATE VIEW {quoted(spec.dataset, "current_data_state")} AS
        SELECT '{spec.dataset}'::text AS dataset, reached.slice_key,
               {percentage} AS percentage, reached.as_of,
               last.load_id AS last_load_id, last.finished_at AS last_completed_at,
               {counts}
        FROM (VALUES (1)) AS always
        LEFT JOIN (
            SELECT s.slice_key, l.percentage, max(s.as_of) OVER () AS as_of
            FROM headrace.slices AS s
            LEFT JOIN headrace.loads AS l ON l.load_id = s.load_id
            WHERE s.dataset = '{spec.dataset}'
            ORDER BY l.percentage DESC NULLS LAST, s.as_of DESC, s.published_at DESC
            LIMIT 1
        ) AS reached ON true
        LEFT JOIN (
            SELECT load_id, finished_at
            FROM headrace.loads
            WHERE dataset = '{spec.dataset}' AND status = 'published'
            ORDER BY finished_at DESC NULLS LAST
            LIMIT 1
        ) AS last ON true
    """


def _class_distribution(dataset: str, target: Target) -> str:
    column = quoted(target.column)
    rows = quoted(_other_than("rows", {target.column}))
    percentage = quoted(_other_than("percentage", {target.column}))
    return f"""
        CREATE VIEW {quoted(dataset, "class_distribution")} AS
        SELECT {column}, count(*) AS {rows},
               round(100.0 * count(*) / sum(count(*)) OVER (), 2) AS {percentage}
        FROM {quoted(dataset, target.table)}
        WHERE {column} IS NOT NULL
        GROUP BY {column}
        ORDER BY count(*) DESC, {column}
    """


def _other_than(name: str, taken: Collection[str]) -> str:
    """`name`, or one like it where a column of the spec has that name."""
    return f"all_{name}" if name in taken else name
