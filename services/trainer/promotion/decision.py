"""Whether a model version becomes champion. Pure: what it needs is passed in."""

from dataclasses import dataclass
from datetime import date

from shared.contracts.decisions import Decision
from shared.contracts.training_spec import Metric


@dataclass(frozen=True)
class Candidate:
    """A registered version and its score on the test rows."""

    version: str
    as_of: date
    score: float
    is_withdrawn: bool = False


@dataclass(frozen=True)
class Champion:
    """The present champion. Without a `score` on the same rows, `obstacle` says why."""

    version: str
    as_of: date | None
    score: float | None
    obstacle: str = ""


@dataclass(frozen=True)
class Outcome:
    """A decision with its reason in words."""

    decision: Decision
    reason: str


def decide(
    metric: Metric, minimum: float | None, candidate: Candidate, champion: Champion | None
) -> Outcome:
    """The rule. The first of its clauses that applies decides, so one cause is always named.

    A tie keeps the champion: a change must be worth something.
    """
    name, score = metric.value, candidate.score
    if champion is not None and champion.version == candidate.version:
        return Outcome(Decision.ALREADY_CHAMPION, f"version {candidate.version} is the champion")
    if minimum is not None and not _reaches(metric, score, minimum):
        return Outcome(
            Decision.BELOW_MINIMUM, f"{name} {score:.4f} doesn't reach the minimum {minimum:g}"
        )
    if candidate.is_withdrawn:
        return Outcome(
            Decision.WITHDRAWN, f"version {candidate.version} was rolled back by a person"
        )
    if champion is None:
        reached = "" if minimum is None else f" reaches the minimum {minimum:g}, and"
        return Outcome(
            Decision.FIRST_CHAMPION, f"{name} {score:.4f}{reached or ':'} there was no champion"
        )
    if champion.as_of is not None and candidate.as_of < champion.as_of:
        return Outcome(
            Decision.OLDER_THAN_CHAMPION,
            f"its data is of {candidate.as_of}, that of champion {champion.version} "
            f"of {champion.as_of}",
        )
    if champion.score is None:
        return Outcome(
            Decision.CHAMPION_NOT_COMPARABLE,
            f"champion {champion.version} can't be measured on these test rows: "
            f"{champion.obstacle}; promote by hand",
        )
    comparison = (
        f"{name} {score:.4f} against {champion.score:.4f} of champion {champion.version} "
        "on the same test rows"
    )
    is_better = score > champion.score if metric.larger_is_better else score < champion.score
    return Outcome(Decision.BEATS_CHAMPION if is_better else Decision.NOT_BETTER, comparison)


def _reaches(metric: Metric, score: float, minimum: float) -> bool:
    return score >= minimum if metric.larger_is_better else score <= minimum
