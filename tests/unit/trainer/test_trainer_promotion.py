from datetime import date

import pytest

from services.trainer.promotion.decision import (
    Candidate,
    Champion,
    decide,
)
from shared.contracts.decisions import Decision, previous_champion
from shared.contracts.training_spec import Metric

JANUARY, FEBRUARY = date(2024, 1, 31), date(2024, 2, 29)


def candidate(score: float, *, as_of: date = FEBRUARY, is_withdrawn: bool = False) -> Candidate:
    return Candidate("2", as_of, score, is_withdrawn)


def champion(score: float | None, *, version: str = "1", as_of: date | None = JANUARY) -> Champion:
    return Champion(version, as_of, score, "" if score is not None else "it needs users.age")


@pytest.mark.parametrize(
    ("new", "present", "decision"),
    [
        (candidate(0.80), None, Decision.FIRST_CHAMPION),
        (candidate(0.75), None, Decision.FIRST_CHAMPION),
        (candidate(0.74), None, Decision.BELOW_MINIMUM),
        (candidate(0.74), champion(0.70), Decision.BELOW_MINIMUM),
        (candidate(0.74), champion(None), Decision.BELOW_MINIMUM),
        (candidate(0.81), champion(0.80), Decision.BEATS_CHAMPION),
        (candidate(0.80), champion(0.80), Decision.NOT_BETTER),
        (candidate(0.79), champion(0.80), Decision.NOT_BETTER),
        (candidate(0.90), champion(None), Decision.CHAMPION_NOT_COMPARABLE),
        (
            candidate(0.90, as_of=JANUARY),
            champion(0.8, as_of=FEBRUARY),
            Decision.OLDER_THAN_CHAMPION,
        ),
        (candidate(0.90, as_of=JANUARY), champion(0.80), Decision.BEATS_CHAMPION),
        (candidate(0.90), champion(0.80, as_of=None), Decision.BEATS_CHAMPION),
        (candidate(0.90, is_withdrawn=True), champion(0.80), Decision.WITHDRAWN),
        (candidate(0.90, is_withdrawn=True), None, Decision.WITHDRAWN),
        (candidate(0.80), champion(0.80, version="2"), Decision.ALREADY_CHAMPION),
        (candidate(0.10), champion(0.10, version="2"), Decision.ALREADY_CHAMPION),
    ],
)
def test_a_version_is_promoted_only_by_the_rule(new, present, decision):
    outcome = decide(Metric.ROC_AUC, 0.75, new, present)
    assert outcome.decision is decision
    assert outcome.reason


def test_of_log_loss_less_is_better():
    assert decide(Metric.LOG_LOSS, 0.5, candidate(0.4), champion(0.41)).decision is (
        Decision.BEATS_CHAMPION
    )
    assert decide(Metric.LOG_LOSS, 0.5, candidate(0.42), champion(0.41)).decision is (
        Decision.NOT_BETTER
    )
    assert decide(Metric.LOG_LOSS, 0.5, candidate(0.6), None).decision is Decision.BELOW_MINIMUM


def test_the_reason_names_both_scores_and_the_champion():
    reason = decide(Metric.ROC_AUC, 0.75, candidate(0.81), champion(0.8)).reason
    assert "0.8100" in reason
    assert "0.8000 of champion 1" in reason


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], (None, None)),
        ([("1", Decision.BELOW_MINIMUM)], (None, None)),
        ([("1", Decision.FIRST_CHAMPION)], ("1", None)),
        ([("1", Decision.FIRST_CHAMPION), ("2", Decision.NOT_BETTER)], ("1", None)),
        ([("1", Decision.FIRST_CHAMPION), ("2", Decision.BEATS_CHAMPION)], ("2", "1")),
        (
            [
                ("1", Decision.FIRST_CHAMPION),
                ("2", Decision.BEATS_CHAMPION),
                ("2", Decision.ALREADY_CHAMPION),
            ],
            ("2", "1"),
        ),
        (
            [
                ("1", Decision.FIRST_CHAMPION),
                ("2", Decision.BEATS_CHAMPION),
                ("3", Decision.BEATS_CHAMPION),
                ("2", Decision.ROLLED_BACK),
            ],
            ("2", "1"),
        ),
        (
            [
                ("1", Decision.FIRST_CHAMPION),
                ("2", Decision.BEATS_CHAMPION),
                ("1", Decision.PROMOTED_BY_HAND),
            ],
            ("1", "2"),
        ),
    ],
)
def test_a_rollback_goes_to_the_champion_before_and_never_forth_again(history, expected):
    assert previous_champion(history) == expected
