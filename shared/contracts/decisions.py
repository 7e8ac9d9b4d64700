"""What may be decided about a model version, and who is champion by it. Pure."""

from collections.abc import Iterable
from enum import StrEnum


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


def champions(history: Iterable[tuple[str, Decision]]) -> list[str]:
    """Who was champion, the present one last, of a model's decisions in the order of their making.

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
    return pile


def previous_champion(history: Iterable[tuple[str, Decision]]) -> tuple[str | None, str | None]:
    """The champion and the one before it; see `champions`."""
    pile = champions(history)
    newest = pile[-1] if pile else None
    return newest, pile[-2] if len(pile) > 1 else None
