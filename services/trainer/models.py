"""The estimators that a spec may choose, and the pipeline around them.

Everything in a pipeline is scikit-learn's own, so a model loads wherever scikit-learn is. Only one
that reads text needs Headrace's `cleaning` and `ngrams` as well.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from services.trainer.cleaning import CleanedText
from services.trainer.frame import CATEGORICAL
from services.trainer.ngrams import StorableCounts, single_precision
from shared.contracts.manifest import FeatureField
from shared.contracts.training_spec import ModelChoice, Text
from shared.errors import InvalidSpec

ESTIMATORS: Mapping[str, Callable[..., Any]] = {
    "logistic_regression": LogisticRegression,
    "linear_svm": LinearSVC,
    "random_forest": RandomForestClassifier,
    "gradient_boosting": HistGradientBoostingClassifier,
}
CATEGORIES_KEPT = 100
"""Of one column; the rarer ones share a column, so a free text can't make a million of them."""
DENSE_KINDS = frozenset({"gradient_boosting"})
"""The estimators that take no sparse matrix."""
_OURS = frozenset({"random_state"})


def unknown_parameters(choice: ModelChoice) -> list[str]:
    """The declared parameters that the estimator doesn't have, sorted. For checking a spec.

    `random_state` is among them: the spec says `seed`.
    """
    known = set(ESTIMATORS[choice.kind]().get_params()) - _OURS
    return sorted(set(choice.parameters) - known)


def text_obstacle(choice: ModelChoice, text: Text | None) -> str | None:
    """Why this estimator can't read the text that is declared, if so. For checking a spec."""
    if text is None or choice.kind not in DENSE_KINDS:
        return None
    able = ", ".join(sorted(set(ESTIMATORS) - DENSE_KINDS))
    return (
        f"{choice.kind} reads no text, for it needs every n-gram of every row as a number: "
        f"choose one of {able}, or take `text` away"
    )


def make_pipeline(
    choice: ModelChoice, features: Sequence[FeatureField], text: Text | None = None
) -> Pipeline:
    """An unfitted pipeline from the model's inputs to its classes.

    Missing numbers are filled with the median and marked, then all are scaled. (Gradient boosting
    could take them as they are, but fails where all are missing.) A missing text or boolean is a
    category of its own, and a category not seen in training counts as one of the rare ones, or
    none. The features that `text` names are joined, cleaned and weighed by TF-IDF instead. Raises
    `InvalidSpec`, naming parameters the estimator lacks, or where it can't read text.
    """
    if unknown := unknown_parameters(choice):
        raise InvalidSpec(f"{choice.kind} has no parameter {', '.join(unknown)}")
    if obstacle := text_obstacle(choice, text):
        raise InvalidSpec(obstacle)
    read = _names(text)
    others = [field for field in features if field.name not in read]
    numeric = [field.name for field in others if field.kind not in CATEGORICAL]
    categorical = [field.name for field in others if field.kind in CATEGORICAL]
    blocks: list[tuple[str, Pipeline, list[str]]] = [
        ("numeric", _scaled(is_beside_text=text is not None), numeric),
        ("categorical", _encoded(is_beside_text=text is not None), categorical),
    ]
    if text is not None:
        blocks.append(("text", _weighed(text), read))
    prepare = ColumnTransformer(
        blocks,
        sparse_threshold=0.0 if choice.kind in DENSE_KINDS else 0.3,
        verbose_feature_names_out=False,
    )
    estimator = ESTIMATORS[choice.kind](**choice.parameters, random_state=choice.seed)
    return Pipeline([("prepare", prepare), ("estimate", estimator)])


def _names(text: Text | None) -> list[str]:
    """The features that are read as text, in the order in which they are joined."""
    if text is None:
        return []
    return [f"{table}.{column}" for table, columns in text.features.items() for column in columns]


def _scaled(*, is_beside_text: bool) -> Pipeline:
    steps: list[tuple[str, Any]] = [
        ("fill", SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)),
        ("scale", StandardScaler()),
    ]
    if is_beside_text:
        narrow = FunctionTransformer(single_precision, feature_names_out="one-to-one")
        steps.append(("narrow", narrow))
    return Pipeline(steps)


def _encoded(*, is_beside_text: bool) -> Pipeline:
    encode = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=CATEGORIES_KEPT,
        dtype=np.float32 if is_beside_text else np.float64,
    )
    fill = SimpleImputer(strategy="constant", fill_value="missing", keep_empty_features=True)
    return Pipeline([("fill", fill), ("encode", encode)])


def _weighed(text: Text) -> Pipeline:
    """From texts to the TF-IDF of their n-grams, each row of each unit of length 1."""

    def of(analyzer: str, lengths: tuple[int, int]) -> Pipeline:
        counts = StorableCounts(
            analyzer=analyzer,
            ngram_range=lengths,
            max_features=text.max_features,
            min_df=text.min_rows,
        )
        return Pipeline([("count", counts), ("weigh", TfidfTransformer(sublinear_tf=True))])

    units = [("words", of("word", text.word_ngrams))]
    units.append(("characters", of("char_wb", text.character_ngrams)))
    return Pipeline([("clean", CleanedText()), ("ngrams", FeatureUnion(units))])
