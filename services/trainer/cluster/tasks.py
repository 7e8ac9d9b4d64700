"""What the workers do about datasets. Each task depends on its arguments and the store only, so a
worker that is lost costs the time of its tasks and nothing else.
"""

import copyreg
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from services.trainer.training_dataset.balance import Times, repeated_rows
from services.trainer.training_dataset.classes import class_places, count_classes
from services.trainer.training_dataset.joining import labelled_rows, target_name
from services.trainer.training_dataset.ranged import read_groups
from services.trainer.training_dataset.snapshot import (
    arrow_schema,
    require_digest,
    typed,
    verified_copy,
)
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.manifest import FilePart
from shared.contracts.table_spec import ColumnType
from shared.contracts.training_spec import Training
from shared.errors import LoginRefused, ServerUnavailable
from shared.object_store import ObjectStore
from shared.settings import Settings

# An error goes from the worker to the trainer by pickle, which calls a class with its message.
copyreg.pickle(
    ServerUnavailable, lambda error: (ServerUnavailable, (error.server, str(error.reason)))
)
copyreg.pickle(LoginRefused, lambda error: (LoginRefused, (error.server, str(error.reason))))


@cache
def store() -> ObjectStore:
    """The store by this process's own settings."""
    return ObjectStore(Settings())


@dataclass(frozen=True)
class Survey:
    """Where a part of a table has which entities. Never printed: those are data."""

    rows: int
    least: pa.Array = field(repr=False)
    """Of each row group; null where it isn't known."""
    greatest: pa.Array = field(repr=False)
    sample: pa.Array = field(repr=False)
    """Entities, each of which stands for the same number of rows."""


@dataclass(frozen=True)
class EntityRange:
    """The entities from `start` on and before `stop`; None is without a limit on that side."""

    start: Any = field(repr=False)
    stop: Any = field(repr=False)

    def rows(self, entities: pa.ChunkedArray) -> pa.ChunkedArray:
        """Which of the rows are within. Every value is within one of adjoining ranges, NaN and
        null within the last.
        """
        inside = pa.chunked_array([pa.repeat(pa.scalar(True), len(entities))])
        if self.start is not None:
            before = pc.less(entities, pa.scalar(self.start, entities.type))
            inside = pc.and_(inside, pc.invert(before).fill_null(self.stop is None))
        if self.stop is not None:
            before = pc.less(entities, pa.scalar(self.stop, entities.type))
            inside = pc.and_(inside, before.fill_null(False))
        return inside


Where = Mapping[str, Sequence[tuple[str, tuple[int, ...]]]]
"""By table: the row groups, by the URI of their part, that a range may have rows in."""


@dataclass(frozen=True)
class RangeFacts:
    """What a range of entities has, to be added up."""

    schema: pa.Schema
    rows_read: Mapping[str, int]
    natural: Mapping[Any, int]
    test: Mapping[Any, int]
    unlabelled: int


def survey(part: FilePart, entity: str, kind: ColumnType, stride: int) -> Survey:
    """Read a part's entities. Raises `InconsistentState` where its bytes aren't those promised."""
    least: list[Any] = []
    greatest: list[Any] = []
    sample, rows = [], 0
    type_ = arrow_schema({entity: kind}).field(0).type
    with verified_copy(store(), part) as path, pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            table = typed(file.read_row_group(group, columns=[entity]), {entity: kind})
            entities = table[entity]
            rows += len(entities)
            low, high = extremes(entities)
            least.append(low)
            greatest.append(high)
            in_order = entities.take(pc.sort_indices(entities))
            sample.append(in_order.take(pa.array(range(0, len(entities), stride), pa.int64())))
    taken = pa.concat_arrays([c for s in sample for c in s.chunks] or [pa.array([], type_)])
    return Survey(rows, pa.array(least, type_), pa.array(greatest, type_), taken)


def extremes(entities: pa.ChunkedArray) -> tuple[Any, Any]:
    """The least and the greatest of a row group, None where that says nothing: what is missing or
    NaN is in no order, so a group that may have one is read for every range.
    """
    if not len(entities) or entities.null_count or pa.types.is_floating(entities.type):
        return None, None
    found = pc.min_max(entities).as_py()
    return found["min"], found["max"]


def join_range(
    spec: DatasetSpec, training: Training, as_of: date, entities: EntityRange, where: Where
) -> tuple[pa.Table, pa.Table, RangeFacts]:
    """The labelled rows of a range of entities: training side, unbalanced, and test side."""
    rows_read: dict[str, int] = {}

    def read(table: str, columns: Mapping[str, ColumnType]) -> pa.Table:
        pieces = [arrow_schema(columns).empty_table()]
        for uri, groups in where[table]:
            for group in groups:
                rows = typed(read_groups(store(), uri, [group], list(columns)), columns)
                pieces.append(rows.filter(entities.rows(rows[training.entity])))
        found = pa.concat_tables(pieces).replace_schema_metadata(None)
        rows_read[table] = found.num_rows
        return found

    rows = labelled_rows(spec, training, as_of, read)
    target = target_name(training)
    facts = RangeFacts(
        rows.natural.schema,
        rows_read,
        count_classes(rows.natural[target]),
        count_classes(rows.test[target]),
        rows.unlabelled,
    )
    return rows.natural, rows.test, facts


def choose(
    joined: tuple[pa.Table, pa.Table, RangeFacts],
    target: str,
    values: Sequence[Any],
    times: Sequence[Times | None],
) -> NDArray[np.int64]:
    """The rows of a range that train, copies beside their originals."""
    return repeated_rows(class_places(joined[0][target], values), times)


def piece(
    joined: tuple[pa.Table, pa.Table, RangeFacts],
    chosen: NDArray[np.int64] | None,
    start: int,
    stop: int,
) -> pa.Table:
    """Some rows of the training side as `chosen`, or of the test side."""
    if chosen is None:
        return joined[1].slice(start, stop - start).combine_chunks()
    return joined[0].take(pa.array(chosen[start:stop]))


def verify(part: FilePart) -> None:
    """Raise `InconsistentState` unless the part's bytes are those promised."""
    require_digest(store(), part)
