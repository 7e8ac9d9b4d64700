"""What is in trouble: slices that were refused, dead letters, what waits and on what."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, text

from shared.contracts.topics import CONSUMERS, Topic
from shared.database.statuses import LoadStatus

_REFUSED = """
    FROM headrace.loads AS l
    WHERE l.status IN ('rejected', 'failed')
        AND NOT EXISTS (
            SELECT FROM headrace.loads AS n
            WHERE n.dataset = l.dataset AND n.slice_key = l.slice_key
                AND n.started_at > l.started_at AND n.status NOT IN ('unchanged', 'superseded')
        )
"""
_REFUSED_COUNT = f"SELECT count(*) {_REFUSED}"
_REFUSED_PAGE = f"""
    SELECT l.load_id, l.dataset, l.slice_key, l.status, l.kind, l.as_of, l.rows_quarantined,
           coalesce(l.finished_at, l.started_at) AS at, l.landing_uri IS NOT NULL AS has_landed,
           coalesce(
               l.reasons -> 0 ->> 'message',
               (
                   SELECT d.reason FROM headrace.dead_letters AS d
                   WHERE d.correlation_id = l.load_id ORDER BY d.dead_letter_id DESC LIMIT 1
               ),
               ''
           ) AS reason,
           coalesce(jsonb_array_length(nullif(l.reasons, 'null')), 0) AS reasons,
           (
               SELECT r.stage FROM headrace.stage_runs AS r
               WHERE r.load_id = l.load_id ORDER BY r.started_at DESC LIMIT 1
           ) AS stage
    {_REFUSED}
    ORDER BY at DESC, l.load_id
    LIMIT :rows OFFSET :first
"""
_LETTERS_COUNT = """
    SELECT count(*) FILTER (WHERE redriven_at IS NULL AND dropped_at IS NULL) AS open,
           count(*) AS every
    FROM headrace.dead_letters
"""
_LETTERS = """
    SELECT dead_letter_id, service, topic, dataset, slice_key, event_type, error_class, reason,
           attempts, failed_at,
           CASE WHEN dropped_at IS NOT NULL THEN 'dropped'
                WHEN redriven_at IS NOT NULL THEN 'redriven' ELSE 'open' END AS state
    FROM headrace.dead_letters
    WHERE :every OR (redriven_at IS NULL AND dropped_at IS NULL)
    ORDER BY dead_letter_id DESC
    LIMIT :rows OFFSET :first
"""
_LOADS = """
    SELECT l.load_id, l.dataset, l.slice_key, l.status, r.stage, r.state, r.attempts,
           coalesce(r.finished_at, r.started_at, l.started_at) AS since,
           e.slice_key AS behind, e.load_id AS behind_load, e.status AS behind_status
    FROM headrace.loads AS l
    LEFT JOIN LATERAL (
        SELECT stage, state, attempts, started_at, finished_at
        FROM headrace.stage_runs WHERE load_id = l.load_id ORDER BY started_at DESC LIMIT 1
    ) AS r ON true
    LEFT JOIN LATERAL (
        SELECT slice_key, load_id, status
        FROM headrace.loads
        WHERE dataset = l.dataset AND started_at < l.started_at
            AND status IN ('loaded', 'validated')
        ORDER BY started_at LIMIT 1
    ) AS e ON l.status = 'loaded'
    WHERE l.status IN ('loading', 'loaded', 'validated')
    ORDER BY l.started_at
    LIMIT :rows
"""
# Of what is loaded or validated the load itself says where it stands.
_EVENTS = """
    SELECT o.event_id, o.key AS dataset, o.topic, o.published_at, o.created_at AS since,
           split_part(o.headers ->> 'ce_subject', '/', 2) AS slice_key, r.attempts,
           coalesce(r.state = 'running', false) AS is_running
    FROM headrace.outbox AS o
    LEFT JOIN headrace.stage_runs AS r ON r.event_id = o.event_id
    WHERE o.topic = ANY(:topics)
        AND NOT EXISTS (SELECT FROM headrace.inbox AS i WHERE i.event_id = o.event_id)
        AND NOT EXISTS (
            SELECT FROM headrace.dead_letters AS d
            WHERE d.event_id = o.event_id AND d.redriven_at IS NULL
        )
        AND NOT EXISTS (SELECT FROM headrace.loads AS l WHERE l.load_id = o.event_id)
    ORDER BY o.outbox_id
    LIMIT :rows
