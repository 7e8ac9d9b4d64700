"""How far a snapshot's dataset is from what the champion was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, text

COMPARISONS = """
    SELECT s.snapshot_id, d.baseline_version, s.slice_key, s.load_id, s.as_of, d.model_name,
           d.champion_version, d.baseline_snapshot_id, d.baseline_as_of, d.rows, d.baseline_rows,
           d.measured_at, d.dataset_version, d.features, d.drifted, d.worst, s.total
    FROM (
        SELECT snapshot_id, slice_key, load_id, as_of, known_at, count(*) OVER () AS total
        FROM headrace.snapshots AS s
        WHERE dataset = :dataset
            AND (CAST(:snapshot_id AS text) IS NULL OR snapshot_id = :snapshot_id)
            AND EXISTS (
                SELECT FROM headrace.drift AS d
                WHERE d.dataset = :dataset AND d.snapshot_id = s.snapshot_id)
        ORDER BY as_of DESC, known_at DESC
        LIMIT :rows OFFSET :first
    ) AS s
    CROSS JOIN LATERAL (
        SELECT baseline_version, min(model_name) AS model_name,
               min(champion_version) AS champion_version,
               min(baseline_snapshot_id) AS baseline_snapshot_id,
               min(baseline_as_of) AS baseline_as_of, max(rows) AS rows,
               max(baseline_rows) AS baseline_rows, max(measured_at) AS measured_at,
               min(dataset_version) AS dataset_version, count(DISTINCT feature) AS features,
               count(DISTINCT feature) FILTER (WHERE is_drifted) AS drifted,
               max(value / threshold) AS worst
        FROM headrace.drift
        WHERE dataset = :dataset AND snapshot_id = s.snapshot_id
        GROUP BY baseline_version
    ) AS d
    ORDER BY s.as_of DESC, s.known_at DESC, d.measured_at DESC
"""

DIFFERENCES = """
    SELECT feature, is_target, measure, value, p_value, threshold, is_drifted, bins
    FROM headrace.drift
    WHERE dataset = :dataset AND snapshot_id = :snapshot_id AND baseline_version = :baseline
    ORDER BY value / threshold DESC, feature, measure
"""


@dataclass(frozen=True)
class Comparison:
    """A snapshot's training dataset against the champion's."""

    snapshot_id: str
    baseline_version: str
    slice_key: str | None
    load_id: str
    as_of: date
    model_name: str
    champion_version: str
    baseline_snapshot_id: str
    baseline_as_of: date
    rows: int
    baseline_rows: int
    measured_at: datetime
    dataset_version: str
    features: int
    drifted: int
    worst: float
    """The greatest of all differences, in its thresholds."""
    total: int
    """How many snapshots were compared."""


@dataclass(frozen=True)
class Feature:
    """A feature, or the target, with all its measures, the weightiest first."""

    name: str
    is_target: bool
    measures: Sequence[Mapping[str, Any]]

    @property
    def is_drifted(self) -> bool:
        """Whether any measure says so."""
        return any(row["is_drifted"] for row in self.measures)

    @property
    def weight(self) -> float:
        """Its greatest difference, in thresholds."""
        return float(max(row["value"] / row["threshold"] for row in self.measures))


def read_comparisons(
    connection: Connection,
    dataset: str,
    *,
    first: int = 0,
    rows: int,
    snapshot_id: str | None = None,
) -> list[Comparison]:
    """The comparisons of the snapshots from place `first` on, or of one; the newest date first.

    A snapshot has several where it was compared with several champions.
    """
    asked = {"dataset": dataset, "first": first, "rows": rows, "snapshot_id": snapshot_id}
    return [Comparison(**row) for row in connection.execute(text(COMPARISONS), asked).mappings()]


def read_features(connection: Connection, dataset: str, comparison: Comparison) -> list[Feature]:
    """The features of a comparison, the farthest first."""
    asked = {
        "dataset": dataset,
        "snapshot_id": comparison.snapshot_id,
        "baseline": comparison.baseline_version,
    }
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for row in connection.execute(text(DIFFERENCES), asked).mappings():
        by_name.setdefault(row["feature"], []).append(dict(row))
    return [Feature(name, rows[0]["is_target"], rows) for name, rows in by_name.items()]
