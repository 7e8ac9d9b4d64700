"""Runs: what the trainer did for one event, with all that it saw and drew."""

import json
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

from services.trainer.registry.connection import (
    EXISTS,
    TIMEOUT_SECONDS,
    connect,
    literal,
    server_errors,
    unless,
)
from services.trainer.runs import DECISION_TAG, EVENT_TAG, DatasetUse, RunRecord
from shared.errors import InconsistentState
from shared.fail_points import FailPoint, reached

_DIGEST_LIMIT = 36
"""Characters of a dataset's digest that MLflow keeps."""


@dataclass(frozen=True)
class RecordedRun:
    """An event's run in MLflow."""

    run_id: str
    experiment_id: str
    decision: str | None
    """What `remember` kept at an earlier delivery of the event."""


class Tracking:
    """The tracking server's runs. Thread-safe.

    Every method raises `ServerUnavailable` where MLflow doesn't answer.
    """

    def __init__(self, tracking_uri: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._client = connect(tracking_uri, timeout_seconds)

    def check(self) -> None:
        """Return if MLflow answers."""
        with server_errors():
            self._client.search_experiments(max_results=1)

    def record(self, run: RunRecord) -> RecordedRun:
        """Have all of `run` in MLflow.

        The event's run is taken up where it was left, if there is one. It stays open until
        `finish`.
        """
        with server_errors():
            experiment_id = self._experiment(run.experiment)
            found = self._client.search_runs(
                [experiment_id], f"tags.`{EVENT_TAG}` = {literal(run.event_id)}", max_results=1
            )
            reached(FailPoint.RUN_MAKING)
            known = (
                found[0]
                if found
                else self._client.create_run(
                    experiment_id,
                    start_time=_milliseconds(run.started_at),
                    tags={EVENT_TAG: run.event_id, "mlflow.source.name": "headrace", **run.tags},
                    run_name=run.name,
                )
            )
            run_id = str(known.info.run_id)
            reached(FailPoint.RUN_MADE)
            now = _milliseconds(datetime.now(UTC))
            self._client.log_batch(
                run_id,
                metrics=[
                    Metric(name, value, now, 0)
                    for name, value in run.metrics.items()
                    if name not in known.data.metrics
                ],
                params=[
                    Param(name, str(value))
                    for name, value in run.params.items()
                    if name not in known.data.params
                ],
            )
            if run.inputs:
                self._client.log_inputs(run_id, [_input(use) for use in run.inputs])
            with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
                for path, content in run.artifacts.items():
                    target = Path(folder) / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content)
                self._client.log_artifacts(run_id, folder)
            for path, file in run.files.items():
                # Sent from the file as it is read, however large it is.
                self._client.log_artifact(run_id, str(file), str(PurePosixPath(path).parent))
            reached(FailPoint.RUN_LOGGED)
            return RecordedRun(run_id, experiment_id, known.data.tags.get(DECISION_TAG))

    def remember(self, run_id: str, decision: str) -> None:
        """Keep the event's decision with its run, before anything comes of it."""
        with server_errors():
            self._client.set_tag(run_id, DECISION_TAG, decision)

    def finish(self, run_id: str) -> None:
        """Mark the run as finished."""
        with server_errors():
            self._client.set_terminated(run_id)
        reached(FailPoint.RUN_FINISHED)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            with unless(EXISTS):
                return str(self._client.create_experiment(name))
            found = self._client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active":
            raise InconsistentState(f"the MLflow experiment {name} is deleted: restore it")
        return str(found.experiment_id)


def _input(use: DatasetUse) -> DatasetInput:
    columns = [{"type": kind, "name": name} for name, kind in use.columns.items()]
    dataset = Dataset(
        name=use.name,
        digest=use.part.sha256[:_DIGEST_LIMIT],
        source_type="s3",
        source=json.dumps({"uri": use.part.uri}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps({"num_rows": use.part.rows, "sha256": use.part.sha256}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", use.context)])


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
