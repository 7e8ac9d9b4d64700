"""Events: each load has those that it must have, each event one effect. Promises 1 and 2."""

from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Row

from cli.verify.findings import Finding
from cli.verify.ground import Ground
from shared.contracts.events import (
    DatasetReady,
    DriftDetected,
    ModelPublished,
    SliceLoaded,
    SliceRejected,
    Snapshotted,
    Validated,
)
from shared.database.statuses import LoadKind, LoadStatus

_CAUSED = UUID("5f0c3f3e-6a0e-4f65-9d0f-2f8a4c1a7b11")
"""The name space of the ids of events that another one has caused."""
_OF_STAGES = (
    SliceLoaded,
    SliceRejected,
    Validated,
    Snapshotted,
    DatasetReady,
    ModelPublished,
    DriftDetected,
)
_LOADED, _REJECTED = SliceLoaded.topic.value, SliceRejected.topic.value
_VALIDATED, _SNAPSHOTTED = Validated.topic.value, Snapshotted.topic.value
_READY, _MODEL = DatasetReady.topic.value, ModelPublished.topic.value
_DRIFT = DriftDetected.topic.value

_SERVICES = ("ingestor", "validator", "snapshotter", "trainer")
"""Whose events follow from others; those of `headrace replay` are a person's."""

