"""The consumer loop: polls, hands records to threads, commits what is done. Knows no domain.

A partition has at most one record in work. While it has, the partition is paused and polling goes
on, so work of an hour never costs the group its member. An offset is committed only after its
record was done for good; what was in hand at a stop or a rebalance comes again somewhere, and its
inbox mark decides whether there is anything left to do.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Protocol

from shared.contracts.envelope import Record
from shared.errors import TransientError
from shared.messaging.kafka import Partition
from shared.messaging.processor import Abandoned
from shared.observability.logs import REPEATS

logger = logging.getLogger(__name__)

IDLE_POLL_SECONDS = 0.25
BUSY_POLL_SECONDS = 0.02
RECONNECT_SECONDS = 1.0


class Source(Protocol):
    """What the loop needs of `shared.messaging.kafka.RecordSource`; its guarantees stand there."""

    def poll(self, timeout_seconds: float) -> Mapping[Partition, list[Record]]: ...  # noqa: D102
    def assigned(self) -> set[Partition]: ...  # noqa: D102
    def pause(self, partition: Partition) -> None: ...  # noqa: D102
    def resume(self, partition: Partition) -> None: ...  # noqa: D102
    def commit(self, offsets: Mapping[Partition, int]) -> bool: ...  # noqa: D102
    def lag(self) -> dict[Partition, int]: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


@dataclass
class _Work:
    """A record in a thread. `is_ours` is False while its partition is not."""

    record: Record
    future: Future[None]
    cancelled: threading.Event
    is_ours: bool = True


@dataclass
class Consumer:
    """Runs until `stop` is set. `process` must return only when a record is done for good."""

    connect: Callable[[], Source]
    process: Callable[[Record, threading.Event], None]
    threads: int
    grace_seconds: float
    stop: threading.Event
    topics: Collection[str] = ()
    turned_at: float = field(default_factory=time.monotonic)
    """When the loop last came round, on the monotonic clock."""
    lag: Mapping[Partition, int] = field(default_factory=dict)
    """Records waiting, by partition, as of the last look."""
    is_connected: bool = False
    _work: dict[Partition, _Work] = field(default_factory=dict)
    _waiting: dict[Partition, deque[Record]] = field(default_factory=dict)
    _to_commit: dict[Partition, int] = field(default_factory=dict)

    def run(self) -> None:
        """Consume until stopped, connecting again whenever the broker was away.

        At a stop, what is in work has `grace_seconds` to finish and is committed if it does.
        """
        executor = ThreadPoolExecutor(self.threads, thread_name_prefix="handler")
        try:
            while not self.stop.is_set():
                try:
                    self._run_connected(executor)
                except TransientError as error:
                    logger.warning("waiting for the broker: %s", error, extra=REPEATS)
                    self.is_connected = False
                    self.turned_at = time.monotonic()
                    self.stop.wait(RECONNECT_SECONDS)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def _run_connected(self, executor: ThreadPoolExecutor) -> None:
        source = self.connect()
        try:
            while not self.stop.is_set():
                self._turn(source, executor)
            self._finish(source)
        finally:
            self._disown(set(self._work) | set(self._waiting))
            self.is_connected = False
            source.close()

    def _turn(self, source: Source, executor: ThreadPoolExecutor) -> None:
        """One round: what was done is committed, what arrived is handed out."""
        busy = bool(self._work)
        arrived = source.poll(BUSY_POLL_SECONDS if busy else IDLE_POLL_SECONDS)
        assigned = source.assigned()
        self._disown((set(self._work) | set(self._waiting)) - assigned)
        for partition, records in arrived.items():
            if partition in assigned:
                source.pause(partition)
                self._keep(partition, records)
        self._collect()
        self._commit(source)
        for partition in list(self._waiting):
            self._hand_out(partition, executor, source)
        self.is_connected = self.is_connected or bool(assigned)
        self.turned_at = time.monotonic()
        if not busy:
            self.lag = source.lag()

    def _keep(self, partition: Partition, records: list[Record]) -> None:
        """Put records in line, less those that are in hand or in line already.

        A partition that a rebalance took and gave back may be read again from its last commit.
        """
        waiting = self._waiting.setdefault(partition, deque())
        work = self._work.get(partition)
        known = work.record.offset if work and work.is_ours else -1
        known = waiting[-1].offset if waiting else known
        waiting.extend(record for record in records if record.offset > known)

    def _hand_out(self, partition: Partition, executor: ThreadPoolExecutor, source: Source) -> None:
        """Give the partition's next record to a thread, or resume it where none waits."""
        if partition in self._work:
            return
        waiting = self._waiting[partition]
        if not waiting:
            del self._waiting[partition]
            source.resume(partition)
            return
        record, cancelled = waiting.popleft(), threading.Event()
        future = executor.submit(self.process, record, cancelled)
        self._work[partition] = _Work(record, future, cancelled)

    def _collect(self) -> None:
        """Take note of what the threads have finished."""
        for partition, work in list(self._work.items()):
            if not work.future.done():
                continue
            del self._work[partition]
            self._waiting.setdefault(partition, deque())  # so that it is resumed if ours
            error = work.future.exception()
            if isinstance(error, Abandoned):
                continue
            if error is not None:
                raise error
            if work.is_ours:
                self._to_commit[partition] = work.record.offset + 1

    def _commit(self, source: Source) -> None:
        if self._to_commit and not source.commit(self._to_commit):
            logger.info("the group has moved on; what is done will be passed over")
        self._to_commit.clear()

    def _disown(self, partitions: set[Partition]) -> None:
        """Have what is in work of `partitions` given up, and forget what waits."""
        for partition in partitions:
            self._waiting.pop(partition, None)
            self._to_commit.pop(partition, None)
            if work := self._work.get(partition):
                work.is_ours = False
                work.cancelled.set()

    def _finish(self, source: Source) -> None:
        """Let what is in work finish, within the grace."""
        for work in self._work.values():
            work.cancelled.set()
        wait([work.future for work in self._work.values()], timeout=self.grace_seconds)
        self._collect()
        self._commit(source)
        if self._work:
            logger.warning("abandoned %d records in work; they will come again", len(self._work))
