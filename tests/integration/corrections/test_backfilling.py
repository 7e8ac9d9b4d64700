"""`headrace backfill` ends with one training of what it brought, or says that there is none."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shared.contracts.envelope import Record
from tests.integration.corrections.conftest import Line, MakeLine, users
from tests.waiting import wait_until

NOTHING = "nothing to train: these slices brought nothing that wasn't trained on"
ASKED = "SELECT * FROM headrace.outbox WHERE topic = 'snapshotted' AND source = 'cli'"


@pytest.fixture
def learning(make_line: MakeLine) -> Line:
    return make_line()


def backfill(line: Line, last: str = "day_02", *more: str) -> str:
    words = ("backfill", line.dataset, "--from", "day_00", "--to", last, *more)
    done = line.headrace(*words, "--source", line.folder / "drops")
    assert done.exit_code == 0, done.output
    return str(done.stdout)


@contextmanager
def trainer(line: Line) -> Iterator[None]:
    """The services, which do the event that the command is to publish for the trainer."""

    def take() -> None:
        wait_until(lambda: line.query(ASKED), what="the event")
        (row,) = line.query(ASKED)
        line.deliver(Record(row.topic, 0, 0, row.key.encode(), row.headers, bytes(row.value)))
        line.run()

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def trained(line: Line) -> list[str]:
    rows = line.query("""
        SELECT l.slice_key, l.revision FROM headrace.promotions AS p
        JOIN headrace.loads AS l USING (load_id) ORDER BY p.decided_at
    """)
    return [f"{row.slice_key}/{row.revision}" for row in rows]


def test_a_gap_that_is_filled_before_a_trained_slice_is_trained_on(learning: Line) -> None:
    learning.load("day_02", users(0, 60))
    learning.load("day_00", users(0, 50), trains=False)
    learning.load("day_01", users(0, 55), trains=False)
    with trainer(learning):
        said = backfill(learning)
    assert "training on day_01" in said
    assert trained(learning) == ["day_02/1", "day_01/1"], "one, and of the newest that was filled"
    assert NOTHING in backfill(learning)


def test_an_earlier_slice_that_was_revised_is_trained_on(learning: Line) -> None:
    learning.load("day_00", users(0, 50))
    learning.load("day_01", users(0, 55))
    learning.load("day_00", users(0, 50, shift=0.5), trains=False)
    with trainer(learning):
        said = backfill(learning, "day_01")
    assert "training on day_00" in said
    assert trained(learning) == ["day_00/1", "day_01/1", "day_00/2"]


def test_what_a_later_training_knew_is_not_trained_on_once_more(learning: Line) -> None:
    learning.load("day_00", users(0, 50), trains=False)
    learning.load("day_01", users(0, 55), trains=False)
    learning.load("day_02", users(0, 60))
    assert NOTHING in backfill(learning, "day_01")
    assert trained(learning) == ["day_02/1"]


def test_a_dataset_without_a_training_is_told(line: Line) -> None:
    line.load("day_00", users(0, 3))
    assert "nothing to train: the spec has no training" in backfill(line, "day_00")
