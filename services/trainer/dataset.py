"""The training dataset: one labelled row per entity, from one snapshot only, in two sides."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.trainer.balance import balanced_rows
from services.trainer.split import sides
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.manifest import DatasetManifest, FeatureField, FilePart
from shared.contracts.table_spec import ColumnType
from shared.contracts.training_spec import Training
from shared.errors import InconsistentState, PermanentError

logger = logging.getLogger(__name__)

FORMAT = 1
"""Of the files below; part of every `dataset_version`."""
TARGET_TYPES = frozenset({ColumnType.BOOLEAN, ColumnType.INTEGER, ColumnType.STRING})
_CLASSES_NEEDED = 2
_EPOCH = date(1970, 1, 1)
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)

ReadTable = Callable[[str, Mapping[str, ColumnType]], pa.Table]
"""A snapshot's table by its name, with the columns asked for."""


class NotTrainable(PermanentError):
    """The snapshot has too little to learn from: fewer than two classes with rows on both sides."""


@dataclass(frozen=True)
class TrainingDataset:
    """The two sides, each sorted by entity. The test side has its natural class shares."""

    train: pa.Table
    test: pa.Table
    features: tuple[FeatureField, ...]
    classes: tuple[str, ...]
    class_counts: dict[str, dict[str, int]]
    unlabelled: int
    """Entities of the snapshot that were left out because the target has no value for them."""


def build(spec: DatasetSpec, training: Training, as_of: date, read: ReadTable) -> TrainingDataset:
    """Build the dataset from the snapshot that `read` reads.

    The result depends on the rows' content only, not on their order, their files or when they
    were learned. Raises `NotTrainable`, and `PermanentError` for a target that is no class.
    """
    kind = spec.tables[training.target.table].columns[training.target.column].type
    if kind not in TARGET_TYPES:
        raise PermanentError(
            f"the target {training.target.column} is a {kind}: "
            "a class is a boolean, integer or string"
        )
    rows, unlabelled = _joined(spec, training, as_of, read)
    target = target_name(training)
    is_test = pa.array(sides(rows[training.entity].to_pylist(), training.split), pa.bool_())
    natural, test = rows.filter(pc.invert(is_test)), rows.filter(is_test)
    values = sorted(pc.unique(rows[target]).to_pylist())
    classes = tuple(map(class_text, values))
    counts = {
        "train_before": _counts(natural[target], values),
        "test": _counts(test[target], values),
    }
    _require_trainable(counts)
    _tell_absent(spec.dataset, counts)
    codes = pc.index_in(natural[target], value_set=pa.array(values, rows[target].type))
    chosen = balanced_rows(codes.to_numpy(zero_copy_only=False), training.balance)
    train = natural.take(pa.array(chosen))
    counts["train"] = _counts(train[target], values)
    return TrainingDataset(train, test, feature_fields(spec, training), classes, counts, unlabelled)


def target_name(training: Training) -> str:
    """The target's column in the files."""
    return f"{training.target.table}.{training.target.column}"


def class_text(value: Any) -> str:
    """A class as text: `true`, `false`, or the value itself."""
    return str(value).lower() if isinstance(value, bool) else str(value)


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


def write_parquet(table: pa.Table, path: Path) -> str:
    """Write the table as a Parquet file and return its SHA-256: equal tables give equal bytes."""
    pq.write_table(
        table.combine_chunks().replace_schema_metadata(None),
        path,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        row_group_size=100_000,
    )
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(
    spec: DatasetSpec,
    training: Training,
    as_of: date,
    built: TrainingDataset,
    prefix: str,
    folder: Path,
) -> tuple[DatasetManifest, dict[str, Path]]:
    """Write the dataset's files into `folder`; return its manifest, and the files by the URIs
    below `prefix`/`<dataset_version>` where they belong.

    `dataset_version` is the SHA-256 of what the dataset holds and is; where it lies is no part.
    """
    files = {name: folder / f"{name}.parquet" for name in ("train", "test")}
    digests = {name: write_parquet(getattr(built, name), path) for name, path in files.items()}
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
            rows=getattr(built, name).num_rows,
            bytes=path.stat().st_size,
            sha256=digests[name],
        )
        for name, path in files.items()
    }
    manifest = DatasetManifest.model_validate({"dataset_version": version, **what, **parts})
    return manifest, {parts[name].uri: path for name, path in files.items()}


