"""Which errors are tried again, and after how long. Pure: randomness is passed in."""

import errno
from collections.abc import Callable, Iterator
from enum import StrEnum

import psycopg2
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.errors import PermanentError, TransientError

_DATABASE_AWAY = (
    OperationalError,
    InterfaceError,
    PoolTimeout,  # every connection is in use, by those who wait for a server that hangs
    psycopg2.OperationalError,  # from COPY, which goes past SQLAlchemy
    psycopg2.InterfaceError,
)
_READ_ONLY = "25006"
"""SQLSTATE of a server that is a standby, as during a failover."""
_LIMIT_EXCEEDED = "54"
"""Class of SQLSTATEs that psycopg2 takes for operational, and that never pass: more columns than a
table may have, a value too long for an index."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


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

    Of database errors those of the classes `OperationalError` and `InterfaceError` are transient:
    connection lost, shutting down, no room, a lock or a deadlock; so is a disk of ours that is
    full. A limit of Postgres that is exceeded is not.
    """
    if isinstance(error, TransientError) or is_database_away(error):
        return Route.TRANSIENT
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return Route.TRANSIENT
    if isinstance(error, PermanentError):
        return Route.PERMANENT
    return Route.UNKNOWN


def is_database_away(error: BaseException) -> bool:
    """Whether the database can't be had now, for whatever reason that may pass."""
    said = error.orig if isinstance(error, DBAPIError) else error
    state = str(getattr(said, "pgcode", None) or "")
    if isinstance(error, _DATABASE_AWAY):
        return not state.startswith(_LIMIT_EXCEEDED)
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or state == _READ_ONLY


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
