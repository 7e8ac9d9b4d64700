"""The slices from one to another, in order, by their names alone."""

from datetime import date

from shared.contracts.dataset_spec import Slices
from shared.contracts.increment import Increment
from shared.contracts.slice_naming import SliceNaming


def slices_between(slices: Slices, first: str, last: str) -> list[str]:
    """The names from `first` to `last`, both included, in the order of their dates or shares.

    Each is a slice's name, or where names say a date, a date as `2024-01-31`: then the first slice
    is the first at or after it, and the last the last at or before it. Raises `ValueError` where
    one is neither, or no slice lies between them.
    """
    if slices.increment is not None:
        return _shares(slices.increment, first, last)
    if slices.naming is None:  # the spec's own check saw to it
        raise ValueError("slices have either a naming or an increment")
    return _dated(slices.naming, first, last)


def _shares(increment: Increment, first: str, last: str) -> list[str]:
    until = increment.share(last)
    found: list[str] = []
    following: str | None = first
    while following is not None and increment.share(following) <= until:
        found.append(following)
        following = increment.next_after([following])
    if not found or found[-1] != last:
        raise ValueError(f"from {first} by {increment.step:f} one doesn't come to {last}")
    return found


def _dated(naming: SliceNaming, first: str, last: str) -> list[str]:
    until = _date(naming, last)
    found: list[str] = []
    following = _first(naming, first, until)
    while naming.as_of(following) <= until:
        found.append(following)
        try:
            following = naming.next_after([following])
        except (ValueError, OverflowError):  # beyond the last of all dates
            break
    if not found:
        raise ValueError(f"no slice lies between {first} and {last}")
    return found


def _first(naming: SliceNaming, bound: str, until: date) -> str:
    """The slice `bound`, or the first one at or after that date."""
    try:
        naming.as_of(bound)
    except (ValueError, OverflowError):
        begin = _date(naming, bound)
    else:
        return bound
    if naming.is_dated:
        return naming.pattern.format(date=begin)
    following = naming.next_after([])
    while naming.as_of(following) < min(begin, until):
        following = naming.next_after([following])
    return following if naming.as_of(following) >= begin else naming.next_after([following])


def _date(naming: SliceNaming, bound: str) -> date:
    try:
        return naming.as_of(bound)
    except (ValueError, OverflowError) as error:
        try:
            return date.fromisoformat(bound)
        except ValueError:
            raise ValueError(f"{bound!r} is neither a date nor a slice: {error}") from None
