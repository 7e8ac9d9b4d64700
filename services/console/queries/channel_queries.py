"""The statements behind `channels`, each with its rows by dataset; `:datasets` names the wanted."""

NEWEST = """
    WITH newest AS (
        SELECT DISTINCT ON (dataset, slice_key) dataset, slice_key, load_id, status
        FROM headrace.loads
        WHERE dataset = ANY(:datasets) AND status NOT IN ('unchanged', 'superseded')
        ORDER BY dataset, slice_key, started_at DESC
    )
    SELECT dataset, status, coalesce(r.stage, 'ingest') AS stage, count(*) AS slices
    FROM newest
    LEFT JOIN LATERAL (
        SELECT stage
        FROM headrace.stage_runs
        WHERE load_id = newest.load_id AND newest.status IN ('rejected', 'failed')
        ORDER BY started_at DESC
        LIMIT 1
    ) AS r ON true
    GROUP BY 1, 2, 3
"""

WAITING = """
    WITH open AS (
        SELECT dataset, load_id, slice_key
        FROM headrace.loads
        WHERE status IN ('loading', 'loaded', 'validated') AND dataset = ANY(:datasets)
        UNION
        -- What is emitted, and neither done nor given up: among the newest of each kind, for events
        -- of a dataset are done in their order.
        SELECT d.dataset, o.load_id, o.slice_key
        FROM unnest(CAST(:datasets AS text[])) AS d (dataset)
        CROSS JOIN unnest(ARRAY['load-requested', 'snapshotted', 'dataset-ready']) AS t (topic)
        CROSS JOIN LATERAL (
            SELECT event_id, headers ->> 'ce_correlationid' AS load_id,
                   split_part(headers ->> 'ce_subject', '/', 2) AS slice_key
            FROM headrace.outbox
            WHERE key = d.dataset AND topic = t.topic
            ORDER BY outbox_id DESC
            LIMIT :events
        ) AS o
        WHERE NOT EXISTS (SELECT FROM headrace.inbox AS i WHERE i.event_id = o.event_id)
            AND NOT EXISTS (
                SELECT FROM headrace.dead_letters AS d
                WHERE d.event_id = o.event_id AND d.redriven_at IS NULL)
        UNION
        SELECT dataset, load_id, slice_key
        FROM headrace.stage_runs
        WHERE state = 'running' AND dataset = ANY(:datasets)
    )
    SELECT open.dataset, open.load_id, open.slice_key, r.stage,
           coalesce(r.state = 'running', false) AS is_running, coalesce(r.attempts, 0) AS attempts
    FROM open
    LEFT JOIN LATERAL (
        SELECT stage, state, attempts
        FROM headrace.stage_runs
        WHERE load_id = open.load_id
        ORDER BY started_at DESC
        LIMIT 1
    ) AS r ON true
"""

DEAD = """
    SELECT dataset, service, count(*) AS records
    FROM headrace.dead_letters
    WHERE redriven_at IS NULL AND dropped_at IS NULL AND dataset = ANY(:datasets)
    GROUP BY 1, 2
"""

SCORES = """
    SELECT dataset, decided_at, model_version, promoted, metric, score, champion_score
    FROM unnest(CAST(:datasets AS text[])) AS d (dataset)
    CROSS JOIN LATERAL (
        SELECT decided_at, model_version, promoted, metric, score, champion_score
        FROM headrace.promotions
        WHERE dataset = d.dataset
        ORDER BY decided_at DESC
        LIMIT :scores
    ) AS newest
    ORDER BY dataset, decided_at
"""


VERSIONS = """
    SELECT dataset, count(DISTINCT load_id) AS loads
    FROM headrace.promotions
    WHERE dataset = ANY(:datasets)
    GROUP BY dataset
"""
