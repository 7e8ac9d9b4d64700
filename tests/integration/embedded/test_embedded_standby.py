"""More replicas than partitions: who has none is in its group all the same, and steps in."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from shared.contracts.envelope import Record
from shared.contracts.topics import Topic
from shared.messaging.consumer import Consumer
from shared.messaging.kafka import Admin, Producer, RecordSource
from shared.settings import Settings
from tests.waiting import wait_until


@contextmanager
def consuming(settings: Settings, process: Callable[[Record], None]) -> Iterator[Consumer]:
    stop = threading.Event()
    consumer = Consumer(
        connect=lambda: RecordSource(settings, "subject", [Topic.VALIDATED]),
        process=lambda record, cancelled: process(record),
        threads=1,
        grace_seconds=5.0,
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


def test_a_replica_without_a_partition_is_ready_and_goes_on_where_the_other_stopped(
    settings: Settings,
) -> None:
    settings = settings.model_copy(update={"topic_partitions": 1})
    admin = Admin(settings)
    assert admin.partitions() == {}
    admin.create_topics()
    assert set(admin.partitions()) == set(Topic)
    assert admin.partitions()[Topic.VALIDATED] == 1
    admin.close()
    producer = Producer(settings)
    done: list[bytes | None] = []
    try:
        with consuming(settings, lambda record: done.append(record.value)) as standing_by:
            wait_until(lambda: standing_by.partitions == 1, seconds=90)
            with ExitStack() as stack:
                # Several: each rebalance may give the partition to another one.
                others = [
                    stack.enter_context(consuming(settings, lambda r: done.append(r.value)))
                    for _ in range(4)
                ]
                members = [standing_by, *others]
                wait_until(lambda: all(each.is_connected for each in members), seconds=90)
                wait_until(
                    lambda: sorted(each.partitions for each in members) == [0, 0, 0, 0, 1],
                    seconds=90,
                )
                producer.publish(Topic.VALIDATED, b"k", {}, b"first")
                wait_until(lambda: done, seconds=90)
            assert not any(each.is_connected for each in others)
            wait_until(lambda: standing_by.partitions == 1, seconds=90)
            producer.publish(Topic.VALIDATED, b"k", {}, b"second")
            # What is done while the group rebalances may come again: its commit is refused.
            wait_until(lambda: b"second" in done, seconds=90)
            assert list(dict.fromkeys(done)) == [b"first", b"second"]
    finally:
        producer.close()
