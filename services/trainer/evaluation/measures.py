"""Measuring a model on the test side, class by class and as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from shared.contracts.training_spec import Metric

_CHANCE = 0.5
"""The area under the curve of one who knows nothing of a class."""


@dataclass(frozen=True)
class Evaluation:
    """A model's answers on the test side. `scores` has a column for each of `classes`: its
    probabilities, or, of a model that has none, its margins; the greater, the more likely.
    """

    metrics: dict[str, float]
    truth: NDArray[Any]
    predicted: NDArray[Any]
    scores: NDArray[np.float64]
    classes: NDArray[Any]
    """Those that the model knows, in order. The truth may have others, or lack some."""

    @property
    def all_classes(self) -> NDArray[Any]:
        """Those that the model knows or the test side has, in order."""
        return np.union1d(self.classes, self.truth)


@dataclass(frozen=True)
class ClassScore:
    """How good a model is at one class. `support` is how many test rows have it."""

    name: Any
    precision: float
    recall: float
    f1: float
    support: int


def evaluate(model: Pipeline, inputs: pd.DataFrame, target: NDArray[Any]) -> Evaluation:
    """Measure `model` on these rows, as `evaluate_scores` does."""
    return evaluate_scores(model, scores_by_class(model, inputs), target)


def evaluate_scores(
    model: Pipeline, of_classes: NDArray[np.float64], target: NDArray[Any]
) -> Evaluation:
    """Measure `model` by its scores of rows whose classes are `target`. Of two classes the greater
    one is positive; of more, the mean is taken over the classes, weighted by their rows, each
    against the rest.

    Two models are comparable on the same rows even if they know other classes: a class that a
    model doesn't know is one that it never answers, with an area under the curve of one half and
    the smallest of probabilities. A class without a test row counts in no weighted mean, and in
    `macro_f1` only if the model answers with it. `log_loss` is there only of models with
    probabilities. Raises `ValueError` where all rows have one class.
    """
    classes = model.classes_
    predicted = classes[of_classes.argmax(axis=1)]
    if len(np.unique(target)) < 2:
        raise ValueError("the test rows have one class only")
    if len(np.union1d(classes, target)) == 2:
        positive, guessed = target == classes[1], predicted == classes[1]
        scores: dict[str, Any] = {"zero_division": 0.0}
    else:
        positive, guessed = target, predicted
        scores = {"zero_division": 0.0, "average": "weighted"}
    metrics = {
        Metric.ROC_AUC: _area(target, of_classes, classes),
        Metric.F1: f1_score(positive, guessed, **scores),
        Metric.WEIGHTED_F1: f1_score(target, predicted, average="weighted", zero_division=0.0),
        Metric.MACRO_F1: f1_score(target, predicted, average="macro", zero_division=0.0),
        Metric.PRECISION: precision_score(positive, guessed, **scores),
        Metric.RECALL: recall_score(positive, guessed, **scores),
        Metric.ACCURACY: accuracy_score(target, predicted),
    }
    if has_probabilities(model):
        metrics[Metric.LOG_LOSS] = log_loss(target, of_classes, classes)
    return Evaluation(
        {metric.value: float(value) for metric, value in metrics.items()},
        target,
        predicted,
        of_classes,
        classes,
    )


def has_probabilities(model: Pipeline) -> bool:
    """Whether the model says how likely each class is."""
    return hasattr(model, "predict_proba")


def scores_by_class(model: Pipeline, inputs: pd.DataFrame) -> NDArray[np.float64]:
    """A column for each of the model's classes: its probabilities, or margins if it has none."""
    with threadpool_limits(limits=1, user_api="blas"):
        if has_probabilities(model):
            return np.asarray(model.predict_proba(inputs), dtype=np.float64)
        margins = np.asarray(model.decision_function(inputs), dtype=np.float64)
    return np.column_stack([-margins, margins]) if margins.ndim == 1 else margins


def class_scores(evaluation: Evaluation) -> Sequence[ClassScore]:
    """The scores of each class that the model knows or the test side has, in order."""
    classes = evaluation.all_classes
    columns = precision_recall_fscore_support(
        evaluation.truth, evaluation.predicted, labels=classes, zero_division=0.0
    )
    return [
        ClassScore(name, float(precision), float(recall), float(f1), int(support))
        for name, precision, recall, f1, support in zip(classes.tolist(), *columns, strict=True)
    ]


def _area(target: NDArray[Any], scores: NDArray[np.float64], classes: NDArray[Any]) -> float:
    if len(classes) == 2 and np.isin(target, classes).all():
        return float(roc_auc_score(target == classes[1], scores[:, 1]))
    present, rows = np.unique(target, return_counts=True)
    column = {name: place for place, name in enumerate(classes.tolist())}
    areas = [
        roc_auc_score(target == name, scores[:, column[name]]) if name in column else _CHANCE
        for name in present.tolist()
    ]
    return float(np.average(areas, weights=rows))


def log_loss(
    target: NDArray[Any], probabilities: NDArray[np.float64], classes: NDArray[Any]
) -> float:
    """The mean of -log of what was given to the true class; of one not in `classes`, epsilon."""
    place = np.searchsorted(classes, target).clip(max=len(classes) - 1)
    of_truth = np.where(classes[place] == target, probabilities[np.arange(len(target)), place], 0.0)
    smallest = np.finfo(np.float64).eps
    return float(-np.log(of_truth.clip(smallest, 1 - smallest)).mean())