def _joined(
    spec: DatasetSpec, training: Training, as_of: date, read: ReadTable
) -> tuple[pa.Table, int]:
    """The labelled rows by entity with all features, and how many entities had no label."""

    def table_of(name: str, columns: tuple[str, ...]) -> pa.Table:
        names = (training.entity, *(column for column in columns if column != training.entity))
        kinds = {column: spec.tables[name].columns[column].type for column in names}
        table = read(name, kinds).combine_chunks()
        if pc.count_distinct(table[training.entity], mode="all").as_py() != table.num_rows:
            raise InconsistentState(f"the snapshot has a {training.entity} twice in {name}")
        return table

    target = training.target
    labels = table_of(target.table, (target.column,))
    everybody = [labels[training.entity]]
    labels = labels.filter(pc.is_valid(labels[target.column]))
    labels = labels.take(pc.sort_indices(labels[training.entity]))
    entities = labels[training.entity]
    columns = {training.entity: entities}
    for name, wanted in training.features.items():
        table = table_of(name, wanted)
        everybody.append(table[training.entity])
        where = pc.index_in(entities, value_set=table[training.entity].combine_chunks())
        for column in wanted:
            kind = spec.tables[name].columns[column].type
            columns[f"{name}.{column}"] = feature_values(table[column], kind, as_of).take(where)
    columns[target_name(training)] = labels[target.column]
    known = pc.unique(
        pa.chunked_array([part for all_ in everybody for part in all_.chunks], type=entities.type)
    )
    return pa.table(columns), len(known) - len(entities)


def feature_values(values: pa.ChunkedArray, kind: ColumnType, as_of: date) -> pa.ChunkedArray:
    """A column's values as a model may see them, in training and in serving alike: a date or a
    time is its age in days at `as_of`.
    """
    if kind is ColumnType.DATE:
        days = values.cast(pa.int32()).cast(pa.float64())
        return pc.subtract(float((as_of - _EPOCH) // _DAY), days)
    if kind is ColumnType.TIMESTAMP:
        midnight = datetime.combine(as_of, time(), UTC) - datetime.combine(_EPOCH, time(), UTC)
        age = pc.subtract(midnight // _MICROSECOND, values.cast(pa.int64()))
        return pc.divide(age.cast(pa.float64(), safe=False), float(_DAY // _MICROSECOND))
    return values


def _counts(target: pa.ChunkedArray, values: list[Any]) -> dict[str, int]:
    found = {item["values"]: item["counts"] for item in pc.value_counts(target).to_pylist()}
    return {class_text(value): found.get(value, 0) for value in values}


def _require_trainable(counts: Mapping[str, Mapping[str, int]]) -> None:
    """Raise `NotTrainable` unless two classes are learned that have test rows as well.

    A rare class may be on one side only: it is told, and no reason to do without the others.
    """
    train, test = counts["train_before"], counts["test"]
    if not train:
        raise NotTrainable("the snapshot has no labelled rows")
    if len(train) < _CLASSES_NEEDED:
        raise NotTrainable(f"every labelled row has the class {next(iter(train))!r}")
    for side, of_side in (("training", train), ("test", test)):
        present = [name for name, rows in of_side.items() if rows]
        if len(present) < _CLASSES_NEEDED:
            absent = ", ".join(name for name in of_side if name not in present)
            raise NotTrainable(f"the {side} side has no row of the class {absent}")
    if sum(1 for name, rows in train.items() if rows and test[name]) < _CLASSES_NEEDED:
        raise NotTrainable("fewer than two classes have rows on both sides")


def _tell_absent(dataset: str, counts: Mapping[str, Mapping[str, int]]) -> None:
    for side, name in (("training", "train_before"), ("test", "test")):
        if absent := [value for value, rows in counts[name].items() if not rows]:
            logger.warning(
                "%s: the %s side has no row of the class %s", dataset, side, ", ".join(absent)
            )
