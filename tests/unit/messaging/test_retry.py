"""An error's class decides its route."""

import errno
import itertools

import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.errors import (
    InvalidSpec,
    OutOfTurn,
    PermanentError,
    ServerUnavailable,
    SourceNotFound,
    UndecodableEvent,
    UnknownDataset,
)
from shared.messaging.retry import Route, backoff, route_of


class ReadOnly(Exception):
    """What psycopg2 raises at a standby."""

    pgcode = "25006"


@pytest.mark.parametrize(
    ("error", "route"),
    [
        (PoolTimeout("every connection waits for a server that hangs"), Route.TRANSIENT),
        (psycopg2.OperationalError("COPY was cut"), Route.TRANSIENT),
        (InternalError("INSERT", {}, ReadOnly()), Route.TRANSIENT),
        (InternalError("INSERT", {}, Exception("x")), Route.UNKNOWN),
        (OSError(errno.ENOSPC, "no space left"), Route.TRANSIENT),
        (FileNotFoundError("x"), Route.UNKNOWN),
        (OutOfTurn("x", after="another"), Route.TRANSIENT),
        (ServerUnavailable("Kafka", "refused"), Route.TRANSIENT),
        (OperationalError("SELECT 1", {}, Exception("gone")), Route.TRANSIENT),
        (InterfaceError("SELECT 1", {}, Exception("closed")), Route.TRANSIENT),
        (
            IntegrityError("INSERT", {}, Exception("x"), connection_invalidated=True),
            Route.TRANSIENT,
        ),
        (IntegrityError("INSERT", {}, Exception("dup")), Route.UNKNOWN),
        (UndecodableEvent("x"), Route.PERMANENT),
        (UnknownDataset("x", "datasets"), Route.PERMANENT),
        (InvalidSpec("x"), Route.PERMANENT),
        (SourceNotFound("x"), Route.PERMANENT),
        (PermanentError("x"), Route.PERMANENT),
        (KeyError("x"), Route.UNKNOWN),
    ],
)
def test_the_class_decides(error: Exception, route: Route) -> None:
    assert route_of(error) is route


@given(st.floats(0, 1, exclude_max=True), st.floats(0.001, 1), st.floats(1, 60))
def test_waits_double_to_the_ceiling_and_never_fall_below_half_of_their_step(
    chance: float, floor: float, ceiling: float
) -> None:
    waits = list(itertools.islice(backoff(floor, ceiling, lambda: chance), 40))
    step = floor
    for wait in waits:
        assert step / 2 <= wait <= step
        step = min(step * 2, ceiling)