"""
_SCHEDULES = """
    SELECT dataset, due_at, detail
    FROM (
        SELECT DISTINCT ON (dataset) dataset, due_at, outcome, detail
        FROM headrace.schedule_runs
        ORDER BY dataset, due_at DESC
    ) AS last
    WHERE outcome = 'refused'
    ORDER BY dataset
"""
_WAITED_FOR = (
    *(Topic.LOAD_REQUESTED, Topic.SNAPSHOTTED, Topic.DATASET_READY, Topic.PROMOTION_REQUESTED),
)
_SERVICE_OF = {
    LoadStatus.LOADING: "ingestor",
    LoadStatus.LOADED: "validator",
    LoadStatus.VALIDATED: "snapshotter",
}


@dataclass(frozen=True)
class Waiting:
    """Something that isn't through: what it is, who has to do it, and what it waits on."""

    dataset: str
    slice_key: str
    service: str
    since: datetime
    is_working: bool
    attempts: int
    """More than one says that something fails and is tried again."""
    load_id: str | None = None
    topic: str | None = None
    behind: str | None = None
    """The slice that has to be through before this one."""
    behind_load: str | None = None
    is_unsent: bool = False
    """Whether its event isn't on its topic yet."""


def count_refused(connection: Connection) -> int:
    """How many slices were refused last."""
    return int(connection.execute(text(_REFUSED_COUNT)).scalar_one())


def refused(connection: Connection, *, first: int, rows: int) -> Sequence[RowMapping]:
    """The slices whose newest load was rejected or given up, the newest first."""
    page = {"first": first, "rows": rows}
    return connection.execute(text(_REFUSED_PAGE), page).mappings().all()


def count_letters(connection: Connection) -> tuple[int, int]:
    """How many dead letters are open, and how many there are."""
    row = connection.execute(text(_LETTERS_COUNT)).one()
    return row.open, row.every


def letters(connection: Connection, *, every: bool, first: int, rows: int) -> Sequence[RowMapping]:
    """Dead letters, the newest first; without `every` only the open ones."""
    page = {"every": every, "first": first, "rows": rows}
    return connection.execute(text(_LETTERS), page).mappings().all()


def refused_schedules(connection: Connection) -> Sequence[RowMapping]:
    """The schedules whose last moment could ask for nothing."""
    return connection.execute(text(_SCHEDULES)).mappings().all()


def waiting(connection: Connection, rows: int) -> list[Waiting]:
    """What isn't through, the oldest first, `rows` of each kind at most."""
    loads = [
        Waiting(
            dataset=row.dataset,
            slice_key=row.slice_key,
            service=_SERVICE_OF[LoadStatus(row.status)],
            since=row.since,
            is_working=row.state == "running",
            attempts=row.attempts or 0,
            load_id=row.load_id,
            behind=row.behind,
            behind_load=row.behind_load,
        )
        for row in connection.execute(text(_LOADS), {"rows": rows})
    ]
    topics = [topic.value for topic in _WAITED_FOR]
    events = [
        Waiting(
            dataset=row.dataset,
            slice_key=row.slice_key,
            service=" and ".join(CONSUMERS[Topic(row.topic)]),
            since=row.since,
            is_working=row.is_running,
            attempts=row.attempts or 0,
            topic=row.topic,
            is_unsent=row.published_at is None,
        )
        for row in connection.execute(text(_EVENTS), {"rows": rows, "topics": topics})
    ]
    return sorted([*loads, *events], key=lambda each: each.since)
