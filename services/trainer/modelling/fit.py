"""Fitting a model. The same data and choice, the same model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from services.trainer.modelling.categories import count_categories, most_frequent
from services.trainer.modelling.models import BOOSTED, categorical_names, make_pipeline
from services.trainer.modelling.weights import WEIGHTED_KINDS
from shared.contracts.manifest import FeatureField
from shared.contracts.training_spec import ModelChoice, Text
from shared.errors import PermanentError


class UnfitModel(PermanentError):
    """The estimator refuses the data or the values of its parameters."""


def fit(
    choice: ModelChoice,
    features: Sequence[FeatureField],
    inputs: pd.DataFrame,
    target: NDArray[Any],
    *,
    text: Text | None = None,
    copies: NDArray[np.int64] | None = None,
) -> Pipeline:
    """The fitted pipeline. Raises `InvalidSpec` or `UnfitModel` where it can't be had.

    `copies` says how often each row stands in the training side; once, if it isn't given. What a
    text's n-grams are worth is learned from the rows as they are here, medians, scales and
    categories from the rows as often as they stand; but all from the rows here where there is text.
    """
    if copies is None:
        copies = np.ones(len(inputs), dtype=np.int64)
    known = None
    if choice.kind == BOOSTED:
        known = most_frequent(count_categories(inputs, categorical_names(features), copies))
    model = make_pipeline(choice, features, text, known)
    prepare, estimator = model["prepare"], model["estimate"]
    repeated = np.repeat(np.arange(len(inputs)), copies)
    try:
        # One thread for linear algebra: more would add up in an order that differs by machine.
        with threadpool_limits(limits=1, user_api="blas"):
            if text is not None:
                prepared = prepare.fit_transform(inputs)
            else:
                prepare.fit(inputs.iloc[repeated])
                prepared = prepare.transform(inputs)
            if choice.kind in WEIGHTED_KINDS:
                estimator.fit(prepared, target, sample_weight=copies.astype(np.float64))
            else:
                estimator.fit(prepared[repeated], target[repeated])
    except (ValueError, TypeError) as error:
        raise UnfitModel(f"{type(estimator).__name__} can't be fitted: {error}") from error
    if "n_jobs" in estimator.get_params():
        # A forest with several threads adds its trees' votes in the order in which they end.
        estimator.set_params(n_jobs=None)
    return model
