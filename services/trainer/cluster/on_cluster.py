"""Building and fitting on the cluster, as `Computing` has it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import pandas as pd
from sklearn.pipeline import Pipeline

from services.trainer.cluster.dataset import build_on
from services.trainer.cluster.fitting import attempts, fit_boosted, fit_in_parts, number_of_ranks
from services.trainer.cluster.session import Cluster, Session
from services.trainer.cluster.sides import StoredSide, test_side_on
from services.trainer.computing import Fitted
from services.trainer.evaluation.importance import PERMUTED_ROWS
from services.trainer.modelling.frame import model_inputs, model_target
from services.trainer.modelling.models import BOOSTED
from services.trainer.modelling.weights import distinct_rows
from services.trainer.training_dataset.contents import BuiltDataset
from services.trainer.training_dataset.snapshot import read_part
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.manifest import DatasetManifest, SnapshotManifest
from shared.contracts.training_spec import Training
from shared.object_store import ObjectStore

_EXAMPLE_ROWS = 1_000


@dataclass(frozen=True)
class OnCluster:
    """Everything on the workers, but for scikit-learn's training side: see `fit`."""

    store: ObjectStore
    cluster: Cluster
    partition_rows: int
    rank_rows: int

    @contextmanager
    def dataset(
        self, spec: DatasetSpec, training: Training, as_of: date, snapshot: SnapshotManifest
    ) -> Iterator[BuiltDataset]:
        """As `Computing.dataset`: the trainer never has more of it than some row groups."""
        with self.cluster.session() as session:
            yield build_on(
                session, spec, training, as_of, snapshot, partition_rows=self.partition_rows
            )

    @contextmanager
    def fit(self, training: Training, manifest: DatasetManifest) -> Iterator[Fitted]:
        """As `Computing.fit`. The training side of scikit-learn's kinds has to fit the trainer's
        memory; of XGBoost's, and of any test side, only the classes and the scores do.
        """

        def work(session: Session) -> _Model:
            if training.model.kind == BOOSTED:
                return self._boosted(session, training, manifest)
            return self._in_memory(session, training, manifest)

        found = attempts(self.cluster, work)
        with self.cluster.session() as session:
            test = StoredSide.verified(session, self.store, manifest.test, manifest)
            side = test_side_on(session, test, PERMUTED_ROWS)
            yield Fitted(found.pipeline, test.schema, found.inputs, side, found.facts)

    def _boosted(self, session: Session, training: Training, manifest: DatasetManifest) -> "_Model":
        side = StoredSide.verified(session, self.store, manifest.train, manifest)
        ranks = number_of_ranks(side, self.rank_rows)
        pipeline = fit_boosted(session, side, training, ranks)
        return _Model(pipeline, side.example(_EXAMPLE_ROWS), {"ranks": ranks})

    def _in_memory(
        self, session: Session, training: Training, manifest: DatasetManifest
    ) -> "_Model":
        train, copies = distinct_rows(read_part(self.store, manifest.train), manifest.entity)
        inputs = model_inputs(train, manifest.features)
        target = model_target(train[manifest.target])
        pipeline = fit_in_parts(session, training, manifest, inputs, target, copies)
        return _Model(pipeline, inputs, {})


@dataclass(frozen=True)
class _Model:
    pipeline: Pipeline
    inputs: pd.DataFrame
    facts: Mapping[str, object]
