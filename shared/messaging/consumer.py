"""The consumer loop: polls, hands records to threads, commits what is done. Knows no domain.

Of a key, and so of a dataset, at most one record is in work, in order. The key that was served
longest ago comes first, and one that has to wait is passed, so neither a long backlog nor a wait of
one dataset holds up another. Polling goes on meanwhile, so work of an hour never costs the group
its member; a partition of which enough is in hand is paused. An offset is committed only after its
record and all before it were done for good. What was in hand at a stop or a rebalance, or past it,
comes again somewhere, and its inbox mark decides whether there is anything left to do.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Protocol

from shared.contracts.envelope import Record
from shared.errors import TransientError
from shared.fail_points import FailPoint, reached
from shared.messaging.kafka import Partition
from shared.messaging.lanes import Entry, Key, Lane
from shared.messaging.processor import Abandoned, Later
from shared.observability.logs import REPEATS

logger = logging.getLogger(__name__)

IDLE_POLL_SECONDS = 0.25
BUSY_POLL_SECONDS = 0.02
RECONNECT_SECONDS = 1.0
LOOK_AHEAD = 2_000


class Source(Protocol):
    """What the loop needs of `shared.messaging.kafka.RecordSource`; its guarantees stand there."""

    def poll(self, timeout_seconds: float) -> Mapping[Partition, list[Record]]: ...  # noqa: D102
    def rewound(self) -> set[Partition]: ...  # noqa: D102
    def assigned(self) -> set[Partition]: ...  # noqa: D102
    def is_member(self) -> bool: ...  # noqa: D102
    def pause(self, partition: Partition) -> None: ...  # noqa: D102
    def resume(self, partition: Partition) -> None: ...  # noqa: D102
    def commit(self, offsets: Mapping[Partition, int]) -> bool: ...  # noqa: D102
    def lag(self) -> dict[Partition, int]: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


@dataclass
class _Work:
    """A record in a thread. `lane` is None when its partition is no more ours."""

    partition: Partition
    entry: Entry
    future: Future[None]
    cancelled: threading.Event
    lane: Lane | None


@dataclass
class Consumer:
    """Runs until `stop` is set. `process` must return only when a record is done for good."""

    connect: Callable[[], Source]
    process: Callable[[Record, threading.Event], None]
    threads: int
    grace_seconds: float
    stop: threading.Event
    topics: Collection[str] = ()
    look_ahead: int = LOOK_AHEAD
    """Of a partition, how far past the first record that isn't done others may be taken."""
    turned_at: float = field(default_factory=time.monotonic)
    """When the loop last came round, on the monotonic clock."""
    lag: Mapping[Partition, int] = field(default_factory=dict)
    """Records waiting, by partition, as of the last look."""
    partitions: int = 0
    """How many are this member's, as of the last look."""
    is_connected: bool = False
    """Whether it is in its group, also as one for whom no partition is left."""
    _work: list[_Work] = field(default_factory=list)
    _lanes: dict[Partition, Lane] = field(default_factory=dict)
    _paused: set[Partition] = field(default_factory=set)
    _served: dict[Key, float] = field(default_factory=dict)
    """When each key that is in hand began its last record."""
    _done: set[str] = field(default_factory=set)
    """The datasets of which a record was done since the last commit."""
    _refused: dict[Partition, int] = field(default_factory=dict)
    """Offsets to commit that the group didn't take, as it was moving on: they are tried again."""
    _grace_ends_at: float | None = None
    """When work in hand at a stop is given up, on the monotonic clock."""

    def run(self) -> None:
        """Consume until stopped, connecting again whenever the broker was away.

        At a stop, what is in work has `grace_seconds` to finish, also while the broker is away, and
        is committed if it does and the broker is there.
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
            self._await_work()
            if self._work:
                logger.warning(
                    "abandoned %d records in work; they will come again", len(self._work)
                )
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def _run_connected(self, executor: ThreadPoolExecutor) -> None:
        source = self.connect()
        try:
            while not self.stop.is_set():
                self._turn(source, executor)
            self._finish(source)
        finally:
            self._disown(self._lanes.keys() | self._refused.keys())
            self._paused.clear()
            self.is_connected = False
            self.partitions = 0
            source.close()

    def _turn(self, source: Source, executor: ThreadPoolExecutor) -> None:
        """One round: what was done is committed, what arrived is handed out."""
        arrived = source.poll(BUSY_POLL_SECONDS if self._work else IDLE_POLL_SECONDS)
        assigned = source.assigned()
        self._disown(((self._lanes.keys() | self._refused.keys()) - assigned) | source.rewound())
        self._paused &= assigned
        for partition, records in arrived.items():
            if partition in assigned:
                self._lanes.setdefault(partition, Lane()).add(records)
        self._collect()
        self._commit(source)
        self._hand_out(executor)
        self._hold(source)
        self.partitions = len(assigned)
        self.is_connected = self.is_connected or bool(assigned) or source.is_member()
        self.turned_at = time.monotonic()
        self.lag = source.lag()

    def _hand_out(self, executor: ThreadPoolExecutor) -> None:
        """Give records to the threads that are free, those of the keys served longest ago first."""
        now = time.monotonic()
        while len(self._work) < self.threads:
            # What another member may have by now isn't begun a second time beside itself.
            held = {work.partition for work in self._work if work.lane is None}
            ready = [
                (self._served.get(entry.record.key, 0.0), entry.record.offset, partition, entry)
                for partition, lane in self._lanes.items()
                if partition not in held
                for entry in lane.ready(now)
            ]
            if not ready:
                return
            _, _, partition, entry = min(ready, key=lambda each: each[:3])
            lane, cancelled = self._lanes[partition], threading.Event()
            lane.begin(entry)
            self._served[entry.record.key] = time.monotonic()
            if entry.again is None:
                future = executor.submit(self.process, entry.record, cancelled)
            else:
                future = executor.submit(entry.again)
            self._work.append(_Work(partition, entry, future, cancelled, lane))

    def _collect(self) -> None:
        """Take note of what the threads have finished."""
        ended = [work for work in self._work if work.future.done()]
        self._work = [work for work in self._work if work not in ended]
        for work in ended:
            error = work.future.exception()
            if error is not None and not isinstance(error, Abandoned | Later):
                raise error
            if work.lane is None:
                continue
            if error is None:
                reached(FailPoint.OFFSET_COMMITTING, work.entry.record.dataset)
                self._done.add(work.entry.record.dataset)
                work.lane.done(work.entry)
                continue
            work.lane.put_back(work.entry)
            if isinstance(error, Later):
                work.entry.again, work.entry.after = error.again, error.after
                work.entry.not_before = time.monotonic() + error.seconds

    def _commit(self, source: Source) -> None:
        """Commit how far each partition is done, and forget those of which nothing is in hand."""
        done_to = {partition: lane.reached() for partition, lane in self._lanes.items()}
        new = {partition: offset for partition, offset in done_to.items() if offset is not None}
        offsets = {**self._refused, **new}
        if offsets:
            is_taken = source.commit(offsets)
            if not is_taken and new:
                logger.info("the group is moving on; what it doesn't give back will be passed over")
            self._refused = {} if is_taken else offsets
            reached(FailPoint.OFFSET_COMMITTED, *self._done)
            self._done.clear()
        if emptied := [partition for partition, lane in self._lanes.items() if not lane]:
            for partition in emptied:
                del self._lanes[partition]
            in_hand = set().union(*(lane.keys() for lane in self._lanes.values()))
            self._served = {key: at for key, at in self._served.items() if key in in_hand}

    def _hold(self, source: Source) -> None:
        """Pause partitions of which enough is in hand, and resume them when that is half done."""
        for partition, lane in self._lanes.items():
            if lane.span >= self.look_ahead and partition not in self._paused:
                source.pause(partition)
                self._paused.add(partition)
        for partition in list(self._paused):
            if partition not in self._lanes or self._lanes[partition].span <= self.look_ahead // 2:
                source.resume(partition)
                self._paused.discard(partition)

    def _disown(self, partitions: set[Partition]) -> None:
        """Have what is in work of `partitions` given up, and forget what waits."""
        for partition in partitions:
            self._lanes.pop(partition, None)
            self._refused.pop(partition, None)
        for work in self._work:
            if work.partition in partitions:
                work.lane = None
                work.cancelled.set()

    def _finish(self, source: Source) -> None:
        """Let what is in work finish, within the grace, and commit it."""
        self._await_work()
        self._commit(source)

    def _await_work(self) -> None:
        """Let what is in work finish, within what is left of the grace."""
        now = time.monotonic()
        if self._grace_ends_at is None:
            self._grace_ends_at = now + self.grace_seconds
        for work in self._work:
            work.cancelled.set()
        left = max(0.0, self._grace_ends_at - now)
        wait([work.future for work in self._work], timeout=left)
        self._collect()
