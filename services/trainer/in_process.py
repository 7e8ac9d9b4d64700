"""Building and fitting in this process: the snapshot, then the dataset, have to fit its memory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from services.trainer.computing import Fitted, TestSide
from services.trainer.evaluation.scoring import scores_of
from services.trainer.modelling.fit import fit
from services.trainer.modelling.frame import model_inputs, model_target
from services.trainer.modelling.weights import distinct_rows
from services.trainer.training_dataset.contents import BuiltDataset, build
from services.trainer.training_dataset.snapshot import read_part, read_table
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.manifest import DatasetManifest, SnapshotManifest
from shared.contracts.table_spec import ColumnType
from shared.contracts.training_spec import Training
from shared.object_store import ObjectStore


@dataclass(frozen=True)
class InProcess:
    """Everything here, in memory."""

    store: ObjectStore

    @contextmanager
    def dataset(
        self, spec: DatasetSpec, training: Training, as_of: date, snapshot: SnapshotManifest
    ) -> Iterator[BuiltDataset]:
        """As `Computing.dataset`."""

        def read(table: str, columns: Mapping[str, ColumnType]) -> pa.Table:
            return read_table(self.store, snapshot, table, columns)

        yield build(spec, training, as_of, read)

    @contextmanager
    def fit(self, training: Training, manifest: DatasetManifest) -> Iterator[Fitted]:
        """As `Computing.fit`."""
        train, test = read_part(self.store, manifest.train), read_part(self.store, manifest.test)
        train, copies = distinct_rows(train, manifest.entity)
        inputs = model_inputs(train, manifest.features)
        model = fit(
            training.model,
            manifest.features,
            inputs,
            model_target(train[manifest.target]),
            text=training.text,
            copies=copies,
        )
        yield Fitted(model, train.schema, inputs, side_in_memory(test, manifest))


def side_in_memory(test: pa.Table, manifest: DatasetManifest) -> TestSide:
    """The test rows that `test` holds."""
    inputs = model_inputs(test, manifest.features)
    return TestSide(
        model_target(test[manifest.target]), inputs, lambda model: scores_of(model, inputs)
    )
