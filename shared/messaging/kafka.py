"""Kafka, and the only importer of kafka-python: records in and out, topics, offsets.

Errors that may pass are raised as `ServerUnavailable`.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.errors import (
    CommitFailedError,
    IllegalArgumentError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaConfigurationError,
    KafkaError,
    MessageSizeTooLargeError,
    RebalanceInProgressError,
    TopicAlreadyExistsError,
    UnknownMemberIdError,
)
from kafka.structs import OffsetAndMetadata, TopicPartition

from shared.contracts.envelope import Headers, Record
from shared.contracts.topics import Topic
from shared.errors import PermanentError, ServerUnavailable
from shared.settings import Settings

SEND_TIMEOUT_SECONDS = 15.0
_REQUEST_TIMEOUT_MS = 10_000


class Partition(NamedTuple):
    """A partition of a topic, by the broker's name of it."""

    topic: str
    number: int


class RecordSource:
    """A group's member: records to process, and where it stands. For one thread."""

    def __init__(self, settings: Settings, group: str, topics: Iterable[Topic]) -> None:
        with _errors():
            self._consumer = KafkaConsumer(
                bootstrap_servers=settings.kafka_bootstrap_servers,
                client_id=f"headrace-{group}",
                group_id=settings.topic_prefix + group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
                session_timeout_ms=int(settings.session_timeout_seconds * 1000),
                heartbeat_interval_ms=int(settings.heartbeat_interval_seconds * 1000),
                request_timeout_ms=_REQUEST_TIMEOUT_MS,
                bootstrap_timeout_ms=5_000,
                reconnect_backoff_max_ms=2_000,
                fetch_max_wait_ms=200,
                metrics_enabled=False,
            )
            self._consumer.subscribe([settings.topic(topic) for topic in topics])

    def poll(self, timeout_seconds: float) -> Mapping[Partition, list[Record]]:
        """What arrived, by partition in order of offset; empty after `timeout_seconds`."""
        with _errors():
            found = self._consumer.poll(timeout_ms=int(timeout_seconds * 1000), max_records=100)
        return {
            Partition(where.topic, where.partition): [_record(message) for message in messages]
            for where, messages in found.items()
        }

    def assigned(self) -> set[Partition]:
        """The partitions that are this member's now."""
        return {Partition(p.topic, p.partition) for p in self._consumer.assignment()}

    def pause(self, partition: Partition) -> None:
        """Have `poll` bring nothing of the partition, if it is still assigned."""
        with suppress(KeyError):  # a rebalance runs in kafka-python's own thread
            self._consumer.pause(TopicPartition(*partition))

    def resume(self, partition: Partition) -> None:
        """Have `poll` bring records of the partition again, if it is still assigned."""
        with suppress(KeyError):
            self._consumer.resume(TopicPartition(*partition))

    def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """Commit the next offset to read of each partition.

        False where the group has moved on and the partition may be another member's: then the
        records come again somewhere, and their inbox marks make them do nothing.
        """
        committed = {
            TopicPartition(*partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in offsets.items()
        }
        try:
            with _errors():
                self._consumer.commit(committed, timeout_ms=_REQUEST_TIMEOUT_MS)
        except _Moved:
            return False
        return True

    def lag(self) -> dict[Partition, int]:
        """Records not yet committed, by assigned partition, as far as the last fetches tell.

        Exact on Apache Kafka. Tansu 0.6 counts batches instead of records.
        """
        lags = {}
        for partition in self._consumer.assignment():
            end = self._consumer.highwater(partition)
            position = self._consumer.position(partition, timeout_ms=1000)
            if end is not None and position is not None:
                lags[Partition(partition.topic, partition.partition)] = max(0, end - position)
        return lags

    def close(self) -> None:
        """Leave the group, committing nothing more."""
        self._consumer.close(autocommit=False, timeout_ms=2_000)


class Producer:
    """Publishes records, each acknowledged by all in-sync replicas. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        with _errors():
            self._producer = KafkaProducer(
                bootstrap_servers=settings.kafka_bootstrap_servers,
                client_id="headrace-relay",
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                request_timeout_ms=_REQUEST_TIMEOUT_MS,
                delivery_timeout_ms=int(SEND_TIMEOUT_SECONDS * 1000),
                max_block_ms=5_000,
                bootstrap_timeout_ms=5_000,
                reconnect_backoff_max_ms=2_000,
                metrics_enabled=False,
            )

    def send(self, topic: str, key: bytes | None, headers: Headers, value: bytes | None) -> Any:
        """Begin to publish to our topic `topic`; the future's `get` waits and raises."""
        with _errors():
            return self._producer.send(
                self._settings.topic(topic) if topic in set(Topic) else topic,
                key=key,
                headers=[(name, text.encode()) for name, text in headers.items()],
                value=value,
            )

    def publish(self, topic: str, key: bytes | None, headers: Headers, value: bytes | None) -> None:
        """Publish one record and wait for the broker's word."""
        self.wait(self.send(topic, key, headers, value))

    def wait(self, sent: Any) -> None:
        """Wait for what `send` returned."""
        with _errors():
            sent.get(timeout=SEND_TIMEOUT_SECONDS)

    def close(self) -> None:
        """Give up the connection; what is not acknowledged is not published."""
        self._producer.close(timeout=2)


class Admin:
    """Topics, and whether the broker answers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        with _errors():
            self._client = KafkaAdminClient(
                bootstrap_servers=settings.kafka_bootstrap_servers,
                request_timeout_ms=5_000,
                bootstrap_timeout_ms=3_000,
            )

    def create_topics(self) -> list[str]:
        """Create those of our topics that aren't there; their names."""
        created = []
        with _errors():
            there = set(self._client.list_topics())
            for topic in Topic:
                name = self._settings.topic(topic)
                if name in there:
                    continue
                partitions = 1 if topic is Topic.DEAD_LETTERS else self._settings.topic_partitions
                wanted = NewTopic(name, partitions, self._settings.topic_replication)
                try:
                    self._client.create_topics([wanted])
                except TopicAlreadyExistsError:
                    continue
                created.append(name)
        return created

    def check(self) -> None:
        """Return if the broker answers."""
        with _errors():
            self._client.list_topics()

    def close(self) -> None:
        """Give up the connection."""
        self._client.close()


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
    with _errors():
        consumer = KafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest" if from_beginning else "latest",
            allow_auto_create_topics=False,
            bootstrap_timeout_ms=5_000,
            fetch_max_wait_ms=200,
            metrics_enabled=False,
        )
    try:
        with _errors():
            names = [settings.topic(topic) for topic in topics]
            partitions = [
                TopicPartition(name, number)
                for name in names
                for number in consumer.partitions_for_topic(name) or ()
            ]
            consumer.assign(partitions)
        idle = 0.0
        while not stop.is_set() and (until_idle_seconds is None or idle < until_idle_seconds):
            with _errors():
                found = consumer.poll(timeout_ms=250)
            idle = 0.0 if found else idle + 0.25
            messages = [message for batch in found.values() for message in batch]
            yield from map(_record, sorted(messages, key=lambda message: message.timestamp))
    finally:
        consumer.close()


class _Moved(Exception):
    """The group's generation is not ours any more."""


def _record(message: Any) -> Record:
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        headers={
            _text(name.encode(errors="surrogateescape")): _text(text or b"")
            for name, text in message.headers
        },
        value=message.value,
    )


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace").replace("\x00", "\\x00")


@contextmanager
def _errors() -> Iterator[None]:
    """Give kafka-python's errors our classes."""
    try:
        yield
    except (
        CommitFailedError,
        RebalanceInProgressError,
        IllegalGenerationError,
        UnknownMemberIdError,
    ) as error:
        raise _Moved(str(error)) from error
    except MessageSizeTooLargeError as error:
        raise PermanentError(f"Kafka refuses a record as too large: {error}") from error
    except (KafkaConfigurationError, IllegalArgumentError, IllegalStateError):
        raise  # a mistake of ours, not of the broker
    except (KafkaError, OSError) as error:
        raise ServerUnavailable("Kafka", f"{type(error).__name__}: {error}") from error
