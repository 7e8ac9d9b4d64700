"""A training dataset on the cluster: no more of it in the trainer than a row group at a time.

The rows of each range of entities are joined by a worker with the very functions that join all of
them in one process. What depends on all rows is settled here, from counts by class.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from distributed import Future

from services.trainer.cluster.ranges import Surveys, entity_ranges, row_groups_of, stride
from services.trainer.cluster.session import Session
from services.trainer.cluster.tasks import RangeFacts, choose, join_range, piece, survey
from services.trainer.training_dataset.balance import Times, times_drawn
from services.trainer.training_dataset.classes import (
    class_text,
    counts_by_text,
    require_class,
    settle_classes,
)
from services.trainer.training_dataset.contents import feature_fields
from services.trainer.training_dataset.joining import target_name
from services.trainer.training_dataset.side_file import ROW_GROUP_ROWS, WrittenSide, write_side
from services.trainer.training_dataset.snapshot import promised_table, require_rows
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.manifest import FeatureField, SnapshotManifest
from shared.contracts.training_spec import Training


@dataclass(frozen=True)
class _Range:
    """The rows of a range of entities, on a worker."""

    joined: Future
    chosen: Future
    train_rows: int
    test_rows: int


@dataclass(frozen=True)
class ClusterDataset:
    """A dataset whose rows are on the workers of a session, which must be open to write them."""

    session: Session
    ranges: tuple[_Range, ...]
    schema: pa.Schema
    features: tuple[FeatureField, ...]
    classes: tuple[str, ...]
    class_counts: dict[str, dict[str, int]]
    unlabelled: int

    def write(self, side: str, path: Path) -> WrittenSide:
        """Write `train` or `test` as a Parquet file, as its rows come from the workers."""
        return write_side(self.session.stream(self._pieces(side)), self.schema, path)

    def _pieces(self, side: str) -> Iterator[Callable[[], Future]]:
        for of in self.ranges:
            chosen, rows = (of.chosen, of.train_rows) if side == "train" else (None, of.test_rows)
            cuts = [*range(0, rows, ROW_GROUP_ROWS), rows]
            for start, stop in pairwise(cuts):
                yield partial(self.session.submit, piece, of.joined, chosen, start, stop)


def build_on(
    session: Session,
    spec: DatasetSpec,
    training: Training,
    as_of: date,
    snapshot: SnapshotManifest,
    *,
    partition_rows: int,
) -> ClusterDataset:
    """Build the dataset on the cluster, in ranges in which a table has about `partition_rows`.

    Rows, classes, counts and errors are those of `dataset.build`, whatever the ranges.
    """
    require_class(spec, training)
    surveys = _surveyed(session, spec, training, snapshot, partition_rows)
    joined = [
        session.submit(join_range, spec, training, as_of, of, row_groups_of(surveys, of))
        for of in entity_ranges(surveys, partition_rows)
    ]
    facts: list[RangeFacts] = session.results(session.submit(_facts, rows) for rows in joined)
    for table in surveys:
        require_rows(snapshot, table, sum(of.rows_read[table] for of in facts))
    natural, test = (_added(facts, side) for side in ("natural", "test"))
    values, counts = settle_classes(spec.dataset, natural, test)
    times = times_drawn([natural.get(value, 0) for value in values], training.balance)
    counts["train"] = counts_by_text(
        {
            value: natural.get(value, 0) if of is None else int(of.sum())
            for value, of in zip(values, times, strict=True)
        },
        values,
    )
    target, ranges = target_name(training), []
    for rows, of, share in zip(joined, facts, _shares(facts, values, times), strict=True):
        train_rows = sum(
            of.natural.get(value, 0) if drawn is None else int(drawn.sum())
            for value, drawn in zip(values, share, strict=True)
        )
        chosen = session.submit(choose, rows, target, values, share)
        ranges.append(_Range(rows, chosen, train_rows, sum(of.test.values())))
    return ClusterDataset(
        session,
        tuple(ranges),
        facts[0].schema,
        feature_fields(spec, training),
        tuple(map(class_text, values)),
        counts,
        sum(of.unlabelled for of in facts),
    )


def _surveyed(
    session: Session,
    spec: DatasetSpec,
    training: Training,
    snapshot: SnapshotManifest,
    partition_rows: int,
) -> Surveys:
    entity = training.entity
    wanted = {training.target.table: [training.target.column]}
    for table, columns in training.features.items():
        wanted.setdefault(table, []).extend(columns)
    parts = {
        table: promised_table(snapshot, table, [entity, *columns]).parts
        for table, columns in wanted.items()
    }
    asked = [
        (table, part, session.submit(survey, part, entity, kind, stride(partition_rows)))
        for table, of_table in parts.items()
        for kind in [spec.tables[table].columns[entity].type]
        for part in of_table
    ]
    found = session.results(future for _, _, future in asked)
    surveys: dict[str, list[Any]] = {table: [] for table in parts}
    for (table, part, _), of_part in zip(asked, found, strict=True):
        surveys[table].append((part, of_part))
    return surveys


def _facts(joined: tuple[pa.Table, pa.Table, RangeFacts]) -> RangeFacts:
    return joined[2]


def _added(facts: list[RangeFacts], side: str) -> dict[Any, int]:
    whole: dict[Any, int] = {}
    for of in facts:
        for value, rows in getattr(of, side).items():
            whole[value] = whole.get(value, 0) + rows
    return whole


def _shares(
    facts: list[RangeFacts], values: list[Any], times: list[Times | None]
) -> Iterator[list[Times | None]]:
    """Of how often each row of each class trains, what is of each range, as small as it can be."""
    begun = dict.fromkeys(values, 0)
    for of in facts:
        share: list[Times | None] = []
        for value, drawn in zip(values, times, strict=True):
            start, begun[value] = begun[value], begun[value] + of.natural.get(value, 0)
            part = None if drawn is None else drawn[start : begun[value]]
            if part is not None and len(part):
                part = part.astype(np.min_scalar_type(part.max()))
            share.append(part)
        yield share
