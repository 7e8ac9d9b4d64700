"""What each event's run tells in MLflow, and the identity of a training."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa

from services.trainer.computing import Fitted
from services.trainer.evaluation import plots
from services.trainer.evaluation.importance import Importances
from services.trainer.evaluation.measures import Evaluation
from services.trainer.evaluation.report import model_artifacts
from services.trainer.records import SliceStanding
from services.trainer.runs import (
    DATASET_VERSION_TAG,
    LOAD_TAG,
    SLICE_TAG,
    SNAPSHOT_TAG,
    TRAINING_TAG,
    DatasetUse,
    RunRecord,
)
from services.trainer.training_dataset.contents import BuiltDataset
from services.trainer.training_dataset.snapshot import FrozenSnapshot
from shared import __version__
from shared.contracts.envelope import Event
from shared.contracts.events import DatasetReady
from shared.contracts.manifest import DatasetManifest
from shared.contracts.training_spec import Training

_MLFLOW_TYPES = {"bool": "boolean", "int64": "long", "double": "double", "string": "string"}


def dataset_run(
    key: str,
    started_at: datetime,
    snapshot: FrozenSnapshot,
    standing: SliceStanding,
    manifest: DatasetManifest,
    built: BuiltDataset,
) -> RunRecord:
    """The run of a dataset's making: where it is from, and its classes before and after.

    `key` tells the run from every other; with an event it is the event's id.
    """
    counts = manifest.class_counts
    before, after, test = counts["train_before"], counts["train"], counts["test"]
    distributions = (
        ("before", before, "Training side before balancing"),
        ("after", after, "Training side after balancing"),
        ("test", test, "Test side"),
    )
    return RunRecord(
        experiment=f"{manifest.dataset}_datasets",
        event_id=key,
        name=f"{snapshot.slice_key} {snapshot.as_of}",
        started_at=started_at,
        params=_dataset_params(manifest, snapshot, standing),
        metrics={
            "rows_train_before": sum(before.values()),
            "rows_train": manifest.train.rows,
            "rows_test": manifest.test.rows,
            "rows_unlabelled": built.unlabelled,
            "imbalance_ratio_before": imbalance_ratio(before),
            "imbalance_ratio_after": imbalance_ratio(after),
        },
        tags={
            LOAD_TAG: snapshot.load_id,
            SLICE_TAG: snapshot.slice_key,
            SNAPSHOT_TAG: snapshot.snapshot_id,
            DATASET_VERSION_TAG: manifest.dataset_version,
        },
        inputs=_uses(manifest, built.schema),
        artifacts={
            "manifest.json": manifest.to_bytes(),
            "class_counts.json": json.dumps(
                {name: of_side for name, of_side, _ in distributions}, indent=1
            ).encode(),
            **{
                f"plots/class_distribution_{name}.png": plots.class_distribution(of_side, title)
                for name, of_side, title in distributions
            },
        },
    )


def imbalance_ratio(counts: Mapping[str, int]) -> float:
    """Rows of the largest class over those of the smallest that has any: 1 where all are equal."""
    present = [rows for rows in counts.values() if rows]
    return max(present) / min(present)


def training_run(
    event: Event[DatasetReady],
    started_at: datetime,
    training: Training,
    manifest: DatasetManifest,
    fitted: Fitted,
    evaluation: Evaluation,
    weights: Importances,
) -> RunRecord:
    """The run of a training: how it was done and how good the model is on the test side."""
    payload = event.payload
    return RunRecord(
        experiment=f"{payload.dataset}_training",
        event_id=event.id,
        name=f"{payload.slice_key} {payload.as_of} {training.model.kind}",
        started_at=started_at,
        params={**_model_params(training, manifest), **fitted.facts},
        metrics=evaluation.metrics,
        tags={
            TRAINING_TAG: training_id(manifest.dataset_version, training),
            LOAD_TAG: payload.load_id,
            SLICE_TAG: payload.slice_key,
            SNAPSHOT_TAG: payload.snapshot_id,
            DATASET_VERSION_TAG: payload.dataset_version,
        },
        inputs=_uses(manifest, fitted.schema),
        artifacts=model_artifacts(evaluation, weights),
    )


def training_id(dataset_version: str, training: Training) -> str:
    """The identity of what a training gives: of the dataset, the model's spec and the code."""
    what = {
        "dataset_version": dataset_version,
        "model": training.model.model_dump(mode="json"),
        "text": training.text.model_dump(mode="json") if training.text else None,
        "metric": training.metric.value,
        "code": __version__,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _dataset_params(
    manifest: DatasetManifest, snapshot: FrozenSnapshot, standing: SliceStanding
) -> dict[str, object]:
    # A class's counts are no params: their number has no bound, and a param's length has.
    share = standing.percentage
    return {
        "week": standing.week,
        **({} if share is None else {"percentage": f"{share:g}"}),
        "strategy": manifest.balance.strategy,
        "balance_seed": manifest.balance.seed,
        "slice": snapshot.slice_key,
        "as_of": manifest.as_of,
        "snapshot_id": snapshot.snapshot_id,
        "dataset_version": manifest.dataset_version,
        "test_share": manifest.split.test_share,
        "split_salt": manifest.split.salt,
        "features": len(manifest.features),
        "classes": len(manifest.classes),
    }


def _model_params(training: Training, manifest: DatasetManifest) -> dict[str, object]:
    return {
        "kind": training.model.kind,
        "seed": training.model.seed,
        "metric": training.metric.value,
        "as_of": manifest.as_of,
        "dataset_version": manifest.dataset_version,
        "code_version": __version__,
        **{f"parameters.{name}": value for name, value in training.model.parameters.items()},
        **{f"text.{name}": value for name, value in (training.text or ()) if name != "features"},
    }


def _uses(manifest: DatasetManifest, schema: pa.Schema) -> list[DatasetUse]:
    columns = {field.name: _MLFLOW_TYPES.get(str(field.type), "string") for field in schema}
    sides = (("train", "training", manifest.train), ("test", "testing", manifest.test))
    return [
        DatasetUse(name=f"{manifest.dataset}.{side}", part=part, columns=columns, context=context)
        for side, context, part in sides
    ]
