"""The consumer loop against a real broker."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from shared.contracts.envelope import Record
from shared.contracts.topics import Topic
from shared.errors import ServerUnavailable
from shared.messaging.consumer import Consumer
from shared.messaging.kafka import Admin, Partition, Producer, RecordSource
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
    with consuming(topics, seen) as consumer:
        wait_until(lambda: len(seen.values) >= 30)
        wait_until(lambda: consumer.lag and not any(consumer.lag.values()))
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
    with consuming(topics, first) as there:
        publish("k0", "0")
        wait_until(lambda: "0" in first.begun)
        with consuming(topics, second) as joined:
            # Both know their share: what is done while the group rebalances may come again.
            wait_until(
                lambda: (
                    0 < joined.partitions < topics.topic_partitions
                    and joined.partitions + there.partitions == topics.topic_partitions
                ),
                seconds=60,
            )
            first.release.set()
            for number in range(1, 13):
                publish(f"k{number}", str(number))
            wanted = {str(n) for n in range(1, 13)}
            wait_until(lambda: wanted <= {*first.values, *second.values}, seconds=60)
            wait_until(lambda: "0" in [*first.values, *second.values], seconds=60)
        both = [*first.values, *second.values]
    assert second.values, "the new member has its share"
    assert sorted(v for v in both if v != "0") == sorted(wanted)


def test_work_in_hand_at_a_stop_has_its_grace_also_while_the_broker_is_away(
    topics: Settings, publish: Callable[[str, str], None]
) -> None:
    publish("k", "long")
    begun, is_away = threading.Event(), threading.Event()
    finished: list[float] = []

    class Leaving(RecordSource):
        def poll(self, timeout_seconds: float) -> Mapping[Partition, list[Record]]:
            if begun.is_set():
                is_away.set()
                raise ServerUnavailable("Kafka", "gone")
            return super().poll(timeout_seconds)

    def connect() -> RecordSource:
        if is_away.is_set():
            raise ServerUnavailable("Kafka", "gone")
        return Leaving(topics, "subject", [Topic.VALIDATED])

    def work(record: Record, cancelled: threading.Event) -> None:
        begun.set()
        stop.wait(30)
        cancelled.wait(30)
        time.sleep(0.5)
        finished.append(time.monotonic())

    stop = threading.Event()
    consumer = Consumer(connect, work, threads=1, grace_seconds=20, stop=stop)
    thread = threading.Thread(target=consumer.run)
    thread.start()
    assert is_away.wait(30)
    stop.set()
    thread.join(timeout=15)
    assert not thread.is_alive(), "the grace ends with the work"
    assert finished


def test_a_backlog_of_many_polls_is_done_though_nothing_new_comes(
    topics: Settings, publish: Callable[[str, str], None]
) -> None:
    values = [str(number) for number in range(200)]
    for value in values:
        publish(f"k{int(value) % 12}", value)
    seen = Seen()

    def work(record: Record, cancelled: threading.Event) -> None:
        cancelled.wait(0.02)  # a partition that is at work is paused
        seen(record, cancelled)

    with consuming(topics, work):
        wait_until(lambda: len(seen.values) >= len(values), seconds=60)
    assert sorted(seen.values) == sorted(values)


def test_topics_that_are_not_there_yet_are_named_and_waited_for(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Seen()
    with consuming(settings, seen) as consumer:
        told = f"no topic {settings.topic(Topic.VALIDATED)} yet: run `headrace migrate`"
        wait_until(lambda: told in caplog.text)
        assert not consumer.is_connected
        admin = Admin(settings)
        admin.create_topics()
        admin.close()
        wait_until(lambda: consumer.is_connected)
        producer = Producer(settings)
        producer.publish(Topic.VALIDATED, b"k", {}, b"said")
        producer.close()
        wait_until(lambda: seen.values == ["said"])
