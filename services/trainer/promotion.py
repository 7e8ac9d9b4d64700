"""Whether a model version becomes champion. Pure: what it needs is passed in."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from shared.contracts.training_spec import Metric


class Decision(StrEnum):
    """What was decided about a version, and by what rule."""

    FIRST_CHAMPION = "first_champion"
    """It clears the minimum and there was no champion."""
    BEATS_CHAMPION = "beats_champion"
    """It clears the minimum and is better than the champion on the same test rows."""
    ALREADY_CHAMPION = "already_champion"
    """It is the champion; nothing changed."""
    BELOW_MINIMUM = "below_minimum"
    """It doesn't reach what the spec asks of any champion."""
    WITHDRAWN = "withdrawn"
    """A person rolled it back; only a person may promote it again."""
    OLDER_THAN_CHAMPION = "older_than_champion"
    """Its data is of an earlier date than the champion's."""
    CHAMPION_NOT_COMPARABLE = "champion_not_comparable"
    """The champion can't be measured on these test rows; a person has to decide."""
    NOT_BETTER = "not_better"
    """The champion is as good or better on the same test rows."""
    PROMOTED_BY_HAND = "promoted_by_hand"
    """A person made it champion."""
    ROLLED_BACK = "rolled_back"
    """A person made it champion again in place of the one after it."""

    @property
    def makes_champion(self) -> bool:
        """Whether the version is the champion after this decision."""
        return self in _CHAMPIONS


_CHAMPIONS = frozenset(
    {
        Decision.FIRST_CHAMPION,
        Decision.BEATS_CHAMPION,
        Decision.ALREADY_CHAMPION,
        Decision.PROMOTED_BY_HAND,
        Decision.ROLLED_BACK,
    }
)


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


def previous_champion(history: list[tuple[str, Decision]]) -> tuple[str | None, str | None]:
    """The champion and the one before it, of a model's decisions in the order of their making.

    `history` has (version, decision). A rollback takes the champion off the pile, so a second one
    goes further back, not forth again.
    """
    pile: list[str] = []
    for version, decision in history:
        if not decision.makes_champion or (pile and pile[-1] == version):
            continue
        if decision is Decision.ROLLED_BACK and version in pile:
            while pile[-1] != version:
                pile.pop()
        else:
            pile.append(version)
    newest = pile[-1] if pile else None
    return newest, pile[-2] if len(pile) > 1 else None


def _reaches(metric: Metric, score: float, minimum: float) -> bool:
    return score >= minimum if metric.larger_is_better else score <= minimum
