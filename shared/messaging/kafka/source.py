"""A member of a consumer group."""

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from kafka import KafkaConsumer
from kafka.errors import (
    KafkaError,
    LogTruncationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from kafka.structs import MemberState, OffsetAndMetadata, TopicPartition

from shared.contracts.envelope import Record
from shared.contracts.topics import Topic
from shared.errors import ServerUnavailable
from shared.messaging.kafka.connection import connecting
from shared.messaging.kafka.errors import Moved, kafka_errors
from shared.messaging.kafka.header_names import take_any_header_name
from shared.messaging.kafka.record import record_of
from shared.settings import Settings

logger = logging.getLogger(__name__)

_REQUEST_TIMEOUT_MS = 10_000
_LOOK_TIMEOUT_MS = 1_000
_SHARE_LOOKING = 0.05
"""Of the time, what looking at the lag may take: nothing is consumed meanwhile."""
# All that a fetch has brought, which its own limits keep small. What kafka-python 3.0 holds back of
# a partition that is paused then, it forgets: it comes only when another fetch brings something.
_ALL_RECORDS = 1 << 31
_RECOVER = "`headrace recover` publishes again what was under way"


class Partition(NamedTuple):
    """A partition of a topic, by the broker's name of it."""

    topic: str
    number: int


class RecordSource:
    """A group's member: records to process, and where it stands. For one thread.

    With a `consumer_instance_id` it is a static member: closing it leaves its partitions to it
    for the session's timeout, and one that comes back within that has them without a rebalance.
    """

    def __init__(self, settings: Settings, group: str, topics: Iterable[Topic]) -> None:
        self._lag: dict[Partition, int] = {}
        self._rewound: set[Partition] = set()
        self._lag_interval_seconds = settings.lag_interval_seconds
        self._look_again_at = float("-inf")
        instance = settings.consumer_instance_id
        take_any_header_name()
        with connecting(settings) as options:
            self._consumer = KafkaConsumer(
                **options,
                client_id=f"headrace-{group}",
                group_id=settings.topic_prefix + group,
                group_instance_id=f"{settings.topic_prefix}{group}-{instance}"
                if instance
                else None,
                enable_auto_commit=False,
                # Not "earliest", which would pass over records that are gone without a word.
                auto_offset_reset="none",
                allow_auto_create_topics=False,
                session_timeout_ms=int(settings.session_timeout_seconds * 1000),
                heartbeat_interval_ms=int(settings.heartbeat_interval_seconds * 1000),
                request_timeout_ms=_REQUEST_TIMEOUT_MS,
                bootstrap_timeout_ms=5_000,
                reconnect_backoff_max_ms=2_000,
                fetch_max_wait_ms=200,
                metrics_enabled=False,
            )
            names = [settings.topic(topic) for topic in topics]
            # A member that joins before it knows of the partitions, and is made the group's
            # leader, gives nobody any, and kafka-python 3.0 doesn't notice when it learns of them.
            known = {name: self._consumer.partitions_for_topic(name) for name in names}
            if unknown := [name for name, numbers in known.items() if not numbers]:
                said = f"it has no topic {', '.join(unknown)} yet: run `headrace migrate`"
                raise ServerUnavailable("Kafka", said)
            self._topic_ids = {name: self._topic_id(name) for name in names}
            self._consumer.subscribe(names)
            # What the leader assigns by. kafka-python 3.0 fills it in when it next hears of the
            # topics, and takes that for news: it joins again, and where `poll` returns before that
            # is over, it leaves it at that, without heartbeats, until it is thrown out.
            self._consumer._coordinator._metadata_snapshot = known

    def poll(self, timeout_seconds: float) -> Mapping[Partition, list[Record]]:
        """What arrived, by partition in order of offset; empty after `timeout_seconds`.

        Of a partition whose next record is gone, it goes on with the oldest one that is there,
        and says so in the log. Of a topic that was made anew it begins with the oldest one.
        """
        with kafka_errors():
            if self._begin_anew():
                return {}
            try:
                found = self._consumer.poll(
                    timeout_ms=int(timeout_seconds * 1000), max_records=_ALL_RECORDS
                )
            except NoOffsetForPartitionError as error:
                self._begin(error.args[0])
                return {}
            except OffsetOutOfRangeError as error:
                self._pass_over(error.args[0])
                return {}
            except LogTruncationError as error:
                self._go_back(error.divergent_offsets)
                return {}
        return {
            Partition(where.topic, where.partition): [record_of(message) for message in messages]
            for where, messages in found.items()
        }

    def rewound(self) -> set[Partition]:
        """The partitions whose records come anew since the last call, under other offsets maybe."""
        rewound, self._rewound = self._rewound, set()
        return rewound

    def assigned(self) -> set[Partition]:
        """The partitions that are this member's now."""
        return {Partition(p.topic, p.partition) for p in self._consumer.assignment()}

    def is_member(self) -> bool:
        """Whether the group has settled with this member in it, with or without a partition."""
        return bool(self._consumer.group_metadata().state == MemberState.STABLE)

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

        False where the group has moved on and the partition may be another member's, or where a
        topic was made anew: then the records come again somewhere, if at all, and their inbox marks
        make them do nothing.
        """
        with kafka_errors():
            if self._begin_anew():
                return False
        committed = {
            TopicPartition(*partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in offsets.items()
        }
        try:
            with kafka_errors():
                self._consumer.commit(committed, timeout_ms=_REQUEST_TIMEOUT_MS)
        except Moved:
            return False
        return True

    def lag(self) -> dict[Partition, int]:
        """Records not yet committed, by assigned partition; as a rule `lag_interval_seconds` old at
        most, and older where the broker takes long to tell.

        From the end of the partition and the group's committed offset, as the broker has them.
        Where it doesn't answer at once, the last known.
        """
        begun = time.monotonic()
        if begun >= self._look_again_at:
            # kafka-python has a KeyError for a partition that the broker has lost.
            with suppress(KafkaError, KeyError):
                self._lag = self._look()
            took = time.monotonic() - begun
            self._look_again_at = begun + max(self._lag_interval_seconds, took / _SHARE_LOOKING)
        return self._lag

    def close(self) -> None:
        """Leave the group, committing nothing more. A static member is left in it."""
        self._consumer.close(autocommit=False, timeout_ms=2_000)

    def _begin_anew(self) -> bool:
        """Go back to the oldest records of topics that were deleted and made anew, if any was.

        So a broker does that lost its state. The new offsets have nothing to do with the old ones,
        and kafka-python 3.0 would go on at those: past records that it never read, or waiting for
        some that don't come.
        """
        found = {name: self._topic_id(name) for name in self._topic_ids}
        anew = {
            name
            for name, known in self._topic_ids.items()
            if known is not None and found[name] not in (None, known)
        }
        if anew:
            there = {
                TopicPartition(name, number)
                for name in anew
                for number in self._consumer.partitions_for_topic(name) or ()
            }
            mine = there & self._consumer.assignment()
            if not mine:  # in the middle of a rebalance, which may give them back as they were
                return False
            for partition, oldest in self._oldest(mine).items():
                self._seek_back(partition, oldest)
            logger.error("%s: made anew by the broker: %s", ", ".join(sorted(anew)), _RECOVER)
        self._topic_ids = {name: found[name] or known for name, known in self._topic_ids.items()}
        return bool(anew)

    def _topic_id(self, name: str) -> object:
        return self._consumer._cluster.topic_id(name)

    def _look(self) -> dict[Partition, int]:
        partitions = list(self._consumer.assignment())
        if not partitions:
            return {}
        ends = self._consumer.end_offsets(partitions, timeout_ms=_LOOK_TIMEOUT_MS)
        begins = self._consumer.beginning_offsets(partitions, timeout_ms=_LOOK_TIMEOUT_MS)
        lags = {}
        for partition in partitions:
            committed = self._consumer.committed(partition, timeout_ms=_LOOK_TIMEOUT_MS)
            # Tansu 0.6 gives an end that is too low where records came in batches.
            end = max(ends[partition], self._consumer.highwater(partition) or 0)
            behind = end - max(committed or 0, begins[partition])
            lags[Partition(partition.topic, partition.partition)] = max(0, behind)
        return lags

    def _begin(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin with the oldest record where the group has committed nothing."""
        for partition, oldest in self._oldest(partitions).items():
            self._seek_back(partition, oldest)
            if oldest > 0:
                logger.warning(
                    "%s/%d: the group has no offset there, and records before %d are gone; it "
                    "begins with that one. If this service has run before, %s",
                    *(*partition, oldest, _RECOVER),
                )

    def _pass_over(self, positions: Mapping[TopicPartition, int]) -> None:
        """Go on with the oldest record where the next one is not there."""
        for partition, oldest in self._oldest(positions).items():
            position = positions[partition]
            self._seek_back(partition, oldest)
            if position < oldest:
                logger.error(
                    "%s/%d: the records from %d to %d are gone, deleted before they were "
                    "processed; going on with %d: %s",
                    *(*partition, position, oldest - 1, oldest, _RECOVER),
                )
            else:
                logger.error(
                    "%s/%d ends before %d, up to which it was read: the broker has lost records; "
                    "going on with the oldest, %d: %s",
                    *(*partition, position, oldest, _RECOVER),
                )

    def _go_back(self, positions: Mapping[TopicPartition, OffsetAndMetadata | None]) -> None:
        """Read again from where another replica's log took the place of the one that was read."""
        oldest = self._oldest(positions)
        for partition, position in positions.items():
            offset = oldest[partition] if position is None else position.offset
            self._seek_back(partition, offset)
            logger.error(
                "%s/%d: the broker has lost records that were read, from %d at the latest; going "
                "on there: %s",
                *(*partition, offset, _RECOVER),
            )

    def _seek_back(self, partition: TopicPartition, offset: int) -> None:
        self._consumer.seek(partition, offset)
        self._rewound.add(Partition(partition.topic, partition.partition))

    def _oldest(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        try:
            found = self._consumer.beginning_offsets(
                list(partitions), timeout_ms=_REQUEST_TIMEOUT_MS
            )
        except KeyError as lost:  # so kafka-python tells it
            raise ServerUnavailable("Kafka", f"it has no {lost} any more") from lost
        mine = self._consumer.assignment()
        return {partition: offset for partition, offset in found.items() if partition in mine}
