"""What a model goes by: its features' weights, and the terms that speak for each class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.inspection import permutation_importance
from sklearn.pipeline import Pipeline

from services.trainer.evaluation.measures import log_loss
from services.trainer.training_dataset.classes import class_text

PERMUTED_ROWS = 2_000
"""On which importances are measured where a model has none of its own."""
FEATURES_KEPT = 500
"""The most important ones are told: a text has a hundred thousand."""
TERMS_KEPT = 10
"""Of each class."""
_PERMUTATIONS = 3
_WORDS = "words__"


@dataclass(frozen=True)
class Importances:
    """The features with the largest weights, the largest first; `kind` says what the values are."""

    kind: str
    values: tuple[tuple[str, float], ...]
    terms: Mapping[str, Sequence[tuple[str, float]]] = field(default_factory=dict)
    """Of a linear model that reads text: by class, the words that speak for it most."""


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
        names = np.asarray(model[:-1].get_feature_names_out(), dtype=object)
        terms = _terms(names, coefficients, model.classes_)
        return _sorted("coefficient", names, values, terms)
    if hasattr(estimator, "feature_importances_"):
        names = model[:-1].get_feature_names_out()
        kind = getattr(estimator, "importance_kind", "impurity decrease")
        return _sorted(kind, names, estimator.feature_importances_)
    measured = permutation_importance(
        model,
        inputs.head(PERMUTED_ROWS),
        target[:PERMUTED_ROWS],
        scoring=_minus_log_loss,
        n_repeats=_PERMUTATIONS,
        random_state=seed,
    )
    return _sorted("log loss when shuffled", list(inputs.columns), measured.importances_mean)


def _minus_log_loss(model: Pipeline, inputs: pd.DataFrame, target: NDArray[Any]) -> float:
    return -log_loss(target, np.asarray(model.predict_proba(inputs)), model.classes_)


def _terms(
    names: NDArray[np.object_], coefficients: NDArray[Any], classes: NDArray[Any]
) -> dict[str, list[tuple[str, float]]]:
    words = np.flatnonzero([name.startswith(_WORDS) for name in names])
    if not len(words):
        return {}
    of_class = np.vstack([-coefficients, coefficients]) if len(classes) == 2 else coefficients
    return {
        class_text(name): [
            (names[place].removeprefix(_WORDS), float(row[place]))
            for place in words[np.argsort(-row[words], kind="stable")[:TERMS_KEPT]]
        ]
        for name, row in zip(classes.tolist(), of_class, strict=True)
    }


def _sorted(
    kind: str,
    names: Sequence[str] | NDArray[np.object_],
    values: NDArray[Any],
    terms: Mapping[str, Sequence[tuple[str, float]]] | None = None,
) -> Importances:
    pairs = [(str(name), float(value)) for name, value in zip(names, values, strict=True)]
    pairs.sort(key=lambda pair: (-abs(pair[1]), pair[0]))
    return Importances(kind, tuple(pairs[:FEATURES_KEPT]), terms or {})
