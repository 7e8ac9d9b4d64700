"""Snapshots' Parquet files: of old snapshots that nothing came of, and of tries that failed."""

import re
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from cli.prune.ground import IS_DEPENDED_ON, Ground, Removed
from shared.object_store import Bucket, ObjectUri, StoredObject

SNAPSHOTS, ORPHANS = "snapshots", "files of no snapshot"
_MANIFESTS = "/_manifests/"
_PLACE = re.compile(
    r"(?P<dataset>[^/]+)/[^/]+/as_of=[^/]+/known_at=(?P<known>\d{8}T\d{6}\.\d{6}Z)/"
)

# The event that announces a snapshot goes with it, so that nobody replays it in vain: it must have
# been done, and be as old as events have to be.
_OLD = f"""
    SELECT s.snapshot_id, s.dataset, s.load_id, s.manifest_uri, s.tables
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY dataset ORDER BY as_of DESC, known_at DESC
        ) AS place
        FROM headrace.snapshots
    ) AS s
    WHERE s.pruned_bytes IS NULL AND (CAST(:id AS text) IS NULL OR s.snapshot_id = :id)
        AND (
            s.pruned_at IS NOT NULL
            OR s.place > :kept AND s.known_at < :before AND NOT ({IS_DEPENDED_ON})
            AND NOT EXISTS (
                SELECT FROM headrace.outbox AS o
                WHERE o.topic = 'snapshotted' AND o.headers ->> 'ce_correlationid' = s.load_id
                    AND (
                        coalesce(o.published_at >= :before, TRUE)
                        OR NOT EXISTS (
                            SELECT FROM headrace.inbox AS i
                            WHERE i.consumer = 'trainer' AND i.event_id = o.event_id
                        )
                    )
            )
            AND NOT EXISTS (
                SELECT FROM headrace.dead_letters AS d
                WHERE d.correlation_id = s.load_id AND d.dropped_at IS NULL
                    AND (d.redriven_at IS NULL OR d.redriven_at >= :before)
            )
            AND NOT EXISTS (
                SELECT FROM headrace.stage_runs AS r
                WHERE r.load_id = s.load_id AND r.state = 'running'
            )
        )
    ORDER BY s.dataset, s.known_at
"""
_MARK = """
    UPDATE headrace.snapshots SET pruned_at = :now WHERE snapshot_id = :id AND pruned_at IS NULL
"""
_FORGET = """
    DELETE FROM headrace.outbox
    WHERE topic = 'snapshotted' AND headers ->> 'ce_correlationid' = :load_id
"""
_SETTLE = "UPDATE headrace.snapshots SET pruned_bytes = :freed WHERE snapshot_id = :id"


def prune_snapshots(ground: Ground) -> Removed:
    """Delete the files of old snapshots of which neither a training dataset nor a model came.

    The newest of each dataset stay, however old. The row stays too: what the dataset said then is
    in its history.
    """
    from services.trainer.records import building_lock  # with the trainer's libraries

    before, where = _rule(ground)
    with ground.engine.begin() as connection:
        found = connection.execute(text(_OLD), where).all()
    items = size = 0
    for row in found:
        if ground.is_dry:
            items, size = items + 1, size + sum(map(ground.size, _folders(row)))
            continue
        with building_lock(ground.engine, row.dataset):  # nobody is about to build from it
            with ground.engine.begin() as connection:
                this = where | {"id": row.snapshot_id}
                if connection.execute(text(_OLD), this).first() is None:
                    continue
                connection.execute(text(_MARK), {"id": row.snapshot_id, "now": ground.now})
                connection.execute(text(_FORGET), {"load_id": row.load_id})
            freed = sum(map(ground.delete, _folders(row)))
            with ground.engine.begin() as connection:
                connection.execute(text(_SETTLE), {"id": row.snapshot_id, "freed": freed})
        items, size = items + 1, size + freed
    return Removed(SNAPSHOTS, before, items, size)


def forget_their_events(ground: Ground, connection: Connection) -> None:
    """Delete the events of those snapshots that are to go, as pruning them does."""
    for row in connection.execute(text(_OLD), _rule(ground)[1]).all():
        connection.execute(text(_FORGET), {"load_id": row.load_id})


def _rule(ground: Ground) -> tuple[datetime, dict[str, Any]]:
    settings = ground.settings
    before = ground.before(max(settings.prune_snapshots_days, settings.prune_events_days))
    return before, {"before": before, "kept": settings.prune_snapshots_kept, "id": None}


def prune_orphans(ground: Ground) -> Removed:
    """Delete what tries of the snapshotter have written whose transaction never committed.

    Nothing refers to them: no row of `headrace.snapshots` has their `known_at`.
    """
    before = ground.before(ground.settings.prune_orphans_days)
    with ground.engine.begin() as connection:
        known = {
            (row.dataset, row.known_at.astimezone(UTC))
            for row in connection.execute(text("SELECT dataset, known_at FROM headrace.snapshots"))
        }
        datasets = connection.execute(text("SELECT dataset FROM headrace.datasets")).scalars().all()
    tries: dict[tuple[str, datetime], list[StoredObject]] = defaultdict(list)
    for dataset in datasets:
        for found in ground.store.list(ground.store.uri(Bucket.SNAPSHOTS, f"{dataset}/")):
            place = _PLACE.match(found.uri.key)
            if place is None:
                continue
            at = datetime.strptime(place["known"], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
            if at < before and (dataset, at) not in known:
                tries[dataset, at].append(found)
    objects = [each for of_try in tries.values() for each in of_try]
    if not ground.is_dry:
        ground.store.delete(each.uri for each in objects)
    return Removed(ORPHANS, before, len(objects), sum(each.size for each in objects))


def _folders(row: Row[tuple[str, ...]]) -> list[ObjectUri]:
    """Where the files of a snapshot lie: a folder for each table, and the manifest's last."""
    manifest = str(row.manifest_uri)
    if _MANIFESTS not in manifest:
        return []
    folder = manifest.rpartition("/")[0] + "/"
    tables = [folder.replace(_MANIFESTS, f"/{name}/", 1) for name in row.tables]
    return [ObjectUri.parse(each) for each in [*tables, folder]]
