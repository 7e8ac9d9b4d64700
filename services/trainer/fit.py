"""Fitting a model and measuring it on the test side. The same data and choice, the same numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.inspection import permutation_importance
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from services.trainer.models import make_pipeline
from shared.contracts.manifest import FeatureField
from shared.contracts.training_spec import Metric, ModelChoice
from shared.errors import PermanentError

PERMUTED_ROWS = 2_000
"""On which importances are measured where a model has none of its own."""
_PERMUTATIONS = 3


class UnfitModel(PermanentError):
    """The estimator refuses the data or the values of its parameters."""


@dataclass(frozen=True)
class Evaluation:
    """A model's answers on the test side. `probabilities` has a column for each of `classes`."""

    metrics: dict[str, float]
    truth: NDArray[Any]
    predicted: NDArray[Any]
    probabilities: NDArray[np.float64]
    classes: NDArray[Any]


@dataclass(frozen=True)
class Importances:
    """Each feature's weight, the largest first; `kind` says what the values are."""

    kind: str
    values: tuple[tuple[str, float], ...]


def fit(
    choice: ModelChoice,
    features: Sequence[FeatureField],
    inputs: pd.DataFrame,
    target: NDArray[Any],
) -> Pipeline:
    """The fitted pipeline. Raises `InvalidSpec` or `UnfitModel` where it can't be had."""
    model = make_pipeline(choice, features)
    try:
        # One thread for linear algebra: more would add up in an order that differs by machine.
        with threadpool_limits(limits=1, user_api="blas"):
            model.fit(inputs, target)
    except (ValueError, TypeError) as error:
        raise UnfitModel(f"{type(model[-1]).__name__} can't be fitted: {error}") from error
    if "n_jobs" in model[-1].get_params():
        # A forest with several threads adds its trees' votes in the order in which they end.
        model[-1].set_params(n_jobs=None)
    return model


def evaluate(model: Pipeline, inputs: pd.DataFrame, target: NDArray[Any]) -> Evaluation:
    """Measure `model`. Of two classes the greater one is positive; of more, the mean is taken
    over the classes, weighted by their rows, each against the rest.
    """
    classes = model.classes_
    with threadpool_limits(limits=1, user_api="blas"):
        probabilities = np.asarray(model.predict_proba(inputs), dtype=np.float64)
    predicted = classes[probabilities.argmax(axis=1)]
    if len(classes) == 2:
        positive = target == classes[1]
        guessed = predicted == classes[1]
        auc = roc_auc_score(positive, probabilities[:, 1])
        scores: dict[str, Any] = {"zero_division": 0.0}
    else:
        positive, guessed = target, predicted
        auc = roc_auc_score(
            target, probabilities, multi_class="ovr", average="weighted", labels=classes
        )
        scores = {"zero_division": 0.0, "average": "weighted"}
    metrics = {
        Metric.ROC_AUC: auc,
        Metric.F1: f1_score(positive, guessed, **scores),
        Metric.PRECISION: precision_score(positive, guessed, **scores),
        Metric.RECALL: recall_score(positive, guessed, **scores),
        Metric.ACCURACY: accuracy_score(target, predicted),
        Metric.LOG_LOSS: log_loss(target, probabilities, labels=classes),
    }
    return Evaluation(
        {metric.value: float(value) for metric, value in metrics.items()},
        target,
        predicted,
        probabilities,
        classes,
    )


def importances(
    model: Pipeline, inputs: pd.DataFrame, target: NDArray[Any], *, seed: int
) -> Importances:
    """What the model goes by: its coefficients (of scaled features), its trees' gains, or the
    log loss that comes of shuffling a feature in the first test rows.
    """
    estimator = model[-1]
    if hasattr(estimator, "coef_"):
        coefficients = estimator.coef_
        values = coefficients[0] if len(coefficients) == 1 else np.abs(coefficients).mean(axis=0)
        return _sorted("coefficient", model[:-1].get_feature_names_out(), values)
    if hasattr(estimator, "feature_importances_"):
        names = model[:-1].get_feature_names_out()
        return _sorted("impurity decrease", names, estimator.feature_importances_)
    measured = permutation_importance(
        model,
        inputs.head(PERMUTED_ROWS),
        target[:PERMUTED_ROWS],
        scoring="neg_log_loss",
        n_repeats=_PERMUTATIONS,
        random_state=seed,
    )
    return _sorted("log loss when shuffled", list(inputs.columns), measured.importances_mean)


def _sorted(kind: str, names: Sequence[str], values: NDArray[Any]) -> Importances:
    pairs = [(str(name), float(value)) for name, value in zip(names, values, strict=True)]
    return Importances(kind, tuple(sorted(pairs, key=lambda pair: (-abs(pair[1]), pair[0]))))
