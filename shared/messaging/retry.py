"""Which errors are tried again, and after how long. Pure: randomness is passed in."""

from collections.abc import Callable, Iterator
from enum import StrEnum

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from shared.errors import PermanentError, TransientError


class Route(StrEnum):
    """What becomes of an event whose handler raised."""

    TRANSIENT = "transient"
    """Tried again for as long as it lasts."""
    PERMANENT = "permanent"
    """To the dead letters at once."""
    UNKNOWN = "unknown"
    """A bounded number of tries, then the dead letters."""


def route_of(error: BaseException) -> Route:
    """The route that the error's class decides.

    Of database errors those of SQLAlchemy's `OperationalError` and `InterfaceError` are transient:
    connection lost, shutting down, no room, a lock or a deadlock.
    """
    if isinstance(error, TransientError | OperationalError | InterfaceError):
        return Route.TRANSIENT
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Route.TRANSIENT
    if isinstance(error, PermanentError):
        return Route.PERMANENT
    return Route.UNKNOWN


def backoff(
    floor_seconds: float, ceiling_seconds: float, random: Callable[[], float]
) -> Iterator[float]:
    """Endless waiting times in seconds, doubling up to the ceiling, each cut by up to a half.

    `random` gives numbers in [0, 1). Source: "equal jitter" in M. Brooker, Exponential Backoff And
    Jitter, AWS Architecture Blog, 2015.
    """
    step = floor_seconds
    while True:
        yield step * (0.5 + 0.5 * random())
        step = min(step * 2, ceiling_seconds)
