"""A side of a training dataset that stays in the store, read there a row group at a time."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from services.trainer.cluster.session import Session
from services.trainer.cluster.tasks import store as workers_store
from services.trainer.cluster.tasks import verify
from services.trainer.computing import TestSide
from services.trainer.evaluation.scoring import scores_of
from services.trainer.modelling.frame import model_inputs, model_target
from services.trainer.training_dataset.ranged import open_parquet, read_groups
from shared.contracts.manifest import DatasetManifest, FeatureField, FilePart
from shared.object_store import ObjectStore


@dataclass(frozen=True)
class StoredSide:
    """A side whose bytes were found to be those that its manifest promises."""

    store: ObjectStore
    part: FilePart
    manifest: DatasetManifest
    schema: pa.Schema
    groups: int
    may_be_missing: frozenset[str]
    """The columns that have no value in some row."""

    @classmethod
    def verified(
        cls, session: Session, store: ObjectStore, part: FilePart, manifest: DatasetManifest
    ) -> "StoredSide":
        """The side in `part`, read once by a worker. Raises `InconsistentState` if it differs."""
        session.results([session.submit(verify, part)])
        with open_parquet(store, part.uri) as file:
            metadata, schema = file.metadata, file.schema_arrow
        missing = set()
        for group in range(metadata.num_row_groups):
            for place in range(metadata.num_columns):
                column = metadata.row_group(group).column(place)
                statistics = column.statistics
                if statistics is None or not statistics.has_null_count or statistics.null_count:
                    missing.add(column.path_in_schema)
        return cls(store, part, manifest, schema, metadata.num_row_groups, frozenset(missing))

    @property
    def features(self) -> tuple[FeatureField, ...]:
        """The features, in the spec's order."""
        return self.manifest.features

    def head(self, rows: int) -> pa.Table:
        """The first rows, of the first row group at the most."""
        columns = [*(field.name for field in self.features), self.manifest.target]
        return read_groups(self.store, self.part.uri, [0], columns).slice(0, rows)

    def inputs(self, rows: pa.Table) -> pd.DataFrame:
        """The rows as a model takes them."""
        return model_inputs(rows, self.features)

    def example(self, rows: int) -> pd.DataFrame:
        """The first rows as a model takes them, and one in which all is missing that may be."""
        head = self.head(rows)
        last = {
            field.name: pa.nulls(1, field.type)
            if field.name in self.may_be_missing
            else head[field.name].slice(0, 1)
            for field in head.schema
        }
        return self.inputs(pa.concat_tables([head, pa.table(last, schema=head.schema)]))

    def target(self) -> NDArray[Any]:
        """The classes of all rows: the one column that is read whole."""
        pieces = [
            read_groups(self.store, self.part.uri, [group], [self.manifest.target])
            for group in range(self.groups)
        ]
        return model_target(pa.concat_tables(pieces)[self.manifest.target])

    def classes(self) -> NDArray[Any]:
        """The classes that have rows here, in their own type and order."""
        counts = self.manifest.class_counts["train"]
        present = [name for name in self.manifest.classes if counts[name]]
        kind = self.schema.field(self.manifest.target).type
        if pa.types.is_boolean(kind):
            return np.array([name == "true" for name in present])
        return model_target(pa.chunked_array([pa.array(present).cast(kind)]))


def test_side_on(session: Session, side: StoredSide, head_rows: int) -> TestSide:
    """The test rows, scored by the workers: of them, only classes and scores come to the trainer.
    The session must be open to measure a model.
    """

    def score(model: Pipeline) -> NDArray[np.float64]:
        return scores_on(session, side, model)

    return TestSide(side.target(), side.inputs(side.head(head_rows)), score)


def scores_on(session: Session, side: StoredSide, model: Pipeline) -> NDArray[np.float64]:
    """The scores of all rows of a side, in their order."""
    stored = session.submit(pickle.loads, pickle.dumps(model))
    work = [
        partial(session.submit, _score_group, stored, side.part.uri, group, side.features)
        for group in range(side.groups)
    ]
    return np.concatenate(list(session.stream(work)))


def _score_group(
    model: Pipeline, uri: str, group: int, features: Sequence[FeatureField]
) -> NDArray[np.float64]:
    known = set(model.feature_names_in_)
    asked = [field for field in features if field.name in known]
    rows = read_groups(workers_store(), uri, [group], [field.name for field in asked])
    return scores_of(model, model_inputs(rows, asked))
