"""The part of a spec that says how a snapshot becomes a training dataset and a model."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from shared.contracts.spec_part import ColumnName, Name, SpecPart


class Split(SpecPart):
    """Which rows test. An entity's side follows from a hash of its key, for ever."""

    test_share: float = Field(default=0.25, gt=0.0, lt=1.0)
    salt: str = ""


class Balance(SpecPart):
    """What is done about unequal classes, on the training side only."""

    strategy: Literal["none", "random_oversample"] = "none"
    seed: int = 0


class Text(SpecPart):
    """Features that are read as text: joined, cleaned, and counted as words and as characters."""

    features: dict[Name, tuple[ColumnName, ...]] = Field(min_length=1)
    """Columns by table; each must be a string among the training's features."""
    word_ngrams: tuple[int, int] = (1, 2)
    """Shortest and longest run of words that is counted."""
    character_ngrams: tuple[int, int] = (2, 5)
    """Shortest and longest run of characters within a word that is counted."""
    max_features: int = Field(default=100_000, ge=1)
    """How many of the most frequent runs of each kind are kept."""
    min_rows: int = Field(default=2, ge=1)
    """In how many rows a run must be to be counted at all."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features that are read as text, in the order in which they are joined."""
        return tuple(f"{table}.{column}" for table, of in self.features.items() for column in of)

    @field_validator("word_ngrams", "character_ngrams")
    @classmethod
    def _shortest_first(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1]:
            raise ValueError("a range of lengths is [shortest, longest], from 1 on")
        return value


class Target(SpecPart):
    """The column to predict."""

    table: Name
    column: ColumnName


class Metric(StrEnum):
    """What a promotion compares. All but `log_loss` are better when larger."""

    ROC_AUC = "roc_auc"
    F1 = "f1"
    WEIGHTED_F1 = "weighted_f1"
    MACRO_F1 = "macro_f1"
    PRECISION = "precision"
    RECALL = "recall"
    ACCURACY = "accuracy"
    LOG_LOSS = "log_loss"

    @property
    def larger_is_better(self) -> bool:
        """Whether a larger value is the better one."""
        return self is not Metric.LOG_LOSS


class ModelChoice(SpecPart):
    """The estimator and its registered name."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,120}$")]
    kind: Literal[
        "logistic_regression", "linear_svm", "random_forest", "gradient_boosting", "xgboost"
    ]
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Of the estimator, by its own names."""
    seed: int = 0


class Training(SpecPart):
    """How a snapshot becomes a training dataset and a model."""

    entity: ColumnName
    """Column, in the key of every table used, whose hash decides the split."""
    target: Target
    features: dict[Name, tuple[ColumnName, ...]] = Field(min_length=1)
    """Columns by table. A date becomes its age in days at `as_of`."""
    text: Text | None = None
    """Which features are read as text; a string is a category otherwise."""
    split: Split = Split()
    balance: Balance = Balance()
    model: ModelChoice
    metric: Metric = Metric.ROC_AUC
    minimum: float | None = None
    """What a version must reach, in that metric, to become champion at all."""

    @model_validator(mode="after")
    def _metric_can_be_had(self) -> Self:
        if self.metric is Metric.LOG_LOSS and self.model.kind == "linear_svm":
            raise ValueError("linear_svm gives no probabilities, so there is no log_loss of it")
        return self
