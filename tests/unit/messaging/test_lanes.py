"""Whose turn it is within a partition, and how far it is done."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.contracts.envelope import Record
from shared.messaging.lanes import Entry, Lane


def record(offset: int, key: str, load: str = "") -> Record:
    return Record("t", 0, offset, key.encode(), {"ce_correlationid": load}, b"")


def offsets(entries: object) -> list[int]:
    return sorted(entry.record.offset for entry in entries)  # type: ignore[attr-defined]


class AnyOrder(RuleBasedStateMachine):
    """Records arrive, begin, wait and end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.lane = Lane()
        self.now = 0.0
        self.next_offset = 7
        self.all: dict[int, str] = {}
        self.at_work: dict[int, Entry] = {}
        self.done: set[int] = set()
        self.begun_by_key: dict[str, list[int]] = {}
        self.reached = 7

    @rule(key=st.sampled_from("abc"), gap=st.integers(1, 3), repeat=st.integers(0, 4))
    def arrive(self, key: str, gap: int, repeat: int) -> None:
        self.next_offset += gap
        again = [record(offset, self.all[offset]) for offset in sorted(self.all)[-repeat:]]
        if not self.lane:
            again = []  # the consumer forgets a lane with nothing in hand
        self.lane.add([*again, record(self.next_offset, key)])
        self.all[self.next_offset] = key

    @precondition(lambda self: list(self.lane.ready(self.now)))
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(list(self.lane.ready(self.now))))
        self.lane.begin(entry)
        self.at_work[entry.record.offset] = entry

    @precondition(lambda self: self.at_work)
    @rule(data=st.data(), seconds=st.sampled_from([0.0, 1.0, 5.0]))
    def put_back(self, data: st.DataObject, seconds: float) -> None:
        entry = self.at_work.pop(data.draw(st.sampled_from(sorted(self.at_work))))
        self.lane.put_back(entry)
        entry.not_before = self.now + seconds

    @precondition(lambda self: self.at_work)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.at_work)))
        self.lane.done(self.at_work.pop(offset))
        key = self.all[offset]
        earlier = {o for o, k in self.all.items() if k == key and o < offset}
        assert earlier <= self.done, "records of a key are done in their order"
        self.done.add(offset)

    @rule()
    def pass_time(self) -> None:
        self.now += 1.0

    @invariant()
    def nothing_is_committed_that_is_not_done(self) -> None:
        if (reached := self.lane.reached()) is not None:
            assert reached > self.reached
            self.reached = reached
        left = set(self.all) - self.done
        assert all(offset >= self.reached for offset in left)
        assert len(self.lane) == len(left)

    @invariant()
    def one_of_a_key_is_at_work(self) -> None:
        keys = [self.all[offset] for offset in self.at_work]
        assert len(keys) == len(set(keys))
        ready = [self.all[entry.record.offset] for entry in self.lane.ready(self.now)]
        assert not set(ready) & set(keys)
        assert len(ready) == len(set(ready))


TestAnyOrder = AnyOrder.TestCase


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=8))
def test_all_that_is_done_is_committed(keys: list[str]) -> None:
    lane = Lane()
    lane.add(record(offset, key) for offset, key in enumerate(keys))
    while ready := list(lane.ready(0.0)):
        lane.begin(ready[-1])
        lane.done(ready[-1])
    assert (lane.reached(), len(lane), lane.reached()) == (len(keys), 0, None)


def test_one_that_waits_holds_up_its_own_key_only() -> None:
    lane = Lane()
    lane.add([record(0, "a"), record(1, "b"), record(2, "a")])
    (first, _) = lane.ready(0.0)
    first.not_before = 10.0
    assert offsets(lane.ready(0.0)) == [1]
    assert offsets(lane.ready(10.0)) == [0, 1]
    assert lane.span == 3


def test_one_that_waits_for_another_of_its_key_lets_that_one_past_and_no_other() -> None:
    lane = Lane()
    lane.add([record(0, "a", "late"), record(1, "a", "other"), record(2, "a", "early")])
    (late,) = lane.ready(0.0)
    late.not_before, late.after = 10.0, "early"

    (early,) = lane.ready(0.0)
    assert early.record.offset == 2
    lane.begin(early)
    assert offsets(lane.ready(20.0)) == [], "not beside one another"
    lane.done(early)
    assert offsets(lane.ready(0.0)) == []
    assert offsets(lane.ready(10.0)) == [0]
    assert lane.reached() is None


def test_two_that_wait_for_one_another_are_no_endless_loop() -> None:
    lane = Lane()
    lane.add([record(0, "a", "x"), record(1, "a", "y")])
    first, *_ = lane.ready(0.0)
    first.not_before, first.after = 10.0, "y"
    (second,) = lane.ready(0.0)
    second.not_before, second.after = 10.0, "x"
    assert offsets(lane.ready(0.0)) == []
    assert offsets(lane.ready(10.0)) == [0]
