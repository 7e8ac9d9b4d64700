"""Merging slices in any order and withdrawing them, against a model that replays what there is.

The model knows nothing of differences, coverage or restatements: it puts the rows of all loads that
count, in the order of their dates, one over the other.
"""

import itertools
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from hypothesis import example, given, settings, target
from hypothesis import strategies as st
from published_dataset import Dataset, MakeDataset, Published

COLUMNS = {"id": "string", "n": "integer", "text": "string"}
TABLES = {
    "kept": {"key": ["id"], "columns": COLUMNS},
    "whole": {"key": ["id"], "absence": "delete", "columns": COLUMNS, "required": False},
    "pairs": {
        "key": ["left", "right"],
        "required": False,
        "columns": {"left": "string", "n": "integer", "right": "integer"},
    },
}
DATES = [date(2024, month, 28) for month in range(1, 6)]

State = dict[Any, tuple[Any, ...]]
"""Rows by key."""


def key_of(table: str, row: tuple[Any, ...]) -> Any:
    return (row[0], row[2]) if table == "pairs" else row[0]


@dataclass(frozen=True)
class Load:
    """A load of the slice `key`, which may have another date than the slice's load before it."""

    key: str
    as_of: date
    tables: dict[str, State | None]


@dataclass(frozen=True)
class Withdraw:
    """The withdrawal of the slice `key`."""

    key: str


@dataclass
class Model:
    """What happened, in the order in which it did."""

    happened: list[Load | Withdraw] = field(default_factory=list)

    def counted(self, known: int) -> list[Load]:
        """The loads that count after `known` events, in the order of their dates."""
        loads: list[Load] = []
        for event in self.happened[:known]:
            if isinstance(event, Load):
                loads.append(event)
            else:
                loads = [load for load in loads if load.key != event.key]
        return sorted(loads, key=lambda load: load.as_of)

    def state(self, table: str, as_of: date, known: int) -> State:
        """The table at `as_of`, when the first `known` events had happened."""
        state: State = {}
        for load in self.counted(known):
            rows = load.tables[table]
            if load.as_of > as_of or rows is None:
                continue
            state = dict(rows) if table == "whole" else state | rows
        return state


def changes(before: State, rows: State, *, deletes: bool) -> dict[str, int]:
    """What a slice's rows change of a state."""
    common = before.keys() & rows.keys()
    updated = sum(before[key] != rows[key] for key in common)
    return {
        "inserted": len(rows.keys() - before.keys()),
        "updated": updated,
        "unchanged": len(common) - updated,
        "deleted": len(before.keys() - rows.keys()) if deletes else 0,
    }


numbers = st.sampled_from([None, 0, 1])
texts = st.sampled_from([None, "", "x"])
identifiers = st.sampled_from("abcde")
simple = st.dictionaries(identifiers, st.tuples(numbers, texts), max_size=5).map(
    lambda rows: {key: (key, *values) for key, values in rows.items()}
)
pairs = st.dictionaries(st.tuples(st.sampled_from("ab"), st.integers(0, 1)), numbers).map(
    lambda rows: {key: (key[0], value, key[1]) for key, value in rows.items()}
)
slice_keys = st.sampled_from(["first", "second", "third", "fourth"])
slices = st.builds(
    Load,
    slice_keys,
    st.sampled_from(DATES),
    st.fixed_dictionaries(
        {"kept": simple, "whole": st.none() | simple, "pairs": st.none() | pairs}
    ),
)
happenings = slices | slices | st.builds(Withdraw, slice_keys)
"""Twice as many loads as withdrawals."""


def only(table: str, *events: tuple[int, str | None] | int) -> list[Load | Withdraw]:
    """Loads of one table, written as (date, "a0 b1"): the keys and their numbers.

    A date alone withdraws its slice.
    """
    return [
        Withdraw(f"slice {event}")
        if isinstance(event, int)
        else Load(
            f"slice {event[0]}",
            DATES[event[0]],
            {"kept": {}, "whole": None, "pairs": None}
            | {
                table: None
                if event[1] is None
                else {r[0]: (r[0], int(r[1]), "x") for r in event[1].split()}
            },
        )
        for event in events
    ]


_names = (f"d{number}" for number in itertools.count())


