"""What a service says of its servers while one hangs, and when it speaks again."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from shared import readiness
from shared.readiness import NoAnswer, Readiness
from shared.watch import Watch
from tests.waiting import wait_until


class Server:
    """Takes a moment for an answer, hangs until it is let go, or answers with an error."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self._goes_on = threading.Event()
        self._goes_on.set()

    def hang(self) -> None:
        self._goes_on.clear()

    def go_on(self) -> None:
        self._goes_on.set()

    def check(self) -> None:
        self.asked += 1
        self._goes_on.wait()
        time.sleep(0.03)  # as long as a new connection takes
        if self.error is not None:
            raise self.error


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(readiness, "CHECK_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(readiness, "CHECK_KEPT_SECONDS", 0.0)
    server = Server()
    yield server
    server.go_on()


@pytest.fixture
def asked(server: Server) -> Readiness:
    return Readiness({"postgres": server.check})


def has_ended(server: Server) -> Callable[[], bool]:
    name = "check-postgres"
    return lambda: all(thread.name != name for thread in threading.enumerate())


def test_a_server_that_hung_and_answers_again_is_well_at_the_next_look(
    server: Server, asked: Readiness
) -> None:
    server.hang()
    assert "no answer" in asked.faults()["postgres"]
    server.go_on()
    wait_until(has_ended(server), seconds=5)

    assert asked.faults() == {}
    assert asked.silent_seconds("postgres") == 0.0


def test_a_server_that_hangs_is_not_asked_again_nor_waited_for_a_second_time(
    server: Server, asked: Readiness
) -> None:
    server.hang()
    asked.faults()
    begun = time.monotonic()
    assert "no answer" in asked.faults()["postgres"]
    assert time.monotonic() - begun < 0.2
    assert server.asked == 1
    assert asked.silent_seconds("postgres") > 0.3


def test_a_server_that_refuses_is_not_silent(server: Server, asked: Readiness) -> None:
    server.error = OSError("refused\nand more")
    assert asked.faults() == {"postgres": "refused"}
    assert asked.silent_seconds("postgres") == 0.0


def test_a_server_that_takes_connections_and_says_nothing_is_silent_from_the_first_question(
    server: Server, asked: Readiness
) -> None:
    server.error = NoAnswer("timeout expired")
    asked.faults()
    first = asked.silent_seconds("postgres")
    asked.faults()
    assert asked.silent_seconds("postgres") > first > 0.0


def test_a_server_that_answers_each_question_too_late_is_slow_and_not_silent(
    server: Server, asked: Readiness
) -> None:
    longest = 0.0
    for _ in range(3):
        server.hang()
        assert "no answer" in asked.faults()["postgres"]
        longest = max(longest, asked.silent_seconds("postgres"))
        server.go_on()
        wait_until(has_ended(server), seconds=5)
    assert longest < 2 * readiness.CHECK_TIMEOUT_SECONDS


def test_a_question_for_which_there_was_no_thread_is_asked_at_the_next_look(
    server: Server, asked: Readiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as none_left:
        none_left.setattr(threading.Thread, "start", start)
        assert asked.faults() == {"postgres": "can't start new thread"}
    assert asked.faults() == {}
    assert asked.silent_seconds("postgres") == 0.0


def test_connections_are_hung_up_while_a_database_is_silent_and_never_after(
    server: Server, asked: Readiness
) -> None:
    hung_up: list[float] = []
    watch = Watch(
        asked,
        database="postgres",
        hang_up=lambda: hung_up.append(time.monotonic()) or 1,
        interval_seconds=60.0,
        silence_seconds=0.01,  # less than a look takes
    )
    server.hang()
    watch.look()
    assert len(hung_up) == 1
    server.go_on()
    wait_until(has_ended(server), seconds=5)
    for _ in range(3):
        watch.look()
    assert len(hung_up) == 1
