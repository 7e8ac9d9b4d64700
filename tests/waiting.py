"""Waiting for a condition with a deadline; a test never sleeps for luck."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], *, seconds: float = 30.0, what: str = "", every: float = 0.02
) -> T:
    """The first true value of `condition`; fails the test at the deadline.

    Many that wait at once ask less often, by `every` so many seconds.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(every)
    raise AssertionError(f"not within {seconds:g} s: {what or condition}")
