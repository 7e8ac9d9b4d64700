"""Model versions, the decisions about them, and what they came of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from shared.database.overview_queries import CHAMPION

VERSIONS = """
    WITH first AS (
        SELECT DISTINCT ON (model_name, model_version) model_name, model_version, load_id, as_of,
               dataset_version, snapshot_id, run_id, metric, score, metrics, champion_version,
               champion_score, promoted, decision, reason, decided_at, model_sha256
        FROM headrace.promotions
        WHERE dataset = :dataset
        ORDER BY model_name, model_version, decided_at
    )
    SELECT first.*, l.slice_key, count(*) OVER () AS total
    FROM first
    LEFT JOIN headrace.loads AS l USING (load_id)
    WHERE CAST(:version AS text) IS NULL OR model_version = :version
    ORDER BY decided_at DESC
    LIMIT :rows OFFSET :first
"""

DECISIONS = """
    SELECT model_name, model_version, decision, reason, promoted, alias, metric, score,
           champion_version, champion_score, decided_at, load_id
    FROM headrace.promotions
    WHERE dataset = :dataset AND (CAST(:version AS text) IS NULL OR model_version = :version)
    ORDER BY decided_at DESC
    LIMIT :rows
"""

TRAINING = """
    SELECT dataset_version, snapshot_id, as_of, manifest_uri, train_uri, test_uri, train_rows,
           test_rows, class_counts, run_id, created_at
    FROM headrace.training_datasets
    WHERE dataset = :dataset AND dataset_version = :dataset_version
"""

SNAPSHOT = """
    SELECT snapshot_id, as_of, known_at, manifest_uri, slice_key, load_id, tables, pruned_at
    FROM headrace.snapshots
    WHERE snapshot_id = :snapshot_id
"""

SLICES = """
    WITH known AS (
        SELECT DISTINCT ON (l.slice_key) l.slice_key, l.load_id, l.revision, l.as_of,
               l.landing_uri, l.landing_pruned_at, l.rows_in, l.kind, l.percentage
        FROM headrace.snapshots AS s
        JOIN headrace.loads AS l USING (load_id)
        WHERE s.dataset = :dataset AND s.as_of <= :as_of AND s.known_at <= :known_at
        ORDER BY l.slice_key, s.known_at DESC
    )
    SELECT *, count(*) OVER () AS total
    FROM known
    WHERE kind <> 'withdrawal'
    ORDER BY as_of DESC, percentage DESC NULLS LAST
    LIMIT :rows
"""

SLICES_SHOWN, DECISIONS_SHOWN = 60, 100


@dataclass(frozen=True)
class Lineage:
    """From the version back: its training dataset, the snapshot, and the slices that this knew."""

    training: Mapping[str, Any] | None
    snapshot: Mapping[str, Any] | None
    slices: Sequence[Mapping[str, Any]]
    """Each by the load whose rows the snapshot has, the newest date first."""
    total_slices: int


def read_versions(
    connection: Connection,
    dataset: str,
    *,
    first: int = 0,
    rows: int,
    version: str | None = None,
) -> list[Mapping[str, Any]]:
    """The versions with the first decision about each, the newest first; `total` is of all."""
    asked = {"dataset": dataset, "first": first, "rows": rows, "version": version}
    return [dict(row) for row in connection.execute(text(VERSIONS), asked).mappings()]


def read_decisions(
    connection: Connection, dataset: str, version: str | None = None
) -> list[Mapping[str, Any]]:
    """What was decided about all versions or one, the newest first."""
    asked = {"dataset": dataset, "version": version, "rows": DECISIONS_SHOWN}
    return [dict(row) for row in connection.execute(text(DECISIONS), asked).mappings()]


def read_champion(connection: Connection, dataset: str) -> str | None:
    """The version that is champion, however long ago that was decided."""
    row = connection.execute(text(CHAMPION), {"datasets": [dataset]}).one_or_none()
    return str(row.model_version) if row else None


def read_lineage(connection: Connection, version: Mapping[str, Any]) -> Lineage:
    """What the version came of."""
    dataset = version["dataset"]

    def one(statement: str, **asked: Any) -> Mapping[str, Any] | None:
        row = connection.execute(text(statement), asked).mappings().one_or_none()
        return dict(row) if row else None

    training = one(TRAINING, dataset=dataset, dataset_version=version["dataset_version"])
    snapshot = one(SNAPSHOT, snapshot_id=version["snapshot_id"])
    slices: list[Mapping[str, Any]] = []
    if snapshot is not None:
        asked = {
            "dataset": dataset,
            "as_of": snapshot["as_of"],
            "known_at": snapshot["known_at"],
            "rows": SLICES_SHOWN,
        }
        slices = [dict(row) for row in connection.execute(text(SLICES), asked).mappings()]
    return Lineage(training, snapshot, slices, slices[0]["total"] if slices else 0)