@settings(max_examples=20)
@given(events=st.lists(happenings, min_size=1, max_size=10))
# A later slice repeats a value: a correction between the two must not reach beyond it.
@example(events=only("kept", (0, "a0 b0"), (2, "a0"), (1, "a1 b1"), (4, "b2"), (3, "a0 b1")))
# A key that a late slice brings in was not in the later slice that had "all keys".
@example(events=only("kept", (1, "a0"), (2, "a0"), (0, "b0"), (1, "a0 b1")))
# All but a few are repeated; a few are repeated.
@example(events=only("kept", (0, "a0 b0 c0 d0"), (2, "a0 b0 c0"), (1, "a1 b1 c1 d1")))
@example(events=only("kept", (0, "a0 b0 c0 d0"), (2, "a0"), (1, "a1 b1 c1 d1")))
# A later slice of a whole table says what is absent, too; also where it is empty.
@example(events=only("whole", (0, "a0 b0"), (2, "a0"), (1, "a1 b1 c1"), (1, "c2")))
@example(events=only("whole", (0, "a0 b0"), (2, "a0 b0"), (1, "b0")))
@example(events=only("whole", (2, ""), (0, "a0"), (1, ""), (3, None), (2, "b0")))
# Corrections of corrections, and a revision of the newest slice.
@example(events=only("kept", (4, "a0"), (3, "a1"), (2, "a0"), (1, "a1"), (0, "a0"), (4, "a1")))
# The newest slice is withdrawn, one in the middle, the only one; one that is loaded again.
@example(events=only("kept", (0, "a0 b0"), (1, "a1 c1"), 1))
@example(events=only("kept", (0, "a0 b0"), (1, "a1 b1 c1"), (2, "a1 b0"), 1, (1, "a0 c0"), 1))
@example(events=only("whole", (1, "a0 b0"), 1, (1, "b1"), (0, "a1"), 1))
# What a later slice had unchanged, it had: though the slice that brought it is withdrawn.
@example(events=only("kept", (0, "a0"), (1, "a1"), (2, "a1"), 1, 0))
@example(events=only("whole", (0, "a0 b0"), (1, "a0"), (2, "a0"), 1, 2))
# After a withdrawal a late slice comes, whose word is to hold beyond the withdrawn date.
@example(events=only("kept", (0, "a0"), (2, "a1"), 2, (1, "a0 b1"), (3, "a1"), 1, 3))
@example(events=only("kept", (0, "a0 b0"), (2, "a1"), (1, "a1 b1"), 2, 0, (0, "b1"), 1))
def test_any_order_of_slices_and_withdrawals_gives_the_states_of_their_replay(
    make_dataset: MakeDataset, events: list[Load | Withdraw]
) -> None:
    dataset = make_dataset(next(_names), TABLES)
    model = Model()
    published: list[Published] = []
    late = 0
    for event in events:
        before = len(model.happened)
        there = {load.key: load.as_of for load in model.counted(before)}
        if isinstance(event, Withdraw):
            if event.key not in there:
                continue
            model.happened.append(event)
            published.append(dataset.withdraw(event.key))
            assert published[-1].status == "withdrawn"
            late += 1
        else:
            late += any(event.as_of < other for other in there.values())
            model.happened.append(event)
            staged = {
                name: None if rows is None else list(rows.values())
                for name, rows in event.tables.items()
            }
            published.append(dataset.publish(event.as_of, staged, slice_key=event.key))
            check_changes(model, event, before, published[-1])
        for table in TABLES:
            assert dataset.current(table) == ordered(model.state(table, DATES[-1], before + 1))
    target(late)

    assert [p.known_at for p in published] == sorted({p.known_at for p in published})
    for table in TABLES:
        check_snapshots(dataset, model, published, table)


def check_changes(model: Model, load: Load, before: int, published: Published) -> None:
    for table, rows in load.tables.items():
        if rows is None:
            assert table not in published.changes
            continue
        known = model.state(table, load.as_of, before)
        assert published.changes[table] == changes(known, rows, deletes=table == "whole"), table


def check_snapshots(dataset: Dataset, model: Model, published: list[Published], table: str) -> None:
    newest: dict[date, State] = {}
    for number, snapshot in enumerate(published, 1):
        frozen = model.state(table, snapshot.as_of, number)
        newest[snapshot.as_of] = frozen
        assert dataset.state(table, snapshot.as_of, snapshot.known_at) == ordered(frozen)
        for as_of in DATES:
            state = dataset.state(table, as_of, snapshot.known_at)
            assert state == ordered(model.state(table, as_of, number))
    for snapshot in published[-1:]:
        exported = dataset.exported_rows(snapshot, table)
        assert sorted(exported, key=repr) == ordered(newest[snapshot.as_of])
    for as_of, frozen in newest.items():
        assert dataset.snapshot_rows(table, as_of) == ordered(frozen)


def ordered(state: State) -> list[tuple[Any, ...]]:
    return sorted(state.values(), key=repr)
