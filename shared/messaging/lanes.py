"""What is in hand of one partition, and whose turn it is. Pure: knows no Kafka and no clock.

Of each key (so of each dataset) one record is at work, and they begin in their order. A record that
has to wait holds up its own key only: the others go past it. What may be committed is the offset of
the first record that isn't done; those past it that are come again after a crash, and their inbox
marks make them do nothing.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from shared.contracts.envelope import Record

Key: TypeAlias = bytes | None


@dataclass(eq=False)
class Entry:
    """A record in hand that isn't done."""

    record: Record
    again: Callable[[], None] | None = None
    """How to go on with it, where it was begun and has to wait."""
    not_before: float = 0.0
    after: str | None = None
    """What it waits for, by correlation id: that record of its key may pass it."""


class Lane:
    """The records in hand of a partition."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}  # in the order of their offsets
        self._by_key: dict[Key, deque[Entry]] = {}
        self._at_work: set[Key] = set()
        self._end = -1
        """One more than the greatest offset seen."""
        self._reached = -1
        """The offset up to which all was done at the last look."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def span(self) -> int:
        """How many offsets there are from the first record that isn't done to the last seen."""
        return self._end - self._first_open()

    def reached(self) -> int | None:
        """The offset up to which all is done, to be committed; None where it is as it was."""
        first = self._first_open()
        if first <= self._reached:
            return None
        self._reached = first
        return first

    def _first_open(self) -> int:
        return next(iter(self._entries), self._end)

    def add(self, records: Iterable[Record]) -> None:
        """Put records in line, in the order of their offsets, less those that were seen before.

        A partition that a rebalance took and gave back may be read again from its last commit.
        """
        for record in records:
            if record.offset < self._end:
                continue
            if self._reached < 0:
                self._reached = record.offset
            entry = Entry(record)
            self._entries[record.offset] = entry
            self._by_key.setdefault(record.key, deque()).append(entry)
            self._end = record.offset + 1

    def ready(self, now: float) -> Iterator[Entry]:
        """Of each key that has none at work, the record that may begin now, if there is one."""
        for key, entries in self._by_key.items():
            if key in self._at_work:
                continue
            entry: Entry | None = entries[0]
            passed: set[str] = set()
            while entry is not None and entry.not_before > now:
                if entry.after is None or entry.after in passed:
                    entry = None
                else:
                    passed.add(entry.after)
                    entry = _of_load(entries, entry.after)
            if entry is not None:
                yield entry

    def keys(self) -> set[Key]:
        """The keys of what is in hand."""
        return set(self._by_key)

    def begin(self, entry: Entry) -> None:
        """Note that the record is at work."""
        self._at_work.add(entry.record.key)

    def put_back(self, entry: Entry) -> None:
        """Note that the record is at work no more, and not done."""
        self._at_work.discard(entry.record.key)

    def done(self, entry: Entry) -> None:
        """Forget a record that is done for good."""
        key = entry.record.key
        self._at_work.discard(key)
        del self._entries[entry.record.offset]
        entries = self._by_key[key]
        entries.remove(entry)  # the first of its key, unless it passed another
        if not entries:
            del self._by_key[key]


def _of_load(entries: Iterable[Entry], load_id: str) -> Entry | None:
    return next((e for e in entries if e.record.headers.get("ce_correlationid") == load_id), None)
