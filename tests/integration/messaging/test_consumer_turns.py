"""Of a partition, a dataset that waits or has a long backlog holds up no other."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from shared.contracts.envelope import Record
from shared.contracts.topics import Topic
from shared.messaging.consumer import Consumer
from shared.messaging.kafka import Partition, Producer, RecordSource
from shared.messaging.processor import Later
from shared.settings import Settings
from tests.waiting import wait_until

Publish = Callable[[str, str], None]


@pytest.fixture
def one_partition(topics: Settings) -> Settings:
    """The topic of dead letters: it has one."""
    return topics


@pytest.fixture
def publish(one_partition: Settings) -> Iterator[Publish]:
    producer = Producer(one_partition)

    def send(key: str, value: str) -> None:
        headers = {"ce_correlationid": value}
        producer.publish(Topic.DEAD_LETTERS, key.encode(), headers, value.encode())

    yield send
    producer.close()


class Handler:
    """Notes what it has done; what `waits_for` names waits until that is done."""

    def __init__(self, waits_for: dict[str, str | None] | None = None) -> None:
        self.done: list[str] = []
        self.waits_for = waits_for or {}
        self.tries: dict[str, int] = {}
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()

    def __call__(self, record: Record, cancelled: threading.Event) -> None:
        value = (record.value or b"").decode()
        self.gate.wait(30)
        with self._lock:
            self.tries[value] = self.tries.get(value, 0) + 1
            if value in self.waits_for and self.waits_for[value] not in self.done:
                again = lambda: self(record, cancelled)  # noqa: E731
                raise Later(0.1, again, self.waits_for[value])
            self.done.append(value)


class MovingGroup(RecordSource):
    """Refuses a commit, as a group does that is in the middle of a rebalance."""

    refused = 0

    def commit(self, offsets: Mapping[Partition, int]) -> bool:
        if self.refused < 1:
            self.refused += 1
            return False
        return super().commit(offsets)


@contextmanager
def consuming(
    settings: Settings,
    handler: Handler,
    source: type[RecordSource] = RecordSource,
    **options: int,
) -> Iterator[Consumer]:
    stop = threading.Event()
    consumer = Consumer(
        connect=lambda: source(settings, "turns", [Topic.DEAD_LETTERS]),
        process=handler,
        threads=1,
        grace_seconds=5,
        stop=stop,
        **options,
    )
    thread = threading.Thread(target=consumer.run)
    thread.start()
    try:
        yield consumer
    finally:
        stop.set()
        handler.gate.set()
        thread.join(timeout=30)
        assert not thread.is_alive()


def test_a_dataset_whose_server_is_away_holds_up_no_other(
    one_partition: Settings, publish: Publish
) -> None:
    publish("stuck", "s0")
    publish("stuck", "s1")
    for number in range(5):
        publish(f"free{number}", f"f{number}")
    handler = Handler({"s0": None})
    with consuming(one_partition, handler):
        wait_until(lambda: len(handler.done) >= 5)
        assert "s1" not in handler.tries, "within a dataset the order stays"
        tries = handler.tries["s0"]
        wait_until(lambda: handler.tries["s0"] > tries)
        handler.waits_for.clear()
        wait_until(lambda: len(handler.done) == 7)
    assert handler.done[-2:] == ["s0", "s1"]


def test_what_was_done_past_one_that_waits_is_not_lost_at_a_restart(
    one_partition: Settings, publish: Publish
) -> None:
    publish("stuck", "s0")
    publish("free", "f0")
    first = Handler({"s0": None})
    with consuming(one_partition, first):
        wait_until(lambda: first.done == ["f0"])
    again = Handler()
    with consuming(one_partition, again):
        wait_until(lambda: len(again.done) == 2)
    assert sorted(again.done) == ["f0", "s0"], "the offset stays before what isn't done"
    publish("free", "f1")
    last = Handler()
    with consuming(one_partition, last):
        wait_until(lambda: last.done)
    assert last.done == ["f1"]


def test_an_offset_that_a_moving_group_refused_is_committed_though_nothing_new_comes(
    one_partition: Settings, publish: Publish
) -> None:
    settings = one_partition.model_copy(update={"lag_interval_seconds": 0.1})
    publish("a", "a0")
    handler = Handler()
    with consuming(settings, handler, MovingGroup) as consumer:
        wait_until(lambda: handler.done == ["a0"])
        wait_until(lambda: list(consumer.lag.values()) == [0], what="nothing waits any more")


class SlowToTell(RecordSource):
    """A busy broker's, which takes long to say how many records there are."""

    looked_for = 0.0

    def _look(self) -> dict[Partition, int]:
        time.sleep(0.1)
        SlowToTell.looked_for += 0.1
        return super()._look()


def test_looking_at_the_lag_takes_little_of_the_time_where_the_broker_is_slow(
    one_partition: Settings, publish: Publish
) -> None:
    settings = one_partition.model_copy(update={"lag_interval_seconds": 0.1})
    for number in range(100):
        publish(f"k{number}", f"v{number}")
    handler = Handler()
    with consuming(settings, handler, SlowToTell):
        wait_until(lambda: len(handler.done) == 100)
        begun, before = time.monotonic(), SlowToTell.looked_for
        wait_until(lambda: time.monotonic() - begun > 5)
        assert 0 < SlowToTell.looked_for - before < 0.15 * 5


def test_a_long_backlog_of_one_dataset_does_not_keep_a_newcomer_waiting(
    one_partition: Settings, publish: Publish
) -> None:
    for number in range(40):
        publish("big", f"b{number}")
    handler = Handler()
    handler.gate.clear()
    with consuming(one_partition, handler) as consumer:
        publish("new", "n0")
        publish("newer", "m0")
        wait_until(lambda: sum(map(len, consumer._lanes.values())) == 42)  # the first one at work
        handler.gate.set()
        wait_until(lambda: len(handler.done) == 42)
    assert max(handler.done.index("n0"), handler.done.index("m0")) <= 3
    own = [value for value in handler.done if value.startswith("b")]
    assert own == [f"b{number}" for number in range(40)]


def test_the_one_that_must_come_first_is_let_past_though_it_is_behind(
    one_partition: Settings, publish: Publish
) -> None:
    for value in ("second", "third", "first"):
        publish("d", value)
    handler = Handler({"second": "first", "third": "second"})
    with consuming(one_partition, handler):
        wait_until(lambda: len(handler.done) == 3)
    assert handler.done == ["first", "second", "third"]


def test_no_more_is_taken_than_may_be_done_a_second_time(
    one_partition: Settings, publish: Publish
) -> None:
    publish("stuck", "s0")
    for number in range(60):
        publish(f"k{number}", f"f{number}")
    first = Handler({"s0": None})
    with consuming(one_partition, first, look_ahead=10) as consumer:
        wait_until(lambda: len(first.done) >= 10)
        in_hand = len(first.done)
        wait_until(lambda: first.tries["s0"] > 5)
        first.waits_for.clear()
        wait_until(lambda: len(first.done) == 61, what="it goes on when the first one is done")
        assert consumer.is_connected
    assert in_hand >= 10