# How many of each a load has by its status; of what isn't here there may be any number.
_MUST_HAVE: dict[LoadStatus, dict[str, tuple[int, ...]]] = {
    LoadStatus.LOADING: {_LOADED: (0,), _REJECTED: (0,), _VALIDATED: (0,), _SNAPSHOTTED: (0,)},
    LoadStatus.LOADED: {_LOADED: (1,), _REJECTED: (0,), _VALIDATED: (0,), _SNAPSHOTTED: (0,)},
    LoadStatus.VALIDATED: {_LOADED: (1,), _REJECTED: (0,), _VALIDATED: (1,), _SNAPSHOTTED: (0,)},
    LoadStatus.PUBLISHED: {_LOADED: (1,), _REJECTED: (0,), _VALIDATED: (1,), _SNAPSHOTTED: (1,)},
    LoadStatus.SUPERSEDED: {_LOADED: (1,), _REJECTED: (0,), _VALIDATED: (1,), _SNAPSHOTTED: (0,)},
    LoadStatus.REJECTED: {_LOADED: (0, 1), _REJECTED: (1,), _VALIDATED: (0,), _SNAPSHOTTED: (0,)},
    LoadStatus.UNCHANGED: {_LOADED: (0,), _REJECTED: (0,), _VALIDATED: (0,), _SNAPSHOTTED: (0,)},
    LoadStatus.WITHDRAWN: {_LOADED: (1,), _REJECTED: (0,), _VALIDATED: (1,), _SNAPSHOTTED: (1,)},
    LoadStatus.FAILED: {_SNAPSHOTTED: (0,)},
}
_LOADS = """
    SELECT l.load_id, l.dataset, l.slice_key, l.status, e.topics,
           l.kind,
           l.started_at < :events_until OR EXISTS (
               SELECT FROM headrace.snapshots AS s
               WHERE s.load_id = l.load_id AND s.pruned_at IS NOT NULL
           ) AS may_lack_events,
           l.finished_at < :dead_letters_until AS may_lack_dead_letter,
           EXISTS (
               SELECT FROM headrace.dead_letters AS d WHERE d.correlation_id = l.load_id
           ) AS has_dead_letter
    FROM headrace.loads AS l
    LEFT JOIN (
        SELECT load_id, jsonb_object_agg(topic, events) AS topics
        FROM (
            SELECT headers ->> 'ce_correlationid' AS load_id, topic, count(*) AS events
            FROM headrace.outbox
            WHERE key = ANY(:datasets) AND source = ANY(:services)
            GROUP BY 1, 2
        ) AS counted
        GROUP BY load_id
    ) AS e ON e.load_id = l.load_id
    WHERE l.dataset = ANY(:datasets)
    ORDER BY l.started_at
"""
_TWICE = """
    SELECT headers ->> 'ce_causationid' AS cause, source, headers ->> 'ce_type' AS type,
           array_agg(event_id ORDER BY outbox_id) AS ids
    FROM headrace.outbox
    WHERE key = ANY(:datasets) AND topic = ANY(:topics) AND source = ANY(:services)
        AND headers ? 'ce_causationid'
    GROUP BY 1, 2, 3
    HAVING count(*) > 1
"""
_IDS = """
    SELECT event_id, source, headers ->> 'ce_causationid' AS cause, headers ->> 'ce_type' AS type
    FROM headrace.outbox
    WHERE key = ANY(:datasets) AND topic = ANY(:topics) AND source = ANY(:services)
        AND headers ? 'ce_causationid'
"""
# What a consumer has done of each event that led to an effect: the mark that goes with it.
_UNMARKED = """
    WITH effects AS (
        SELECT o.headers ->> 'ce_causationid' AS cause, o.source AS consumer,
               'the event ' || o.event_id || ' on ' || o.topic AS effect, o.created_at AS at
        FROM headrace.outbox AS o
        WHERE o.key = ANY(:datasets) AND o.topic = ANY(:topics) AND o.source = ANY(:services)
            AND o.headers ? 'ce_causationid'
        UNION ALL
        SELECT event_id, 'trainer', 'the decision about ' || model_name || ' ' || model_version,
               decided_at
        FROM headrace.promotions
        WHERE dataset = ANY(:datasets) AND decision <> ALL(:by_hand)
        UNION ALL
        SELECT event_id, 'trainer', 'the drift of snapshot ' || snapshot_id, min(measured_at)
        FROM headrace.drift
        WHERE dataset = ANY(:datasets)
        GROUP BY event_id, snapshot_id
        UNION ALL
        SELECT event_id, 'notifier', 'a message to ' || target, created_at
        FROM headrace.notifications
        WHERE dataset = ANY(:datasets)
    )
    SELECT e.cause, e.consumer, e.effect
    FROM effects AS e
    LEFT JOIN headrace.inbox AS i ON i.event_id = e.cause AND i.consumer = e.consumer
    WHERE i.event_id IS NULL AND e.at >= :marks_until
"""
# Where a mark is, its effect has to be.
_WITHOUT_EFFECT = """
    SELECT o.event_id, o.topic, i.consumer, 'an event that it caused' AS missing
    FROM headrace.outbox AS o
    JOIN headrace.inbox AS i ON i.event_id = o.event_id
    JOIN headrace.loads AS l ON l.load_id = o.headers ->> 'ce_correlationid'
    WHERE o.key = ANY(:datasets)
        AND (
            (o.topic = :loaded AND i.consumer = 'validator'
                AND l.status <> ALL(:left_alone))
            OR (o.topic = :validated AND i.consumer = 'snapshotter'
                AND l.status NOT IN ('superseded', 'unchanged'))
            OR (o.topic IN (:snapshotted, :ready) AND i.consumer = 'trainer'
                AND l.spec_digest = ANY(:training_specs)
                AND coalesce(
                    (convert_from(o.value, 'UTF8')::jsonb ->> 'trains')::boolean, TRUE))
        )
        AND i.processed_at >= :events_until
        AND NOT EXISTS (
            SELECT FROM headrace.snapshots AS s
            WHERE s.load_id = l.load_id AND s.pruned_at IS NOT NULL
        )
        AND NOT EXISTS (  -- one that a person has dropped is marked as done, and nothing more
            SELECT FROM headrace.dead_letters AS d
            WHERE d.service = i.consumer AND d.event_id = o.event_id
                AND d.dropped_at IS NOT NULL
        )
        AND NOT EXISTS (
            SELECT FROM headrace.outbox AS c
            WHERE c.headers ->> 'ce_causationid' = o.event_id AND c.source = i.consumer
        )
    UNION ALL
    SELECT o.event_id, o.topic, i.consumer, 'a decision'
    FROM headrace.outbox AS o
    JOIN headrace.inbox AS i ON i.event_id = o.event_id AND i.consumer = 'trainer'
    JOIN headrace.outbox AS c
        ON c.headers ->> 'ce_causationid' = o.event_id AND c.topic = :model
    WHERE o.key = ANY(:datasets) AND o.topic = :ready
        AND NOT EXISTS (SELECT FROM headrace.promotions AS p WHERE p.event_id = o.event_id)
    UNION ALL
    SELECT o.event_id, o.topic, o.source, 'the training dataset ' || v.dataset_version
    FROM headrace.outbox AS o
    CROSS JOIN LATERAL (
        SELECT convert_from(o.value, 'UTF8')::jsonb ->> 'dataset_version' AS dataset_version
    ) AS v
    WHERE o.key = ANY(:datasets) AND o.topic = :ready
        AND NOT EXISTS (
            SELECT FROM headrace.training_datasets AS d
            WHERE d.dataset = o.key AND d.dataset_version = v.dataset_version
        )
    UNION ALL
    SELECT o.event_id, o.topic, o.source, 'the drift of snapshot ' || (v.payload ->> 'snapshot_id')
    FROM headrace.outbox AS o
    CROSS JOIN LATERAL (SELECT convert_from(o.value, 'UTF8')::jsonb AS payload) AS v
    WHERE o.key = ANY(:datasets) AND o.topic = :drift
        AND NOT EXISTS (
            SELECT FROM headrace.drift AS d
            WHERE d.dataset = o.key AND d.snapshot_id = v.payload ->> 'snapshot_id'
                AND d.baseline_version = v.payload ->> 'baseline_version'
        )
"""
_SNAPSHOTS = """
    SELECT o.event_id, v.payload ->> 'snapshot_id' AS said, v.payload ->> 'manifest_sha256' AS sha,
           s.snapshot_id, s.manifest_sha256
    FROM headrace.outbox AS o
    CROSS JOIN LATERAL (SELECT convert_from(o.value, 'UTF8')::jsonb AS payload) AS v
    LEFT JOIN headrace.snapshots AS s ON s.load_id = v.payload ->> 'load_id'
    WHERE o.key = ANY(:datasets) AND o.topic = :snapshotted
        AND (v.payload ->> 'snapshot_id', v.payload ->> 'manifest_sha256')
            IS DISTINCT FROM (s.snapshot_id, s.manifest_sha256)
"""
_BY_HAND = ("promoted_by_hand", "rolled_back")
_LEFT_ALONE = (LoadStatus.SUPERSEDED.value, LoadStatus.FAILED.value)


