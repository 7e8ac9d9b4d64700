"""Several processes of a service: each is one of the stack, as the first is."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from process_table import not_stopped

from infra.embedded.services import ServiceSpec
from infra.embedded.stack import Stack

WaitUntil = Callable[[Callable[[], bool]], None]
SMALL, OTHER = ServiceSpec("small", "small_service"), ServiceSpec("other", "small_service")
GIVEN = {
    "DATABASE_URL": "postgresql://me@127.0.0.1:9/headrace",
    "S3_ENDPOINT_URL": "http://127.0.0.1:9",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
}
"""Servers that nothing here asks for anything, so that none is started."""


@pytest.fixture
def stack(root: Path) -> Stack:
    inherited = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return Stack(root, given=GIVEN, inherited=inherited, mlflow=False)


def pids(stack: Stack) -> dict[str, int | None]:
    return {status.name: status.pid for status in stack.status()}


def test_replicas_have_names_addresses_logs_and_scratch_folders_of_their_own(stack: Stack) -> None:
    said: list[str] = []
    stack.start([SMALL, OTHER], scale={"small": 3}, report=lambda name, seconds: said.append(name))

    statuses = {status.name: status for status in stack.status()}
    assert list(statuses) == ["small", "small-2", "small-3", "other"]
    assert sorted(said) == ["other", "small", "small-2", "small-3"]
    assert {status.condition for status in statuses.values()} == {"ready"}
    assert len({status.address for status in statuses.values()}) == 4
    assert set(stack.logs()) == set(statuses)
    for name, status in statuses.items():
        environment = psutil.Process(status.pid).environ()
        assert environment["REPLICA_NAME"] == name
        assert environment["TMPDIR"] == str(stack.root / "scratch" / name)
        assert status.address.endswith(f":{environment['HTTP_PORT']}")


def test_more_and_fewer_start_and_stop_the_difference_and_leave_the_rest_alone(
    stack: Stack,
) -> None:
    stack.start([SMALL, OTHER], scale={"small": 2})
    two = pids(stack)
    stack.start([SMALL, OTHER], scale={"small": 4})
    four = pids(stack)
    assert set(four) - set(two) == {"small-3", "small-4"}
    assert {name: four[name] for name in two} == two

    stopped: list[str] = []
    stack.start([SMALL, OTHER], scale={"small": 1}, report_surplus=lambda n, s: stopped.append(n))

    assert pids(stack) == {"small": two["small"], "other": two["other"]}
    assert sorted(stopped) == ["small-2", "small-3", "small-4"]
    assert sorted(not_stopped(stack.root)) == sorted([two["small"], two["other"]])
    assert stack.dead() == []


def test_the_numbers_hold_until_others_are_asked_for_also_after_a_stop(stack: Stack) -> None:
    stack.start([SMALL, OTHER], scale={"small": 2})
    before = pids(stack)
    stack.start([SMALL, OTHER])
    assert pids(stack) == before
    stack.stop()
    assert not_stopped(stack.root) == []
    stack.start([SMALL, OTHER], scale={"other": 2})
    assert set(pids(stack)) == {"small", "small-2", "other", "other-2"}
    assert stack.scale() == {"small": 2, "other": 2}


def test_none_of_a_service_leaves_it_out_until_it_is_asked_for_again(stack: Stack) -> None:
    stack.start([SMALL, OTHER])
    stack.start([SMALL, OTHER], scale={"small": 0})
    assert set(pids(stack)) == {"other"}
    stack.start([SMALL, OTHER])
    assert set(pids(stack)) == {"other"}
    stack.start([SMALL, OTHER], scale={"small": 1})
    assert set(pids(stack)) == {"small", "other"}


def test_a_start_without_services_leaves_replicas_as_they_are(stack: Stack) -> None:
    stack.start([SMALL], scale={"small": 2})
    before = pids(stack)
    stack.start([])
    assert pids(stack) == before


def test_a_surplus_is_never_taken_for_a_death(stack: Stack) -> None:
    stack.start([SMALL], scale={"small": 3})
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:  # as `headrace up --foreground` does in another terminal
        while not over.is_set():
            seen.update(death.name for death in stack.dead())

    watcher = threading.Thread(target=watch)
    watcher.start()
    stack.start([SMALL], scale={"small": 1})
    over.set()
    watcher.join()
    assert seen == set()


def test_a_killed_replica_comes_again_or_goes_as_asked(stack: Stack, wait_until: WaitUntil) -> None:
    stack.start([SMALL], scale={"small": 3})
    before = pids(stack)
    for name in ("small-2", "small-3"):
        os.kill(before[name] or 0, signal.SIGKILL)
    wait_until(lambda: len(stack.dead()) == 2)
    assert {status.name for status in stack.status() if status.condition == "dead"} == {
        "small-2",
        "small-3",
    }

    stack.start([SMALL], scale={"small": 2})

    after = pids(stack)
    assert set(after) == {"small", "small-2"}
    assert after["small"] == before["small"]
    assert after["small-2"] != before["small-2"]
    assert stack.dead() == []
