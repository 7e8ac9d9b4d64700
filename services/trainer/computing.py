"""Where datasets are built and models are fitted: in this process, or on a cluster.

Which of the two it is changes what it costs, not what comes of it.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from services.trainer.evaluation.measures import Evaluation, evaluate_scores
from services.trainer.training_dataset.contents import BuiltDataset
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.manifest import DatasetManifest, SnapshotManifest
from shared.contracts.training_spec import Training


@dataclass(frozen=True)
class TestSide:
    """The test rows, to measure models on; the rows themselves may be elsewhere."""

    target: NDArray[Any]
    head: pd.DataFrame
    """The first of them, as a model takes them."""
    score: Callable[[Pipeline], NDArray[np.float64]]
    """The model's scores of all of them, a column for each of its classes."""

    __test__ = False  # for pytest

    def measure(self, model: Pipeline) -> Evaluation:
        """Measure `model` on all of them. Raises `ValueError` where they have one class."""
        return evaluate_scores(model, self.score(model), self.target)


@dataclass(frozen=True)
class Fitted:
    """A model, and what it was measured on and described by."""

    model: Pipeline
    schema: pa.Schema
    """Of the dataset's files."""
    inputs: pd.DataFrame
    """Rows as the model takes them, for its signature: what may be missing is missing in one."""
    test: TestSide
    facts: Mapping[str, object] = field(default_factory=dict)
    """What is to be told of how it was fitted, by name."""


class Computing(Protocol):
    """Where the work is done. Thread-safe."""

    def dataset(
        self, spec: DatasetSpec, training: Training, as_of: date, snapshot: SnapshotManifest
    ) -> AbstractContextManager[BuiltDataset]:
        """Build the dataset of a snapshot; its sides can be written within the block.

        The same snapshot and spec give the same rows wherever it is done. Raises `NotTrainable`,
        `InconsistentState` where the snapshot's files are not what its manifest says, and
        `TransientError` where a server that is needed is away.
        """

    def fit(self, training: Training, manifest: DatasetManifest) -> AbstractContextManager[Fitted]:
        """Fit the model on the training side; the test side can be asked within the block.

        Raises `UnfitModel` and `InvalidSpec` for what is the spec's fault, and else as `dataset`.
        """
