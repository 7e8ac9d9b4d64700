"""The estimators that a spec may choose, and the pipeline around them.

Everything in a pipeline is scikit-learn's own, so a model loads wherever scikit-learn is. Only one
that reads text needs Headrace's `cleaning` and `ngrams` as well, and a boosted one `boosted`.
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
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC

from services.trainer.modelling.categories import CATEGORIES_KEPT, MISSING
from services.trainer.modelling.cleaning import CleanedText
from services.trainer.modelling.frame import CATEGORICAL
from services.trainer.modelling.ngrams import StorableCounts, single_precision
from shared.contracts.manifest import FeatureField
from shared.contracts.training_spec import ModelChoice, Text
from shared.errors import InvalidSpec

BOOSTED = "xgboost"


def _boosted_trees(**parameters: Any) -> Any:
    from services.trainer.modelling.boosted import BoostedTrees  # XGBoost: only where it is chosen

    return BoostedTrees(**parameters)


ESTIMATORS: Mapping[str, Callable[..., Any]] = {
    "logistic_regression": LogisticRegression,
    "linear_svm": LinearSVC,
    "random_forest": RandomForestClassifier,
    "gradient_boosting": HistGradientBoostingClassifier,
    BOOSTED: _boosted_trees,
}
DENSE_KINDS = frozenset({"gradient_boosting", BOOSTED})
"""The estimators that take no sparse matrix."""
_OURS = frozenset({"random_state"})


def unknown_parameters(choice: ModelChoice) -> list[str]:
    """The declared parameters that the estimator doesn't have, sorted. For checking a spec.

    `random_state` is among them: the spec says `seed`. So is what Headrace sets itself.
    """
    known = set(ESTIMATORS[choice.kind]().get_params()) - _OURS
    if choice.kind == BOOSTED:
        from services.trainer.modelling.boosted import SET_BY_US

        known -= SET_BY_US
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
    choice: ModelChoice,
    features: Sequence[FeatureField],
    text: Text | None = None,
    categories: Mapping[str, Sequence[str]] | None = None,
) -> Pipeline:
    """An unfitted pipeline from the model's inputs to its classes.

    Missing numbers are filled with the median and marked, then all are scaled. (Gradient boosting
    could take them as they are, but fails where all are missing.) A missing text or boolean is a
    category of its own, and a category not seen in training counts as one of the rare ones, or
    none. The features that `text` names are joined, cleaned and weighed by TF-IDF instead. XGBoost
    takes numbers as they are and categories as codes of the known ones, which `categories` has by
    feature. Raises `InvalidSpec`, naming parameters the estimator lacks, or where it can't read
    text.
    """
    if unknown := unknown_parameters(choice):
        raise InvalidSpec(f"{choice.kind} has no parameter {', '.join(unknown)}")
    if obstacle := text_obstacle(choice, text):
        raise InvalidSpec(obstacle)
    read = list(text.feature_names) if text else []
    others = [field for field in features if field.name not in read]
    numeric = [field.name for field in others if field.kind not in CATEGORICAL]
    categorical = [field.name for field in others if field.kind in CATEGORICAL]
    if choice.kind == BOOSTED:
        return _boosting(choice, numeric, {name: (categories or {})[name] for name in categorical})
    blocks: list[tuple[str, Pipeline, list[str]]] = [
        ("numeric", _scaled(is_beside_text=text is not None), numeric),
        ("categorical", _encoded(is_beside_text=text is not None), categorical),
    ]
    if text is not None:
        blocks.append(("text", _weighed(text), list(read)))
    prepare = ColumnTransformer(
        blocks,
        sparse_threshold=0.0 if choice.kind in DENSE_KINDS else 0.3,
        verbose_feature_names_out=False,
    )
    estimator = ESTIMATORS[choice.kind](**choice.parameters, random_state=choice.seed)
    return Pipeline([("prepare", prepare), ("estimate", estimator)])


def categorical_names(features: Sequence[FeatureField]) -> list[str]:
    """The features that are categories to a model that reads no text."""
    return [field.name for field in features if field.kind in CATEGORICAL]


def _boosting(
    choice: ModelChoice, numeric: list[str], categories: Mapping[str, Sequence[str]]
) -> Pipeline:
    encode = OrdinalEncoder(
        categories=[np.array(known, dtype=object) for known in categories.values()],
        handle_unknown="use_encoded_value",
        unknown_value=CATEGORIES_KEPT,
    )
    coded = Pipeline([("fill", _filled()), ("encode", encode)])
    prepare = ColumnTransformer(
        [("numeric", "passthrough", numeric), ("categorical", coded, list(categories))],
        sparse_threshold=0.0,
        verbose_feature_names_out=False,
    )
    given = {
        # A fit takes one core, as of every other kind, unless the spec says otherwise.
        "n_jobs": 1,
        **choice.parameters,
        "random_state": choice.seed,
        "enable_categorical": True,
        "feature_types": ["q"] * len(numeric) + ["c"] * len(categories),
    }
    return Pipeline([("prepare", prepare), ("estimate", ESTIMATORS[BOOSTED](**given))])


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
    return Pipeline([("fill", _filled()), ("encode", encode)])


def _filled() -> SimpleImputer:
    return SimpleImputer(strategy="constant", fill_value=MISSING, keep_empty_features=True)


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