def check_events(ground: Ground, finding: Finding) -> None:
    """Loads against their events, events against their causes, effects against inbox marks."""
    names = _names(ground)
    with ground.view() as connection:
        for row in ground.each(connection, _LOADS, **names):
            finding.saw("loads")
            _of_load(finding, row)
        for row in ground.rows(connection, _TWICE, **names):
            finding.differs(
                f"cause {row.cause}",
                f"{row.type} of the {row.source}",
                expected="one event",
                found=", ".join(row.ids),
            )
        for row in ground.each(connection, _IDS, **names):
            finding.saw("events")
            _follows_from_cause(finding, row)
        for row in ground.rows(connection, _UNMARKED, **names):
            finding.differs(
                f"event {row.cause}",
                f"inbox mark of the {row.consumer}",
                expected=f"a mark, for there is {row.effect}",
                found=None,
            )
        for row in ground.rows(connection, _WITHOUT_EFFECT, **names):
            finding.differs(
                f"event {row.event_id} on {row.topic}",
                f"done by the {row.consumer}",
                expected=row.missing,
                found=None,
            )
        for row in ground.rows(connection, _SNAPSHOTS, **names):
            finding.differs(
                f"event {row.event_id} on {_SNAPSHOTTED}",
                "its snapshot",
                expected=f"{row.said} with manifest {row.sha}",
                found=f"{row.snapshot_id} with manifest {row.manifest_sha256}",
            )


def _of_load(finding: Finding, row: Row[Any]) -> None:
    status, topics = LoadStatus(row.status), row.topics or {}
    where = f"{row.dataset}/{row.slice_key}, load {row.load_id}, which is {row.status}"
    must_have = _MUST_HAVE.get(status, {})
    if status is LoadStatus.UNCHANGED and row.kind == LoadKind.WITHDRAWAL:
        must_have = {_SNAPSHOTTED: (0,)}  # the slice wasn't in when its turn came
    for topic, allowed in must_have.items():
        found = topics.get(topic, 0)
        if found in allowed or (row.may_lack_events and found < max(allowed)):
            continue
        expected = " or ".join(map(str, allowed))
        finding.differs(where, f"events on {topic}", expected=expected, found=found)
    has_reason = row.has_dead_letter or row.may_lack_dead_letter
    if status is LoadStatus.FAILED and not has_reason:
        finding.differs(where, "dead letter", expected="one that says why", found=None)


def _follows_from_cause(finding: Finding, row: Row[Any]) -> None:
    """The id of an event follows from its cause's, so that doing it again names it again."""
    expected = str(uuid5(_CAUSED, f"{row.cause}/{row.source}/{row.type}/1"))
    where = f"{row.type} of the {row.source}, caused by {row.cause}"
    finding.require(where, "event id", expected=expected, found=row.event_id)


def _names(ground: Ground) -> dict[str, Any]:
    training = [
        ground.spec_digests[name]
        for name, spec in ground.specs.items()
        if spec.training is not None
    ]
    return {
        "topics": [event.topic.value for event in _OF_STAGES],
        "services": list(_SERVICES),
        "by_hand": list(_BY_HAND),
        "marks_until": ground.removed.marks_until,
        "events_until": ground.removed.events_until,
        "dead_letters_until": ground.removed.dead_letters_until,
        "loaded": _LOADED,
        "validated": _VALIDATED,
        "snapshotted": _SNAPSHOTTED,
        "ready": _READY,
        "model": _MODEL,
        "drift": _DRIFT,
        "left_alone": list(_LEFT_ALONE),
        "training_specs": training,
    }
