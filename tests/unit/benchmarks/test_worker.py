"""Contenders as processes of their own."""

import pytest

from benchmarks.stopwatch import Stopwatch
from benchmarks.worker import Worker, WorkerFailed


def test_a_contender_that_dies_is_reported_with_the_end_of_its_log(tmp_path):
    with (
        pytest.raises(WorkerFailed, match="KeyError: 'no such role'"),
        Worker("no such role", {}, tmp_path / "log"),
    ):
        pass


def test_a_contenders_memory_is_its_own_whatever_its_parent_has(tmp_path):
    ballast = bytearray(b"x") * 400_000_000
    with Worker("copy", {}, tmp_path / "log") as worker:
        assert 20_000_000 < worker.import_bytes < 300_000_000
    assert len(ballast) == 400_000_000


class Work:
    def step(self, value):
        return value + 1

    def items(self, *values):
        yield from values


def test_a_watched_function_does_what_it_did_and_is_counted():
    watch = Stopwatch()
    watched = type("Watched", (Work,), {})
    watch.watch(watched, "step", "a step")
    watch.watch_iterator(watched, "items", "items")
    assert watched().step(1) == 2
    assert list(watched().items(1, 2)) == [1, 2]
    assert watch.take().keys() == {"a step", "items"}
    assert watch.take() == {}


def test_watching_what_is_not_there_any_more_fails():
    with pytest.raises(AttributeError):
        Stopwatch().watch(Work, "gone", "gone")
