"""Merging slices in any order, against a model that replays them in the order of their dates."""

import itertools
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
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


@dataclass
class Model:
    """What was published, in the order in which it was."""

    loads: list[tuple[date, dict[str, State | None]]] = field(default_factory=list)

    def state(self, table: str, as_of: date, known: int) -> State:
        """The table at `as_of`, when the first `known` loads were there."""
        state: State = {}
        in_order = sorted(enumerate(self.loads[:known]), key=lambda item: (item[1][0], item[0]))
        for _, (load_as_of, tables) in in_order:
            rows = tables[table]
            if load_as_of > as_of or rows is None:
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
slices = st.tuples(
    st.sampled_from(DATES),
    st.fixed_dictionaries(
        {"kept": simple, "whole": st.none() | simple, "pairs": st.none() | pairs}
    ),
)


def only(table: str, *loads: tuple[int, str | None]) -> list[tuple[date, dict[str, State | None]]]:
    """Loads of one table, written as (date, "a0 b1"): the keys and their numbers."""
    return [
        (
            DATES[number],
            {"kept": {}, "whole": None, "pairs": None}
            | {
                table: None
                if rows is None
                else {r[0]: (r[0], int(r[1]), "x") for r in rows.split()}
            },
        )
        for number, rows in loads
    ]


_names = (f"d{number}" for number in itertools.count())


@pytest.mark.slow
@settings(max_examples=20)
@given(loads=st.lists(slices, min_size=1, max_size=9))
# A later slice repeats a value: a correction between the two must not reach beyond it.
@example(loads=only("kept", (0, "a0 b0"), (2, "a0"), (1, "a1 b1"), (4, "b2"), (3, "a0 b1")))
# A key that a late slice brings in was not in the later slice that had "all keys".
@example(loads=only("kept", (1, "a0"), (2, "a0"), (0, "b0"), (1, "a0 b1")))
# All but a few are repeated; a few are repeated.
@example(loads=only("kept", (0, "a0 b0 c0 d0"), (2, "a0 b0 c0"), (1, "a1 b1 c1 d1")))
@example(loads=only("kept", (0, "a0 b0 c0 d0"), (2, "a0"), (1, "a1 b1 c1 d1")))
# A later slice of a whole table says what is absent, too; also where it is empty.
@example(loads=only("whole", (0, "a0 b0"), (2, "a0"), (1, "a1 b1 c1"), (1, "c2")))
@example(loads=only("whole", (0, "a0 b0"), (2, "a0 b0"), (1, "b0")))
@example(loads=only("whole", (2, ""), (0, "a0"), (1, ""), (3, None), (2, "b0")))
# Corrections of corrections, and a revision of the newest slice.
@example(loads=only("kept", (4, "a0"), (3, "a1"), (2, "a0"), (1, "a1"), (0, "a0"), (4, "a1")))
def test_any_order_of_slices_gives_the_states_of_their_replay(
    make_dataset: MakeDataset, loads: list[tuple[date, dict[str, State | None]]]
) -> None:
    dataset = make_dataset(next(_names), TABLES)
    model = Model()
    published: list[Published] = []
    late = 0
    for as_of, tables in loads:
        late += any(as_of < other for other, _ in model.loads)
        before = len(model.loads)
        model.loads.append((as_of, tables))
        staged = {
            name: None if rows is None else list(rows.values()) for name, rows in tables.items()
        }
        published.append(dataset.publish(as_of, staged))
        for table, rows in tables.items():
            if rows is not None:
                known = model.state(table, as_of, before)
                expected = changes(known, rows, deletes=table == "whole")
                assert published[-1].changes[table] == expected, table
            else:
                assert table not in published[-1].changes
            assert dataset.current(table) == ordered(model.state(table, DATES[-1], before + 1))
    target(late)

    assert [p.known_at for p in published] == sorted({p.known_at for p in published})
    for table in TABLES:
        check_snapshots(dataset, model, published, table)


def check_snapshots(dataset: Dataset, model: Model, published: list[Published], table: str) -> None:
    newest: dict[date, State] = {}
    for number, snapshot in enumerate(published, 1):
        frozen = model.state(table, snapshot.as_of, number)
        newest[snapshot.as_of] = frozen
        assert dataset.state(table, snapshot.as_of, snapshot.known_at) == ordered(frozen)
        for as_of in DATES:
            state = dataset.state(table, as_of, snapshot.known_at)
            assert state == ordered(model.state(table, as_of, number))
    exported = dataset.exported_rows(published[-1], table)
    assert sorted(exported, key=repr) == ordered(newest[published[-1].as_of])
    for as_of, frozen in newest.items():
        assert dataset.snapshot_rows(table, as_of) == ordered(frozen)


def ordered(state: State) -> list[tuple[Any, ...]]:
    return sorted(state.values(), key=repr)
