"""Rows to answers. What a model is given here goes the same way as what it was trained on.

Pure: the model, the rows and the date are passed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import pandas as pd
import pyarrow as pa
from sklearn.pipeline import Pipeline

from services.trainer.evaluation.measures import has_probabilities, scores_by_class
from services.trainer.modelling.frame import model_inputs
from services.trainer.training_dataset.classes import class_text
from services.trainer.training_dataset.joining import feature_values
from shared.arrow_types import ARROW_TYPES
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.manifest import DatasetManifest, FeatureField
from shared.errors import PermanentError


class Unanswerable(PermanentError):
    """The rows can't be asked about: a column is missing, a value is none of its type."""


@dataclass(frozen=True)
class Answers:
    """The class of each row as text, and how sure the model is where it has probabilities."""

    predicted: tuple[str, ...]
    confidence: tuple[float, ...] | None


@dataclass(frozen=True)
class Predictor:
    """A model version that can be asked. `manifest` is of the dataset that it learned from."""

    model: str
    version: str
    pipeline: Pipeline
    spec: DatasetSpec
    manifest: DatasetManifest

    @property
    def features(self) -> tuple[FeatureField, ...]:
        """What it needs to know of a row, in its own order."""
        return self.manifest.features

    @property
    def has_confidence(self) -> bool:
        """Whether its answers come with a probability."""
        return has_probabilities(self.pipeline)

    @cached_property
    def first_text(self) -> FeatureField:
        """The feature that a text alone is given as. Raises `Unanswerable` where none is text."""
        text = self.spec.training.text if self.spec.training else None
        for field in self.features:
            if text and field.name in text.feature_names:
                return field
        raise Unanswerable(
            f"{self.model} reads no text: ask it with --file and --out about rows that have "
            f"{', '.join(field.name for field in self.features[:3])} ..."
        )

    def answer_text(self, text: str, as_of: date) -> Answers:
        """The answer about a row of which nothing is known but `text`."""
        return self.answer(rows_of(self.features, {self.first_text.name: [text]}, 1), as_of)

    def answer(self, rows: pa.Table, as_of: date) -> Answers:
        """The answers about `rows`, which have a column of the spec's type for each feature.

        A date in them counts by its age at `as_of`.
        """
        inputs = inputs_of(rows, self.features, as_of)
        if rows.num_rows == 0:
            return Answers((), () if self.has_confidence else None)
        scores = scores_by_class(self.pipeline, inputs)
        predicted = self.pipeline.classes_[scores.argmax(axis=1)]
        return Answers(
            tuple(class_text(value) for value in predicted.tolist()),
            tuple(scores.max(axis=1).tolist()) if self.has_confidence else None,
        )


def inputs_of(rows: pa.Table, features: Sequence[FeatureField], as_of: date) -> pd.DataFrame:
    """The rows as the model takes them, by the very functions that training goes through."""
    known = {field.name: feature_values(rows[field.name], field.kind, as_of) for field in features}
    return model_inputs(pa.table(known), features)


def rows_of(
    features: Sequence[FeatureField], columns: dict[str, Sequence[object] | pa.Array], rows: int
) -> pa.Table:
    """A table of `rows` rows of the spec's types; a feature without a column is missing in all."""
    return pa.table(
        {
            field.name: pa.array(columns[field.name], ARROW_TYPES[field.kind])
            if field.name in columns
            else pa.nulls(rows, ARROW_TYPES[field.kind])
            for field in features
        }
    )
