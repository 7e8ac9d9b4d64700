"""From a snapshot's tables to one labelled row per entity, on the side that its key decides."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from services.trainer.training_dataset.split import sides
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import ColumnType
from shared.contracts.training_spec import Training
from shared.errors import InconsistentState

_EPOCH = date(1970, 1, 1)
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)

ReadTable = Callable[[str, Mapping[str, ColumnType]], pa.Table]
"""A snapshot's table by its name, with the columns asked for."""


@dataclass(frozen=True)
class LabelledRows:
    """The rows with a label of some entities, each side sorted by entity, nothing balanced."""

    natural: pa.Table
    test: pa.Table
    unlabelled: int


def target_name(training: Training) -> str:
    """The target's column in the files."""
    return f"{training.target.table}.{training.target.column}"


def labelled_rows(
    spec: DatasetSpec, training: Training, as_of: date, read: ReadTable
) -> LabelledRows:
    """The labelled rows with all features, of the entities that `read` knows, by side.

    Rows of disjoint ranges of entities, in the ranges' order, are those of all. Raises
    `InconsistentState` for an entity that stands in a table twice.
    """
    rows, unlabelled = _joined(spec, training, as_of, read)
    is_test = pa.array(sides(rows[training.entity].to_pylist(), training.split), pa.bool_())
    return LabelledRows(rows.filter(pc.invert(is_test)), rows.filter(is_test), unlabelled)


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
