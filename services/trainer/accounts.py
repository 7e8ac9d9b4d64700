"""What each event's run tells in MLflow, and the identity of a training."""

import hashlib
import json
from datetime import datetime

import pyarrow as pa

from services.trainer import plots
from services.trainer.dataset import TrainingDataset
from services.trainer.fit import Evaluation, Importances
from services.trainer.runs import TRAINING_TAG, DatasetUse, RunRecord
from shared import __version__
from shared.contracts.envelope import Event
from shared.contracts.events import DatasetReady, Snapshotted
from shared.contracts.manifest import DatasetManifest
from shared.contracts.training_spec import Training

_MLFLOW_TYPES = {"bool": "boolean", "int64": "long", "double": "double", "string": "string"}


def dataset_run(
    event: Event[Snapshotted],
    started_at: datetime,
    manifest: DatasetManifest,
    built: TrainingDataset,
) -> RunRecord:
    """The run of a dataset's making: where it is from, and its classes before and after."""
    payload = event.payload
    return RunRecord(
        experiment=f"{payload.dataset}_datasets",
        event_id=event.id,
        name=f"{payload.slice_key} {payload.as_of}",
        started_at=started_at,
        params=_dataset_params(manifest, built, payload),
        tags=_tags(payload),
        inputs=_uses(manifest, built.train, built.test),
        artifacts={
            f"plots/class_distribution_{name}.png": plots.class_distribution(
                manifest.class_counts[counts], title
            )
            for name, counts, title in (
                ("before", "train_before", "Training side before balancing"),
                ("after", "train", "Training side after balancing"),
                ("test", "test", "Test side"),
            )
        },
    )


def training_run(
    event: Event[DatasetReady],
    started_at: datetime,
    training: Training,
    manifest: DatasetManifest,
    train: pa.Table,
    test: pa.Table,
    evaluation: Evaluation,
    weights: Importances,
) -> RunRecord:
    """The run of a training: how it was done and how good the model is on the test side."""
    payload = event.payload
    content = {"kind": weights.kind, "features": dict(weights.values)}
    pictures = plots.model_plots(evaluation, weights)
    return RunRecord(
        experiment=f"{payload.dataset}_training",
        event_id=event.id,
        name=f"{payload.slice_key} {payload.as_of} {training.model.kind}",
        started_at=started_at,
        params=_model_params(training, manifest),
        metrics=evaluation.metrics,
        tags={TRAINING_TAG: training_id(manifest.dataset_version, training), **_tags(payload)},
        inputs=_uses(manifest, train, test),
        artifacts={
            "feature_importances.json": json.dumps(content, indent=1).encode(),
            **{f"plots/{name}": picture for name, picture in pictures.items()},
        },
    )


def _tags(payload: Snapshotted | DatasetReady) -> dict[str, str]:
    return {"headrace.load_id": payload.load_id, "headrace.slice_key": payload.slice_key}


def training_id(dataset_version: str, training: Training) -> str:
    """The identity of what a training gives: of the dataset, the model's spec and the code."""
    what = {
        "dataset_version": dataset_version,
        "model": training.model.model_dump(mode="json"),
        "metric": training.metric.value,
        "code": __version__,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _dataset_params(
    manifest: DatasetManifest, built: TrainingDataset, payload: Snapshotted
) -> dict[str, object]:
    before = manifest.class_counts["train_before"]
    counts = {
        f"rows_{side}.{name}": rows
        for side, of_side in manifest.class_counts.items()
        for name, rows in of_side.items()
    }
    return {
        "as_of": manifest.as_of,
        "snapshot_id": payload.snapshot_id,
        "dataset_version": manifest.dataset_version,
        "test_share": manifest.split.test_share,
        "split_salt": manifest.split.salt,
        "balance_strategy": manifest.balance.strategy,
        "balance_seed": manifest.balance.seed,
        "imbalance_ratio": round(max(before.values()) / min(before.values()), 4),
        "unlabelled": built.unlabelled,
        "features": len(manifest.features),
        **counts,
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
    }


def _uses(manifest: DatasetManifest, train: pa.Table, test: pa.Table) -> list[DatasetUse]:
    sides = (("train", "training", manifest.train, train), ("test", "testing", manifest.test, test))
    return [
        DatasetUse(
            name=f"{manifest.dataset}.{side}",
            part=part,
            columns={
                field.name: _MLFLOW_TYPES.get(str(field.type), "string") for field in table.schema
            },
            context=context,
        )
        for side, context, part, table in sides
    ]
