"""The consumer loop against a real broker."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from shared.contracts.envelope import Record
from shared.contracts.topics import Topic
from shared.messaging.consumer import Consumer
from shared.messaging.kafka import Producer, RecordSource
from shared.messaging.processor import Abandoned
from shared.settings import Settings
from tests.waiting import wait_until

Process = Callable[[Record, threading.Event], None]
SESSION_SECONDS = 6.0


@pytest.fixture
def publish(topics: Settings) -> Iterator[Callable[[str, str], None]]:
    producer = Producer(topics)
    yield lambda key, value: producer.publish(
        Topic.VALIDATED, key.encode(), {"n": value}, value.encode()
    )
    producer.close()


@contextmanager
def consuming(settings: Settings, process: Process, grace: float = 5.0) -> Iterator[Consumer]:
    stop = threading.Event()
    consumer = Consumer(
        connect=lambda: RecordSource(settings, "subject", [Topic.VALIDATED]),
        process=process,
        threads=2,
        grace_seconds=grace,
        stop=stop,
    )
    thread = threading.Thread(target=consumer.run)
    thread.start()
    try:
        yield consumer
    finally:
        stop.set()
        thread.join(timeout=30)
        assert not thread.is_alive()


class Seen:
    """Notes what was processed; a value in `held` waits for `release`."""

    def __init__(self, held: set[str] | None = None) -> None:
        self.begun: list[str] = []
        self.values: list[str] = []
        self.release = threading.Event()
        self._held = held or set()
        self._lock = threading.Lock()

    def __call__(self, record: Record, cancelled: threading.Event) -> None:
        value = (record.value or b"").decode()
        with self._lock:
            self.begun.append(value)
        if value in self._held:
            while not self.release.wait(0.02):
                if cancelled.is_set():
                    raise Abandoned(value)
        with self._lock:
            self.values.append(value)


def test_records_of_a_key_are_done_in_order_and_each_once(
    topics: Settings, publish: Callable[[str, str], None]
) -> None:
    for number in range(30):
        publish(f"k{number % 3}", str(number))
    seen = Seen()
    with consuming(topics, seen):
        wait_until(lambda: len(seen.values) >= 30)
    assert sorted(map(int, seen.values)) == list(range(30))
    for key in range(3):
        own = [int(v) for v in seen.values if int(v) % 3 == key]
        assert own == sorted(own)

    again = Seen()
    publish("k0", "last")
    with consuming(topics, again):
        wait_until(lambda: again.values)
    assert again.values == ["last"], "offsets of what was done are committed"


def test_work_in_hand_at_a_stop_is_not_committed_and_comes_again(
    topics: Settings, publish: Callable[[str, str], None]
) -> None:
    publish("k", "done")
    publish("k", "in hand")
    seen = Seen(held={"in hand"})
    with consuming(topics, seen):
        wait_until(lambda: "in hand" in seen.begun)
    assert seen.values == ["done"]

    again = Seen()
    with consuming(topics, again):
        wait_until(lambda: again.values)
    assert again.values == ["in hand"]


def test_work_that_ignores_the_stop_is_abandoned_after_the_grace(
    topics: Settings, publish: Callable[[str, str], None]
) -> None:
    publish("k", "stubborn")
    begun, release = threading.Event(), threading.Event()

    def stubborn(record: Record, cancelled: threading.Event) -> None:
        begun.set()
        release.wait(60)

    with consuming(topics, stubborn, grace=0.5):
        assert begun.wait(20)
        stopped_at = time.monotonic()
    assert time.monotonic() - stopped_at < 5
    release.set()

    again = Seen()
    with consuming(topics, again):
        wait_until(lambda: again.values)
    assert again.values == ["stubborn"]


def test_work_longer_than_the_session_keeps_the_member_and_holds_up_no_other_dataset(
    topics: Settings, publish: Callable[[str, str], None]
) -> None:
    seen = Seen(held={"slow"})
    with consuming(topics, seen) as consumer:
        publish("a", "slow")
        wait_until(lambda: "slow" in seen.begun)
        others = [f"other {n}" for n in range(6)]
        for number, value in enumerate(others):
            publish(f"key {number}", value)
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() - begun > SESSION_SECONDS * 1.5)
        assert time.monotonic() - consumer.turned_at < 2, "polling goes on"
        elsewhere = set(seen.values)
        seen.release.set()
        wait_until(lambda: len(seen.values) == 7)
    assert elsewhere, "records in other partitions are done meanwhile"
    assert seen.begun.count("slow") == 1, "the member was not thrown out of the group"


def test_a_member_that_joins_in_mid_work_repeats_nothing_that_was_committed(
    topics: Settings, publish: Callable[[str, str], None]
) -> None:
    first, second = Seen(held={"0"}), Seen()
    with consuming(topics, first):
        publish("k0", "0")
        wait_until(lambda: "0" in first.begun)
        with consuming(topics, second) as joined:
            wait_until(lambda: joined.is_connected, seconds=60)
            first.release.set()
            for number in range(1, 13):
                publish(f"k{number}", str(number))
            wanted = {str(n) for n in range(1, 13)}
            wait_until(lambda: wanted <= {*first.values, *second.values}, seconds=60)
            wait_until(lambda: "0" in [*first.values, *second.values], seconds=60)
        both = [*first.values, *second.values]
    assert second.values, "the new member has its share"
    assert sorted(v for v in both if v != "0") == sorted(wanted)
