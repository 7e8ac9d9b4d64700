"""The statements of the overview, each with its rows by dataset. `:datasets` names those wanted."""

from shared.database.state_views import REACH_AND_CHANGES

REACHED = """
    SELECT s.dataset, count(*) AS slices, max(l.percentage) AS percentage,
           (array_agg(s.slice_key ORDER BY l.percentage DESC NULLS LAST, s.as_of DESC))[1]
           AS slice_key,
           max(s.as_of) AS as_of
    FROM headrace.slices AS s
    LEFT JOIN headrace.loads AS l ON l.load_id = s.load_id
    WHERE s.dataset = ANY(:datasets)
    GROUP BY s.dataset
"""

ROWS = """
    SELECT dataset, jsonb_object_agg(t.name, t.facts -> 'rows') AS rows
    FROM unnest(CAST(:datasets AS text[])) AS d (dataset)
    CROSS JOIN LATERAL (
        SELECT tables
        FROM headrace.snapshots
        WHERE dataset = d.dataset
        ORDER BY as_of DESC, known_at DESC
        LIMIT 1
    ) AS newest
    CROSS JOIN LATERAL jsonb_each(newest.tables) AS t (name, facts)
    GROUP BY dataset
"""

CLASSES = """
    SELECT dataset, class_counts
    FROM unnest(CAST(:datasets AS text[])) AS d (dataset)
    CROSS JOIN LATERAL (
        SELECT class_counts
        FROM headrace.training_datasets
        WHERE dataset = d.dataset
        ORDER BY as_of DESC, created_at DESC
        LIMIT 1
    ) AS newest
"""

LAST_LOAD = """
    SELECT dataset, load_id, slice_key, status, at
    FROM unnest(CAST(:datasets AS text[])) AS d (dataset)
    CROSS JOIN LATERAL (
        SELECT load_id, slice_key, status, coalesce(finished_at, started_at) AS at
        FROM headrace.loads
        WHERE dataset = d.dataset
        ORDER BY started_at DESC
        LIMIT 1
    ) AS newest
"""

CHAMPION = """
    SELECT dataset, model_name, model_version, metric, score, as_of, since
    FROM unnest(CAST(:datasets AS text[])) AS d (dataset)
    CROSS JOIN LATERAL (
        SELECT model_name, model_version, metric, score, as_of, decided_at AS since
        FROM headrace.promotions
        WHERE dataset = d.dataset AND promoted
        ORDER BY decided_at DESC
        LIMIT 1
    ) AS newest
"""

COUNTS = """
    SELECT d.dataset, o.unpublished_events, o.oldest_unpublished, dead.dead_letters,
           i.missing_images
    FROM unnest(CAST(:datasets AS text[])) AS d (dataset)
    CROSS JOIN LATERAL (
        SELECT count(*) AS unpublished_events, min(created_at) AS oldest_unpublished
        FROM headrace.outbox
        WHERE published_at IS NULL AND key = d.dataset
    ) AS o
    CROSS JOIN LATERAL (
        SELECT count(*) AS dead_letters
        FROM headrace.dead_letters
        WHERE redriven_at IS NULL AND dropped_at IS NULL AND dataset = d.dataset
    ) AS dead
    CROSS JOIN LATERAL (
        SELECT count(*) AS missing_images
        FROM headrace.images
        WHERE state = 'missing' AND dataset = d.dataset
    ) AS i
"""

WAITING = """
    WITH open AS (
        SELECT dataset, load_id, slice_key
        FROM headrace.loads
        WHERE status IN ('loading', 'loaded', 'validated')
        UNION
        -- What a service has emitted and the next one has neither done nor given up. While its
        -- slice is loaded or validated, the load says so itself.
        SELECT key, headers ->> 'ce_correlationid', split_part(headers ->> 'ce_subject', '/', 2)
        FROM headrace.outbox AS o
        WHERE topic IN ('load-requested', 'snapshotted', 'dataset-ready')
            AND NOT EXISTS (SELECT FROM headrace.inbox AS i WHERE i.event_id = o.event_id)
            AND NOT EXISTS (
                SELECT FROM headrace.dead_letters AS d
                WHERE d.event_id = o.event_id AND d.redriven_at IS NULL)
        UNION
        SELECT dataset, load_id, slice_key FROM headrace.stage_runs WHERE state = 'running'
    )
    SELECT open.dataset, open.load_id, open.slice_key, r.stage,
           coalesce(r.state = 'running', false) AS is_running,
           coalesce(r.attempts, 0) AS attempts,
           coalesce(r.finished_at, r.started_at, l.started_at, o.created_at) AS since
    FROM open
    LEFT JOIN headrace.loads AS l ON l.load_id = open.load_id
    LEFT JOIN headrace.outbox AS o ON o.event_id = open.load_id
    LEFT JOIN LATERAL (
        SELECT stage, state, attempts, started_at, finished_at
        FROM headrace.stage_runs
        WHERE load_id = open.load_id
        ORDER BY started_at DESC
        LIMIT 1
    ) AS r ON true
    WHERE open.dataset = ANY(:datasets)
    ORDER BY open.dataset, since
"""

REJECTED = """
    SELECT dataset, load_id, slice_key, coalesce(reasons -> 0 ->> 'message', '') AS reason,
           coalesce(jsonb_array_length(nullif(reasons, 'null')), 0) AS reasons
    FROM (
        SELECT DISTINCT ON (dataset, slice_key) dataset, slice_key, load_id, status, reasons, as_of
        FROM headrace.loads
        WHERE dataset = ANY(:datasets) AND status <> 'unchanged'
        ORDER BY dataset, slice_key, started_at DESC
    ) AS newest
    WHERE status = 'rejected'
    ORDER BY dataset, as_of, slice_key
"""

WITHDRAWN = """
    SELECT DISTINCT ON (dataset, slice_key)
           dataset, load_id, slice_key, requested_by, finished_at AS at,
           coalesce(reasons -> 0 ->> 'message', '') AS reason
    FROM headrace.loads AS l
    WHERE dataset = ANY(:datasets) AND kind = 'withdrawal' AND status = 'withdrawn'
        AND NOT EXISTS (
            SELECT FROM headrace.slices AS s
            WHERE s.dataset = l.dataset AND s.slice_key = l.slice_key)
    ORDER BY dataset, slice_key, started_at DESC
"""

HISTORY = f"""
    SELECT l.load_id, l.dataset, l.slice_key, l.as_of, l.revision, l.percentage,
           coalesce(l.end_row, largest.rows) AS rows,
           changed.inserted, changed.updated, changed.unchanged, changed.deleted,
           l.rows_quarantined,
           l.status, l.kind, l.withdrawn_at, l.corrects, l.correction, l.trains, l.requested_by,
           l.started_at, l.finished_at AS completed_at,
           m.model_name, m.model_version, m.metric, m.score, m.decision,
           l.changes, l.images, l.reasons
    FROM headrace.loads AS l
    {REACH_AND_CHANGES}
    LEFT JOIN LATERAL (
        SELECT model_name, model_version, metric, score, decision
        FROM headrace.promotions
        WHERE load_id = l.load_id
        ORDER BY decided_at
        LIMIT 1
    ) AS m ON true
    WHERE l.dataset = :dataset
    ORDER BY l.started_at
"""
