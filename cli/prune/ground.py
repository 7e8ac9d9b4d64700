"""What every rule of the pruning stands on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, text

from shared.contracts.topics import CONSUMERS
from shared.object_store import ObjectStore, ObjectUri
from shared.settings import Settings

FINAL = ("published", "rejected", "unchanged", "superseded", "failed", "withdrawn")


@dataclass(frozen=True)
class Removed:
    """What a rule has removed, or would: so many things, rows or objects, older than `before`."""

    what: str
    before: datetime | None
    items: int = 0
    bytes: int = 0
    note: str = ""


@dataclass(frozen=True)
class Ground:
    """The servers, the moment that counts as now, and whether all is to be left as it is."""

    settings: Settings
    engine: Engine
    store: ObjectStore
    now: datetime
    is_dry: bool

    def before(self, days: float) -> datetime:
        """The moment that lies so many days back."""
        return self.now - timedelta(days=days)

    def size(self, prefix: ObjectUri) -> int:
        """The bytes of all objects below a prefix."""
        return sum(found.size for found in self.store.list(prefix))

    def delete(self, prefix: ObjectUri) -> int:
        """Delete all objects below a prefix, which must end with a slash; their bytes."""
        found = self.store.list(prefix)
        self.store.delete(each.uri for each in found)
        return sum(each.size for each in found)


def delete_rows(
    connection: Connection, table: str, condition: str, parameters: Mapping[str, Any]
) -> tuple[int, int]:
    """Delete the rows `t` of a control table that meet `condition`; how many, and their bytes."""
    statement = f"""
        WITH gone AS (
            DELETE FROM headrace.{table} AS t WHERE {condition} RETURNING pg_column_size(t) AS size
        )
        SELECT count(*) AS items, coalesce(sum(size), 0)::bigint AS bytes FROM gone
    """
    row = connection.execute(text(statement), parameters).one()
    return row.items, row.bytes


def consumers() -> dict[str, list[str]]:
    """Which service does the events of which topic, as two lists of the same length."""
    pairs = [(topic.value, name) for topic, names in CONSUMERS.items() for name in names]
    return {"topics": [topic for topic, _ in pairs], "consumers": [name for _, name in pairs]}


# Conditions about a load `l`; `:before` is the rule's moment.
IS_FINISHED = """
    l.status = ANY (:final) AND l.finished_at < :before
    AND NOT EXISTS (
        SELECT FROM headrace.dead_letters AS d
        WHERE d.correlation_id = l.load_id AND d.dropped_at IS NULL
            AND (d.redriven_at IS NULL OR d.redriven_at >= :before)
    )
"""
"""It has been for a while, and nothing of it waits for a redrive or was just redriven."""
IS_OPEN = """
    EXISTS (SELECT FROM headrace.slices AS s WHERE s.load_id = l.load_id)
    OR EXISTS (
        SELECT FROM headrace.loads AS c
        WHERE c.corrects = l.load_id AND c.status <> ALL (:final)
    )
    OR l.status = 'rejected' AND NOT EXISTS (
        SELECT FROM headrace.loads AS n
        WHERE n.dataset = l.dataset AND n.slice_key = l.slice_key AND n.started_at > l.started_at
            AND n.status NOT IN ('unchanged', 'failed')
    )
"""
"""It is what its slice has now: published, being corrected, or refused and to be mended."""
IS_DEPENDED_ON = """
    EXISTS (
        SELECT FROM headrace.training_datasets AS t
        WHERE t.dataset = s.dataset AND t.snapshot_id = s.snapshot_id
    ) OR EXISTS (
        SELECT FROM headrace.promotions AS p
        WHERE p.dataset = s.dataset AND p.snapshot_id = s.snapshot_id
    )
"""
"""A training dataset or a model version came of the snapshot `s`."""
