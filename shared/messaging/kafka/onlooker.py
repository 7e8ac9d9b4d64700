"""Reading along as long as a process runs: every record of some topics from now on, in no group."""

from collections.abc import Iterable, Mapping

from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from shared.contracts.envelope import Record
from shared.contracts.topics import Topic
from shared.errors import ServerUnavailable
from shared.messaging.kafka.connection import connecting
from shared.messaging.kafka.errors import kafka_errors
from shared.messaging.kafka.header_names import take_any_header_name
from shared.messaging.kafka.record import record_of
from shared.messaging.kafka.source import Partition
from shared.settings import Settings


class Onlooker:
    """A `Source` of the consumer loop for one who only wants to know that something happened.

    It begins at the end of each partition, commits nothing and takes nothing from anybody: each
    process of a service sees every record, and none that came while it was away. A group of its own
    for each process would do the same, and leave the offsets of every process that ever ran at the
    broker. For one thread.
    """

    def __init__(self, settings: Settings, client: str, topics: Iterable[Topic]) -> None:
        self._names = [settings.topic(topic) for topic in topics]
        take_any_header_name()
        with connecting(settings) as options:
            self._consumer = KafkaConsumer(
                **options,
                client_id=f"headrace-{client}",
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="latest",
                allow_auto_create_topics=False,
                request_timeout_ms=10_000,
                bootstrap_timeout_ms=5_000,
                reconnect_backoff_max_ms=2_000,
                fetch_max_wait_ms=200,
                metrics_enabled=False,
            )
        self._ids = {name: self._topic_id(name) for name in self._names}
        self._assign()

    def poll(self, timeout_seconds: float) -> Mapping[Partition, list[Record]]:
        """What arrived, by partition; empty after `timeout_seconds`.

        Raises `ServerUnavailable` where a topic was deleted and made anew, whose offsets have
        nothing to do with the old ones: whoever reads connects again.
        """
        for name, known in self._ids.items():
            found = self._topic_id(name)
            if known is not None and found not in (None, known):
                raise ServerUnavailable("Kafka", f"{name} was made anew")
        self._assign()
        with kafka_errors():
            found = self._consumer.poll(timeout_ms=int(timeout_seconds * 1000))
        return {
            Partition(where.topic, where.partition): [record_of(message) for message in messages]
            for where, messages in found.items()
        }

    def rewound(self) -> set[Partition]:
        """None: it never goes back."""
        return set()

    def assigned(self) -> set[Partition]:
        """Every partition that there is."""
        return {Partition(p.topic, p.partition) for p in self._consumer.assignment()}

    def is_member(self) -> bool:
        """Whether it reads; there is no group to be in."""
        return bool(self._consumer.assignment())

    def pause(self, partition: Partition) -> None:
        """Have `poll` bring nothing of the partition."""
        self._consumer.pause(TopicPartition(*partition))

    def resume(self, partition: Partition) -> None:
        """Have `poll` bring records of the partition again."""
        self._consumer.resume(TopicPartition(*partition))

    def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """Commit nothing, with success."""
        return True

    def lag(self) -> dict[Partition, int]:
        """None: nothing waits for it."""
        return {}

    def close(self) -> None:
        """Hang up."""
        self._consumer.close(autocommit=False, timeout_ms=2_000)

    def _assign(self) -> None:
        """Take in partitions that are new; what is assigned already goes on where it is."""
        with kafka_errors():
            there = {name: self._consumer.partitions_for_topic(name) for name in self._names}
        if missing := [name for name, numbers in there.items() if not numbers]:
            said = f"it has no topic {', '.join(missing)} yet: run `headrace migrate`"
            raise ServerUnavailable("Kafka", said)
        wanted = {TopicPartition(name, n) for name, numbers in there.items() for n in numbers or ()}
        if wanted - self._consumer.assignment():
            self._consumer.assign(sorted(wanted | self._consumer.assignment()))

    def _topic_id(self, name: str) -> object:
        return self._consumer._cluster.topic_id(name)
