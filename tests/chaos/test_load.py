"""Promise 2 under load: thousands of loads of many tiny datasets at once."""

import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil
import pytest
from kafka.partitioner.default import murmur2

from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.events import LoadRequested, Payload
from tests.chaos.asking import publish
from tests.chaos.auditing import assert_well
from tests.chaos.drops import write_drop, write_spec
from tests.chaos.size import size
from tests.chaos.wired import Wired
from tests.waiting import wait_until

GUESTS = 4
"""Rows of the larger table of a slice."""


@dataclass(frozen=True)
class Mix:
    """How many loads of each dataset, and of what kind."""

    datasets: int
    new: int
    revised: int
    unchanged: int
    backlog: int
    """Further slices of one dataset, all requested before anything else."""
    seconds: float
    """In which it has to end."""

    @property
    def events(self) -> int:
        return self.datasets * (self.new + self.revised + self.unchanged) + self.backlog


SELECTED = Mix(datasets=40, new=1, revised=1, unchanged=2, backlog=20, seconds=240)
FULL = Mix(datasets=200, new=8, revised=2, unchanged=39, backlog=200, seconds=3600)


def mix() -> Mix:
    return FULL if size().is_full else SELECTED


class Cpu:
    """CPU seconds of processes and those that they started, since it was made."""

    def __init__(self, processes: dict[str, psutil.Process]) -> None:
        self._processes = processes
        self._before = {name: _cpu_seconds(process) for name, process in processes.items()}

    def used(self) -> dict[str, float]:
        return {
            name: _cpu_seconds(process) - self._before[name]
            for name, process in self._processes.items()
        }


def _cpu_seconds(process: psutil.Process) -> float:
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


