"""A slice's loads, and all that is known of one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

ATTEMPTS = """
    SELECT load_id, status, kind, revision, requested_by, started_at, finished_at,
           count(*) OVER () AS total
    FROM headrace.loads
    WHERE dataset = :dataset AND slice_key = :slice_key
    ORDER BY started_at DESC
    LIMIT :loads
"""

LOAD = "SELECT * FROM headrace.loads WHERE load_id = :load_id"

DEAD = """
    SELECT dead_letter_id, service, event_type, error_class, reason, attempts, failed_at,
           redriven_at, dropped_at, dropped_by, drop_reason
    FROM headrace.dead_letters
    WHERE correlation_id = :load_id OR event_id = :load_id
    ORDER BY failed_at
    LIMIT 50
"""

RESULTS = """
    SELECT table_name, expectation, kwargs, success, severity, observed_value, element_count,
           unexpected_count, failing_keys, message
    FROM headrace.validation_results
    WHERE load_id = :load_id
    ORDER BY success, severity, table_name, result_id
"""

QUARANTINE = """
    SELECT table_name, code, column_name, count(*) AS rows, min(reason) AS reason
    FROM headrace.quarantined_rows
    WHERE load_id = :load_id
    GROUP BY table_name, code, column_name
    ORDER BY table_name, rows DESC, code
    LIMIT :groups
"""

SAMPLES = """
    SELECT table_name, code, column_name, file, record_number, reason, left(raw, :characters) AS raw
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY table_name, code, column_name ORDER BY quarantine_id) AS place
        FROM headrace.quarantined_rows
        WHERE load_id = :load_id
    ) AS q
    WHERE place <= :samples
    ORDER BY table_name, code, column_name, place
"""

SNAPSHOT = """
    SELECT snapshot_id, as_of, known_at, manifest_uri, pruned_at, tables
    FROM headrace.snapshots
    WHERE load_id = :load_id
"""

TRAINING = """
    SELECT d.dataset_version, d.train_rows, d.test_rows, d.train_uri, d.run_id, d.snapshot_id
    FROM headrace.training_datasets AS d
    WHERE d.dataset = :dataset AND d.as_of = :as_of AND d.snapshot_id = :snapshot_id
    ORDER BY d.created_at
"""

DECISIONS = """
    SELECT model_name, model_version, run_id, promoted, alias, decision, reason, metric, score,
           champion_version, champion_score, decided_at, dataset_version
    FROM headrace.promotions
    WHERE load_id = :load_id
    ORDER BY decided_at
"""

LOADS_SHOWN, GROUPS_SHOWN, SAMPLES_SHOWN, RAW_CHARACTERS = 30, 60, 4, 400


@dataclass(frozen=True)
class Quarantined:
    """Rows that couldn't be typed or keyed for one cause, with the first of them."""

    table: str
    code: str
    column: str | None
    rows: int
    reason: str
    samples: Sequence[Mapping[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Load:
    """All that is known of a load. `facts` is its row of `headrace.loads`."""

    facts: Mapping[str, Any]
    dead_letters: Sequence[Mapping[str, Any]]
    results: Sequence[Mapping[str, Any]]
    quarantined: Sequence[Quarantined]
    snapshot: Mapping[str, Any] | None
    training: Sequence[Mapping[str, Any]]
    decisions: Sequence[Mapping[str, Any]]

    @property
    def failed_results(self) -> list[Mapping[str, Any]]:
        """The expectations that were not met, those that reject first."""
        return [row for row in self.results if not row["success"]]

    @property
    def met_results(self) -> list[Mapping[str, Any]]:
        """Those that were."""
        return [row for row in self.results if row["success"]]

    @property
    def tables(self) -> list[dict[str, Any]]:
        """Each table's counts, with what became of its rows where that is known."""
        changes = self.facts["changes"] or {}
        return [
            _TABLE | table | {"changes": changes.get(table["table"])}
            for table in self.facts["tables"] or ()
        ]


_TABLE = {"present": True, "rows_in": None, "rows_loaded": None, "rows_quarantined": None}
"""What a row of `loads.tables` may lack that an older version has written."""


def read_attempts(connection: Connection, dataset: str, slice_key: str) -> list[Mapping[str, Any]]:
    """The slice's loads, the newest first, `LOADS_SHOWN` at most; `total` is of all."""
    parameters = {"dataset": dataset, "slice_key": slice_key, "loads": LOADS_SHOWN}
    return [dict(row) for row in connection.execute(text(ATTEMPTS), parameters).mappings()]


def read_load(connection: Connection, load_id: str) -> Load | None:
    """The load; None where there is none."""
    asked: dict[str, Any] = {"load_id": load_id}
    facts = connection.execute(text(LOAD), asked).mappings().one_or_none()
    if facts is None:
        return None

    def rows(statement: str, **more: Any) -> list[Mapping[str, Any]]:
        return [dict(r) for r in connection.execute(text(statement), asked | more).mappings()]

    snapshots = rows(SNAPSHOT)
    snapshot = snapshots[0] if snapshots else None
    training: list[Mapping[str, Any]] = []
    if snapshot is not None:
        training = rows(
            TRAINING,
            dataset=facts["dataset"],
            as_of=snapshot["as_of"],
            snapshot_id=snapshot["snapshot_id"],
        )
    return Load(
        facts=dict(facts),
        dead_letters=rows(DEAD),
        results=rows(RESULTS),
        quarantined=_grouped(
            rows(QUARANTINE, groups=GROUPS_SHOWN),
            rows(SAMPLES, samples=SAMPLES_SHOWN, characters=RAW_CHARACTERS),
        ),
        snapshot=snapshot,
        training=training,
        decisions=rows(DECISIONS),
    )


def _grouped(
    groups: Sequence[Mapping[str, Any]], samples: Sequence[Mapping[str, Any]]
) -> list[Quarantined]:
    def cause(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return row["table_name"], row["code"], row["column_name"]

    return [
        Quarantined(
            group["table_name"],
            group["code"],
            group["column_name"],
            group["rows"],
            group["reason"],
            [row for row in samples if cause(row) == cause(group)],
        )
        for group in groups
    ]
