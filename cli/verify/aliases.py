"""Aliases in MLflow: each is where the decisions, in their order, have put it."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from cli.verify.findings import Finding
from cli.verify.mlflow_rest import MlflowRest

_OUT_OF_THE_RUNNING = "withdrawn"
"""The decision about a version that a person has rolled back: no alias is for it."""


def check_aliases(
    finding: Finding,
    mlflow: MlflowRest,
    model: str,
    decisions: Sequence[Row[Any]],
    *,
    is_busy: bool,
) -> None:
    """`champion` and `challenger` against the decisions about the model, oldest first."""
    for alias, expected in (
        ("champion", _champion(decisions)),
        ("challenger", _challenger(decisions)),
    ):
        holder = mlflow.holder(model, alias)
        if holder != expected and is_busy:
            finding.tell(f"{model}: a training is under way, so its {alias} was not looked at")
            continue
        finding.saw("aliases")
        finding.require(f"{model}, alias {alias}", "version", expected=expected, found=holder)


def _champion(decisions: Sequence[Row[Any]]) -> str | None:
    """The version of the newest decision that made a champion."""
    return next((row.model_version for row in reversed(decisions) if row.promoted), None)


def _challenger(decisions: Sequence[Row[Any]]) -> str | None:
    """The newest version that wasn't promoted, until it is."""
    challenger: str | None = None
    for row in decisions:
        if row.promoted:
            challenger = None if challenger == row.model_version else challenger
        elif row.decision != _OUT_OF_THE_RUNNING and int(row.model_version) > int(challenger or 0):
            challenger = row.model_version
    return challenger