@dataclass
class Memory:
    """The resident memory of each service over time, in MB."""

    processes: dict[str, psutil.Process]
    samples: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def look(self) -> None:
        for name, process in self.processes.items():
            held = process.memory_info().rss / 1e6
            self.samples.setdefault(name, []).append((time.monotonic(), held))

    def settled(self, name: str) -> list[tuple[float, float]]:
        """Those of the later two thirds: in the first one, caches and pools fill."""
        of_service = self.samples[name]
        return of_service[len(of_service) // 3 :]

    def slope(self, name: str) -> float:
        """MB a minute, by least squares."""
        times, held = zip(*self.settled(name), strict=True)
        return statistics.linear_regression(times, held).slope * 60


def wanted(dataset: str, asked: Mix) -> Iterator[tuple[str, int]]:
    """The slices of a dataset with the seeds of their content, in the order of the requests."""
    seeds: dict[str, int] = {}
    for number in range(asked.new):
        slice_key = f"2024-01-{number + 1:02d}"
        seeds[slice_key] = 1
        yield slice_key, 1
    for number in range(asked.revised):
        slice_key = f"2024-01-{number % asked.new + 1:02d}"
        seeds[slice_key] += 1
        yield slice_key, seeds[slice_key]
    for number in range(asked.unchanged):
        slice_key = f"2024-01-{number % asked.new + 1:02d}"
        yield slice_key, seeds[slice_key]


def request_of(wired: Wired, dataset: str, slice_key: str, seed: int) -> Event[Payload]:
    folder = wired.root / "load" / dataset / f"{seed}"
    if not (folder / slice_key).is_dir():
        write_drop(folder, slice_key, seed=seed, guests=GUESTS)
    payload = LoadRequested(
        dataset=dataset, slice_key=slice_key, source_uri=str(folder / slice_key)
    )
    return Event(payload=payload, source="test", time=utc_now())


def partition_of(dataset: str, partitions: int) -> int:
    """Where Kafka's default partitioner puts the records of a dataset."""
    return int(murmur2(dataset.encode()) & 0x7FFFFFFF) % partitions


def done_before(wired: Wired, dataset: str, others: Sequence[str]) -> dict[str, int]:
    """How many slices of `dataset` were published before the first one of each of the others."""
    rows = wired.query(
        """
        SELECT o.dataset, (
            SELECT count(*) FROM headrace.snapshots AS b
            WHERE b.dataset = :big AND b.known_at < min(o.known_at)
        ) AS before
        FROM headrace.snapshots AS o
        WHERE o.dataset = ANY (:others) GROUP BY o.dataset
        """,
        big=dataset,
        others=list(others),
    )
    return {row.dataset: row.before for row in rows}


@pytest.mark.timeout(4500)
def test_many_loads_at_once_lose_none_starve_none_and_leak_no_memory(
    wired: Wired, figures: Callable[..., None]
) -> None:
    asked = mix()
    names = [f"many{number:03d}" for number in range(asked.datasets)]
    big = "many_big"
    for name in (*names, big):
        write_spec(wired.specs, name, with_training=False)
    backlog = [
        request_of(wired, big, f"2023-{n // 28 + 1:02d}-{n % 28 + 1:02d}", 1)
        for n in range(asked.backlog)
    ]
    by_dataset = [
        [request_of(wired, name, *each) for each in wanted(name, asked)] for name in names
    ]
    in_turn = [event for events in zip(*by_dataset, strict=True) for event in events]
    everything = [*backlog, *in_turn]
    assert len(everything) == asked.events
    memory = Memory(
        {
            each.name: psutil.Process(each.pid)
            for each in wired.services.status()
            if each.pid is not None
        }
    )

    servers = {name: wired.process(name) for name in ("postgres", "store", "broker")}
    cpu = Cpu({**memory.processes, **servers})
    begun = time.monotonic()
    publish(wired, everything)
    published_seconds = time.monotonic() - begun
    query = """
        SELECT count(*) FROM headrace.loads
        WHERE dataset LIKE 'many%' AND finished_at IS NOT NULL
    """
    looked = 0.0

    def all_done() -> bool:
        nonlocal looked
        if time.monotonic() - looked < 1.0:
            return False
        looked = time.monotonic()
        memory.look()
        return bool(wired.scalar(query) >= asked.events)

    try:
        wait_until(all_done, seconds=asked.seconds)
    except AssertionError as error:
        states = "SELECT status, count(*) FROM headrace.loads GROUP BY status"
        raise AssertionError(f"after {asked.seconds} s: {wired.query(states)}") from error
    seconds = time.monotonic() - begun
    used = cpu.used()

    rows = wired.query(
        "SELECT load_id, dataset, status FROM headrace.loads WHERE dataset LIKE 'many%'"
    )
    assert {row.load_id for row in rows} == {event.id for event in everything}, "none is lost"
    counted = Counter(row.status for row in rows)
    new = asked.datasets * asked.new + asked.backlog
    expected = {
        "published": new + asked.datasets * asked.revised,
        "unchanged": asked.datasets * asked.unchanged,
    }
    assert counted == {status: number for status, number in expected.items() if number}
    assert wired.query("SELECT reason FROM headrace.dead_letters WHERE dataset LIKE 'many%'") == []

    # The big one's backlog was there first. Without turns, those that share its partition would
    # come after all of it.
    partitions = wired.settings.topic_partitions
    beside = [n for n in names if partition_of(n, partitions) == partition_of(big, partitions)]
    assert beside, "some share the partition"
    before = done_before(wired, big, beside)
    assert len(before) == len(beside)
    assert max(before.values()) < asked.backlog / 2, f"starved by a backlog: {before}"

    for name in memory.processes:
        held = [value for _, value in memory.settled(name)]
        third = len(held) // 3
        grown = statistics.median(held[-third:]) - statistics.median(held[:third])
        assert grown < 25, f"{name} grew by {grown:.0f} MB: {memory.slope(name):.2f} MB a minute"
    figures(
        "load",
        events=asked.events,
        datasets=asked.datasets + 1,
        new_slices=new,
        revisions=asked.datasets * asked.revised,
        unchanged=asked.datasets * asked.unchanged,
        publishing_seconds=round(published_seconds, 1),
        seconds=round(seconds, 1),
        events_a_second=round(asked.events / seconds, 2),
    )
    figures(
        "CPU milliseconds an event",
        **{name: round(each * 1000 / asked.events) for name, each in used.items()},
    )
    figures(
        "fair: slices of the backlog published before another's first one in its partition",
        most=max(before.values()),
        of=asked.backlog,
        datasets_beside=len(beside),
    )
    figures(
        "memory, MB a minute over the later two thirds (MB at the end)",
        **{
            re.sub(
                r"\W", "_", name
            ): f"{memory.slope(name):+.2f} ({memory.samples[name][-1][1]:.0f})"
            for name in memory.processes
        },
    )
    for name in (big, *(names if size().is_full else names[::8])):
        assert_well(wired.settings, name)
