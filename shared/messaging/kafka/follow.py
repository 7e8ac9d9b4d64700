"""Reading along, outside any group."""

import threading
from collections.abc import Iterable, Iterator

from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from shared.contracts.envelope import Record
from shared.contracts.topics import Topic
from shared.messaging.kafka.connection import connecting
from shared.messaging.kafka.errors import kafka_errors
from shared.messaging.kafka.header_names import take_any_header_name
from shared.messaging.kafka.record import record_of
from shared.settings import Settings


def follow(
    settings: Settings,
    topics: Iterable[Topic],
    *,
    from_beginning: bool,
    stop: threading.Event,
    until_idle_seconds: float | None = None,
) -> Iterator[Record]:
    """The records of `topics` as they come, outside any group.

    Ends when `stop` is set, or when nothing has come for `until_idle_seconds`.
    """
    take_any_header_name()
    with connecting(settings) as options:
        consumer = KafkaConsumer(
            **options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest" if from_beginning else "latest",
            allow_auto_create_topics=False,
            bootstrap_timeout_ms=5_000,
            fetch_max_wait_ms=200,
            metrics_enabled=False,
        )
    try:
        with kafka_errors():
            names = [settings.topic(topic) for topic in topics]
            partitions = [
                TopicPartition(name, number)
                for name in names
                for number in consumer.partitions_for_topic(name) or ()
            ]
            consumer.assign(partitions)
        idle = 0.0
        while not stop.is_set() and (until_idle_seconds is None or idle < until_idle_seconds):
            with kafka_errors():
                found = consumer.poll(timeout_ms=250)
            idle = 0.0 if found else idle + 0.25
            messages = [message for batch in found.values() for message in batch]
            yield from map(record_of, sorted(messages, key=lambda message: message.timestamp))
    finally:
        consumer.close()
