"""All that a dataset's run has left, less the names and moments that differ by nature.

Two datasets that were loaded from the same files in the same order have the same end state.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Engine, text

from cli.verify.mlflow_rest import MlflowRest
from shared.database.sql_names import column_list, quoted
from shared.object_store import Bucket, ObjectStore, ObjectUri
from shared.settings import Settings

# Ids, addresses with ids in them, moments, and digests of what has ids in it.
_VARIES = frozenset(
    {
        *("snapshot_id", "known_at", "manifest_uri", "manifest_sha256", "run_id", "event_id"),
        *("dataset_version", "train_uri", "test_uri", "staging_table", "correlation_id"),
        *("original_partition", "original_offset", "dead_letter_id", "baseline_version"),
    }
)
_TABLES = """
    SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) AS columns
    FROM information_schema.columns
    WHERE table_schema = :dataset AND table_name IN (
        SELECT table_name FROM information_schema.tables
        WHERE table_schema = :dataset AND table_type = 'BASE TABLE'
    )
    GROUP BY table_name ORDER BY table_name
"""
_LOADS = """
    SELECT load_id, slice_key, kind, corrects, correction, requested_by, as_of, revision, status,
           content_sha256, rows_in, rows_loaded, rows_quarantined, percentage, first_row, end_row,
           source_rows, images, changes, reasons
    FROM headrace.loads WHERE dataset = :dataset ORDER BY slice_key, requested_at
"""
_QUERIES = {
    "slices": """
        SELECT slice_key, as_of, revision, load_id, content_sha256 FROM headrace.slices
        WHERE dataset = :dataset
    """,
    "quarantine": """
        SELECT load_id, table_name, file, record_number, column_name, code, reason, raw
        FROM headrace.quarantined_rows
        WHERE dataset = :dataset
    """,
    "validation": """
        SELECT load_id, table_name, expectation, kwargs, success, severity, observed_value,
               unexpected_count, failing_keys
        FROM headrace.validation_results
        WHERE dataset = :dataset
    """,
    "images": """
        SELECT table_name, row_key, file, state, sha256, load_id FROM headrace.images
        WHERE dataset = :dataset
    """,
    "coverage": """
        SELECT load_id, table_name, as_of, kind FROM headrace.coverage
        WHERE dataset = :dataset
    """,
    "stages": """
        SELECT load_id, stage, state FROM headrace.stage_runs
        WHERE dataset = :dataset
    """,
    "dead letters": """
        SELECT service, event_type, error_class, reason FROM headrace.dead_letters
        WHERE convert_from(key, 'UTF8') = :dataset
    """,
    "events": """
        SELECT topic, source, headers ->> 'ce_type' AS type, headers ->> 'ce_subject' AS subject,
               convert_from(value, 'UTF8')::jsonb AS payload
        FROM headrace.outbox WHERE key = :dataset
    """,
    "drift": """
        SELECT load_id, as_of, baseline_as_of, champion_version, feature, measure, value, p_value,
               threshold, is_drifted, bins, rows, baseline_rows
        FROM headrace.drift WHERE dataset = :dataset
    """,
    "messages": """
        SELECT event_type, title, kind FROM headrace.notifications WHERE dataset = :dataset
    """,
    "schedule": """
        SELECT due_at, outcome, slice_key, load_id FROM headrace.schedule_runs
        WHERE dataset = :dataset
    """,
    "unsent events": """
        SELECT count(*) FROM headrace.outbox WHERE key = :dataset AND published_at IS NULL
    """,
    "unsettled messages": """
        SELECT count(*) FROM headrace.notifications
        WHERE dataset = :dataset AND state IN ('pending', 'sending')
    """,
}
_PICTURES = """
    SELECT row_key, uri, sha256 FROM headrace.images
    WHERE dataset = :dataset AND state = 'stored' ORDER BY table_name, row_key
"""
_DECISIONS = """
    SELECT load_id, model_version, promoted, alias, decision, reason, metric, score,
           champion_version, champion_score, metrics
    FROM headrace.promotions WHERE dataset = :dataset ORDER BY decided_at
"""
_STAGING = """
    SELECT count(*) FROM information_schema.tables WHERE table_schema = :dataset || '_staging'
"""
_MANIFESTS = """
    SELECT manifest_uri FROM headrace.{table} WHERE dataset = :dataset ORDER BY {order}
