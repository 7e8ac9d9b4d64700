"""The training dataset: what it holds, how it is built in memory, and what its files are."""

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from services.trainer.training_dataset.balance import repeated_rows, times_drawn
from services.trainer.training_dataset.classes import (
    class_places,
    class_text,
    count_classes,
    counts_by_text,
    require_class,
    settle_classes,
)
from services.trainer.training_dataset.joining import ReadTable, labelled_rows, target_name
from services.trainer.training_dataset.side_file import WrittenSide, write_side
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.manifest import DatasetManifest, FeatureField, FilePart
from shared.contracts.training_spec import Training

FORMAT = 1
"""Of the files below; part of every `dataset_version`."""


class BuiltDataset(Protocol):
    """A dataset whose sides can be written, wherever their rows are."""

    @property
    def schema(self) -> pa.Schema:
        """Of both sides."""

    @property
    def features(self) -> tuple[FeatureField, ...]:
        """In the spec's order."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The target's values as texts, in their own order."""

    @property
    def class_counts(self) -> dict[str, dict[str, int]]:
        """Rows by class of `train_before` (the balancing), `train` and `test`."""

    @property
    def unlabelled(self) -> int:
        """Entities of the snapshot that were left out: the target has no value for them."""

    def write(self, side: str, path: Path) -> WrittenSide:
        """Write `train` or `test` as a Parquet file."""


@dataclass(frozen=True)
class TrainingDataset:
    """The two sides, each sorted by entity. The test side has its natural class shares."""

    train: pa.Table
    test: pa.Table
    features: tuple[FeatureField, ...]
    classes: tuple[str, ...]
    class_counts: dict[str, dict[str, int]]
    unlabelled: int

    @property
    def schema(self) -> pa.Schema:
        """Of both sides."""
        return self.train.schema

    def write(self, side: str, path: Path) -> WrittenSide:
        """Write `train` or `test` as a Parquet file."""
        table = {"train": self.train, "test": self.test}[side]
        return write_side([table], table.schema, path)


def build(spec: DatasetSpec, training: Training, as_of: date, read: ReadTable) -> TrainingDataset:
    """Build the dataset, in memory, from the snapshot that `read` reads.

    The result depends on the rows' content only, not on their order, their files or when they
    were learned. Raises `NotTrainable`, and `PermanentError` for a target that is no class.
    """
    require_class(spec, training)
    rows = labelled_rows(spec, training, as_of, read)
    target = target_name(training)
    natural, test = count_classes(rows.natural[target]), count_classes(rows.test[target])
    values, counts = settle_classes(spec.dataset, natural, test)
    times = times_drawn([natural.get(value, 0) for value in values], training.balance)
    chosen = repeated_rows(class_places(rows.natural[target], values), times)
    train = rows.natural.take(pa.array(chosen))
    counts["train"] = counts_by_text(count_classes(train[target]), values)
    return TrainingDataset(
        train,
        rows.test,
        feature_fields(spec, training),
        tuple(map(class_text, values)),
        counts,
        rows.unlabelled,
    )


def feature_fields(spec: DatasetSpec, training: Training) -> tuple[FeatureField, ...]:
    """The features in the spec's order. Each is named after its table too, so that a feature
    added to one table never renames another's.
    """
    return tuple(
        FeatureField(
            name=f"{table}.{column}",
            table=table,
            column=column,
            kind=spec.tables[table].columns[column].type,
        )
        for table, columns in training.features.items()
        for column in columns
    )


def describe(
    spec: DatasetSpec,
    training: Training,
    as_of: date,
    built: BuiltDataset,
    prefix: str,
    folder: Path,
) -> tuple[DatasetManifest, dict[str, Path]]:
    """Write the dataset's files into `folder`; return its manifest, and the files by the URIs
    below `prefix`/`<dataset_version>` where they belong.

    `dataset_version` is the SHA-256 of what the dataset holds and is; where it lies is no part.
    """
    files = {name: built.write(name, folder / f"{name}.parquet") for name in ("train", "test")}
    digests = {name: file.sha256 for name, file in files.items()}
    what = {
        "dataset": spec.dataset,
        "as_of": as_of.isoformat(),
        "entity": training.entity,
        "target": target_name(training),
        "classes": built.classes,
        "features": [field.model_dump(mode="json") for field in built.features],
        "split": training.split.model_dump(mode="json"),
        "balance": training.balance.model_dump(mode="json"),
        "class_counts": built.class_counts,
    }
    identity = json.dumps({"format": FORMAT, "files": digests, **what}, sort_keys=True)
    version = hashlib.sha256(identity.encode()).hexdigest()
    parts = {
        name: FilePart(
            uri=f"{prefix}/{version}/{name}.parquet",
            rows=file.rows,
            bytes=file.bytes,
            sha256=file.sha256,
        )
        for name, file in files.items()
    }
    manifest = DatasetManifest.model_validate({"dataset_version": version, **what, **parts})
    return manifest, {parts[name].uri: file.path for name, file in files.items()}
