"""Whether the servers that a service needs answer, asked in bounded time while they hang."""

import threading
import time
from collections.abc import Callable, Mapping

CHECK_TIMEOUT_SECONDS = 6.0
CHECK_KEPT_SECONDS = 2.0


class NoAnswer(Exception):
    """A server takes the connection, or doesn't refuse it, and says nothing."""


class Readiness:
    """Asks each server that a service needs; an answer is kept for `CHECK_KEPT_SECONDS`.

    A check that hangs is left to hang in its thread, and not asked again before it has ended: the
    number of threads doesn't grow, however long a server is away. Thread-safe.
    """

    def __init__(self, checks: Mapping[str, Callable[[], None]]) -> None:
        self._checks = {name: _Check(name, check) for name, check in checks.items()}
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._faults: dict[str, str] = {}

    def faults(self) -> dict[str, str]:
        """What doesn't answer and why, by name; empty when all is well.

        Returns within `CHECK_TIMEOUT_SECONDS`, and sooner while a check is known to hang.
        """
        with self._lock:
            if time.monotonic() - self._asked_at >= CHECK_KEPT_SECONDS:
                self._faults = self._ask()
                self._asked_at = time.monotonic()
            return self._faults

    def silent_seconds(self, name: str) -> float:
        """For how long the server `name` has said nothing at all: no answer and no refusal."""
        check = self._checks[name]
        return 0.0 if check.silent_since is None else time.monotonic() - check.silent_since

    def _ask(self) -> dict[str, str]:
        for check in self._checks.values():
            check.begin()
        deadline = time.monotonic() + CHECK_TIMEOUT_SECONDS
        faults = {}
        for name, check in self._checks.items():
            # A question that hung at the last look is not waited for a second time.
            seconds = 0.0 if check.is_overdue else max(0.0, deadline - time.monotonic())
            if fault := check.fault(seconds):
                faults[name] = fault
        return faults


class _Check:
    """One server, asked in a thread of its own."""

    def __init__(self, name: str, ask: Callable[[], None]) -> None:
        self.silent_since: float | None = None
        self.is_overdue = False
        self._name = name
        self._ask = ask
        self._begun_at = 0.0
        self._ended = threading.Event()
        self._ended.set()
        self._error: Exception | None = None

    def begin(self) -> None:
        """Ask, unless the last question has no answer yet.

        A new question gets a patience of its own: were it as little waited for as the one that
        hung, no answer would ever be in time, and a database that is back be hung up on for ever.
        """
        if not self._ended.is_set():
            return
        if not isinstance(self._error, NoAnswer):
            self.silent_since = None  # an answer that came after its look is one, too
        self.is_overdue = False
        self._begun_at = time.monotonic()
        # A daemon: one that hangs must not keep the process.
        thread = threading.Thread(target=self._run, name=f"check-{self._name}", daemon=True)
        self._ended.clear()
        try:
            thread.start()
        except RuntimeError as error:  # no more threads are to be had
            self._error = error
            self._ended.set()

    def fault(self, seconds: float) -> str | None:
        """What is wrong, waiting for so long; None where all is well."""
        if not self._ended.wait(seconds):
            self.is_overdue = True
            return self._silent(f"no answer for {time.monotonic() - self._begun_at:.0f} s")
        self.is_overdue = False
        if isinstance(self._error, NoAnswer):
            return self._silent(str(self._error))
        self.silent_since = None
        if self._error is None:
            return None
        text = str(self._error).strip()
        return text.splitlines()[0] if text else repr(self._error)

    def _silent(self, fault: str) -> str:
        if self.silent_since is None:
            self.silent_since = self._begun_at
        return fault

    def _run(self) -> None:
        try:
            self._ask()
        except Exception as error:
            self._error = error
        else:
            self._error = None
        finally:
            self._ended.set()
