"""The estimators that a spec may choose, and the pipeline around them.

Everything in a pipeline is scikit-learn's own, so a model loads wherever scikit-learn is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from services.trainer.frame import CATEGORICAL
from shared.contracts.manifest import FeatureField
from shared.contracts.training_spec import ModelChoice
from shared.errors import InvalidSpec

ESTIMATORS: Mapping[str, type[Any]] = {
    "logistic_regression": LogisticRegression,
    "random_forest": RandomForestClassifier,
    "gradient_boosting": HistGradientBoostingClassifier,
}
CATEGORIES_KEPT = 100
"""Of one column; the rarer ones share a column, so a free text can't make a million of them."""
_OURS = frozenset({"random_state"})


def unknown_parameters(choice: ModelChoice) -> list[str]:
    """The declared parameters that the estimator doesn't have, sorted. For checking a spec.

    `random_state` is among them: the spec says `seed`.
    """
    known = set(ESTIMATORS[choice.kind]().get_params()) - _OURS
    return sorted(set(choice.parameters) - known)


def make_pipeline(choice: ModelChoice, features: Sequence[FeatureField]) -> Pipeline:
    """An unfitted pipeline from the model's inputs to its classes.

    Missing numbers are filled with the median and marked, then all are scaled. (Gradient boosting
    could take them as they are, but fails where all are missing.) A missing text or boolean is a
    category of its own, and a category not seen in training counts as one of the rare ones, or
    none. Raises `InvalidSpec`, naming parameters the estimator lacks.
    """
    if unknown := unknown_parameters(choice):
        raise InvalidSpec(
            f"{ESTIMATORS[choice.kind].__name__} has no parameter {', '.join(unknown)}"
        )
    numeric = [field.name for field in features if field.kind not in CATEGORICAL]
    categorical = [field.name for field in features if field.kind in CATEGORICAL]
    filled = Pipeline(
        [
            (
                "fill",
                SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
            ),
            ("scale", StandardScaler()),
        ]
    )
    encoded = Pipeline(
        [
            (
                "fill",
                SimpleImputer(strategy="constant", fill_value="missing", keep_empty_features=True),
            ),
            (
                "encode",
                OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=CATEGORIES_KEPT),
            ),
        ]
    )
    prepare = ColumnTransformer(
        [
            ("numeric", filled, numeric),
            ("categorical", encoded, categorical),
        ],
        # Gradient boosting takes no sparse matrix.
        sparse_threshold=0.0 if choice.kind == "gradient_boosting" else 0.3,
        verbose_feature_names_out=False,
    )
    estimator = ESTIMATORS[choice.kind](**choice.parameters, random_state=choice.seed)
    return Pipeline([("prepare", prepare), ("estimate", estimator)])