"""


class EndState:
    """Reads the end state of datasets of one stack."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._store = ObjectStore(settings)

    def of(self, dataset: str) -> dict[str, Any]:
        """All of it."""
        with self._engine.connect() as connection:

            def rows(statement: str) -> list[dict[str, Any]]:
                found = connection.execute(text(statement), {"dataset": dataset})
                return [dict(row) for row in found.mappings()]

            loads = rows(_LOADS)
            names = {dataset: "D"} | _labels(loads)
            state: dict[str, Any] = {
                name: sorted(map(json.dumps, _plain(rows(statement), names)))
                for name, statement in _QUERIES.items()
            }
            state["loads"] = _plain(loads, names)
            state["decisions"] = _plain(rows(_DECISIONS), names)
            state["staging tables"] = rows(_STAGING)
            for table in rows(_TABLES):
                columns = [c for c in table["columns"] if c not in ("history_id", "recorded_at")]
                relation = quoted(dataset, table["table_name"])
                found = rows(f"SELECT {column_list(columns)} FROM {relation}")
                said = sorted(map(json.dumps, _plain(found, names)))
                state[f"table {table['table_name']}"] = said
            frozen = rows(_MANIFESTS.format(table="snapshots", order="as_of, known_at"))
            trained = rows(_MANIFESTS.format(table="training_datasets", order="created_at"))
            pictures = rows(_PICTURES)
        state["snapshots"] = [self._digests(row["manifest_uri"]) for row in frozen]
        state["datasets"] = [self._digests(row["manifest_uri"]) for row in trained]
        state["models"] = self._models(dataset)
        state["landing"] = self._landed(dataset, names)
        state["reports"] = self._reports(dataset, names)
        state["pictures"] = [self._picture(picture) for picture in pictures]
        return state

    def _landed(self, dataset: str, names: Mapping[str, str]) -> list[tuple[str, str]]:
        """The files that were kept, and the mended rows, by name and content."""
        return sorted(
            (_plain(name, names), hashlib.sha256(content).hexdigest())
            for name, content in self._objects(Bucket.LANDING, dataset)
        )

    def _reports(self, dataset: str, names: Mapping[str, str]) -> list[tuple[str, str]]:
        """Each load's two reports; of the page, whose pictures of it vary, that it is whole."""
        return sorted(
            (
                _plain(name, names),
                json.dumps(_plain(json.loads(content), names))
                if name.endswith(".json")
                else content.decode().rstrip()[-len("</html>") :],
            )
            for name, content in self._objects(Bucket.REPORTS, dataset)
        )

    def _picture(self, row: Mapping[str, Any]) -> tuple[str, bool]:
        """Whether the object is what the row says."""
        content = self._store.get_bytes(ObjectUri.parse(row["uri"]))
        return row["row_key"], hashlib.sha256(content).hexdigest() == row["sha256"]

    def _objects(self, bucket: Bucket, dataset: str) -> Iterator[tuple[str, bytes]]:
        folder = self._store.uri(bucket, f"{dataset}/")
        for found in self._store.list(folder):
            yield found.uri.key.removeprefix(folder.key), self._store.get_bytes(found.uri)

    def _digests(self, uri: str) -> dict[str, Any]:
        manifest = json.loads(self._store.get_bytes(ObjectUri.parse(uri)))
        if "tables" in manifest:
            return {
                name: [(part["rows"], part["sha256"]) for part in table["parts"]]
                for name, table in manifest["tables"].items()
            }
        return {side: (manifest[side]["rows"], manifest[side]["sha256"]) for side in _SIDES}

    def _models(self, dataset: str) -> dict[str, Any]:
        model = f"{dataset}_model"
        with MlflowRest(self._settings.mlflow_tracking_uri) as mlflow:
            versions = {
                version.version: [version.tags.get(tag) for tag in _TAGS]
                for version in mlflow.versions(model)
            }
            runs = Counter(
                (kind, run["status"])
                for kind in ("datasets", "training")
                for run in mlflow.runs(f"{dataset}_{kind}")
            )
            holders = {alias: mlflow.holder(model, alias) for alias in ("champion", "challenger")}
        return {"versions": versions, "runs": runs, "aliases": holders}


_SIDES = ("train", "test")
_TAGS = (
    *("headrace.train_sha256", "headrace.test_sha256", "headrace.decision", "headrace.slice_key"),
    *("headrace.decision_reason", "headrace.as_of", "headrace.withdrawn"),
)


def _labels(loads: list[dict[str, Any]]) -> dict[str, str]:
    """A name for each load's id that follows from its place among those of its slice."""
    labels: dict[str, str] = {}
    places: Counter[str] = Counter()
    for load in loads:
        places[load["slice_key"]] += 1
        labels[load["load_id"]] = f"L:{load['slice_key']}:{places[load['slice_key']]}"
    return labels


def _plain(value: Any, names: Mapping[str, str]) -> Any:
    """The value as JSON has it, without what varies, with names of ours for ids."""
    if isinstance(value, Mapping):
        return {k: _plain(v, names) for k, v in sorted(value.items()) if k not in _VARIES}
    if isinstance(value, list | tuple):
        return [_plain(each, names) for each in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    said = str(value)
    for old, new in names.items():
        said = said.replace(old, new)
    return said


def differences(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """By kind of thing, what is only in the one and only in the other."""
    told = {}
    for name in expected.keys() | found.keys():
        one, other = found.get(name), expected.get(name)
        if one == other:
            continue
        if isinstance(one, list) and isinstance(other, list):
            one = [each for each in one if each not in other] or f"{len(one)} of them"
            other = [each for each in expected[name] if each not in found[name]] or (
                f"{len(other)} of them"
            )
        told[name] = {"found": one, "expected": other}
    return told
