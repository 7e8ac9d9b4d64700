"""The part of a spec that says how a snapshot becomes a training dataset and a model."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from shared.contracts.spec_part import ColumnName, Name, SpecPart


class Split(SpecPart):
    """Which rows test. An entity's side follows from a hash of its key, for ever."""

    test_share: float = Field(default=0.25, gt=0.0, lt=1.0)
    salt: str = ""


class Balance(SpecPart):
    """What is done about unequal classes, on the training side only."""

    strategy: Literal["none", "random_oversample"] = "none"
    seed: int = 0


class Target(SpecPart):
    """The column to predict."""

    table: Name
    column: ColumnName


class Metric(StrEnum):
    """What a promotion compares. All but `log_loss` are better when larger."""

    ROC_AUC = "roc_auc"
    F1 = "f1"
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
    kind: Literal["logistic_regression", "random_forest", "gradient_boosting"]
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Of the scikit-learn estimator, by its own names."""
    seed: int = 0


class Training(SpecPart):
    """How a snapshot becomes a training dataset and a model."""

    entity: ColumnName
    """Column, in the key of every table used, whose hash decides the split."""
    target: Target
    features: dict[Name, tuple[ColumnName, ...]] = Field(min_length=1)
    """Columns by table. A date becomes its age in days at `as_of`."""
    split: Split = Split()
    balance: Balance = Balance()
    model: ModelChoice
    metric: Metric = Metric.ROC_AUC
    minimum: float | None = None
    """What a version must reach, in that metric, to become champion at all."""
