"""A withdrawal goes the way of the loads, and leaves the tables as if the slice had never been."""

from datetime import date

import pytest

from shared.contracts.spec_file import find_spec
from shared.errors import UndecodableEvent
from shared.load_requests import next_slice
from tests.integration.corrections.conftest import Line, MakeLine, users

FIRST, SECOND, THIRD = (date(2024, 3, day) for day in (1, 2, 3))


def statuses(line: Line) -> list[tuple[str, str, str]]:
    rows = line.query("SELECT slice_key, kind, status FROM headrace.loads ORDER BY started_at")
    return [tuple(row) for row in rows]


def test_a_withdrawn_slice_is_out_and_the_others_are_in_force(line: Line) -> None:
    line.load("day_00", users(0, 4))
    before = line.current()
    taken = line.load("day_01", users(2, 6, shift=1))
    line.load("day_02", users(5, 7, shift=2))
    withdrawn = line.withdraw("day_01", "from the wrong system")

    assert withdrawn["status"] == "withdrawn"
    assert (withdrawn["requested_by"], withdrawn["finished_at"] is not None) == ("ada", True)
    assert withdrawn["reasons"][0]["message"] == "from the wrong system"
    assert withdrawn["changes"]["users"] == {
        "inserted": 0, "updated": 2, "unchanged": 0, "deleted": 2
    }  # fmt: skip
    current = line.current()
    assert {n: current[n] for n in range(4)} == before
    assert current.keys() == {0, 1, 2, 3, 5, 6}
    assert line.state_at(SECOND) == before
    assert line.load_of(taken["load_id"])["withdrawn_at"] is not None
    snapshot = line.query(
        "SELECT as_of, known_at FROM headrace.snapshots WHERE load_id = :id",
        id=withdrawn["load_id"],
    )[0]
    assert snapshot.as_of == SECOND
    history = line.query(
        f"SELECT user_id, as_of, operation FROM {line.dataset}.users_history WHERE load_id = :id "
        "ORDER BY user_id",
        id=withdrawn["load_id"],
    )
    assert [tuple(row) for row in history] == [
        (2, SECOND, "update"),
        (3, SECOND, "update"),
        (4, SECOND, "delete"),
        (5, SECOND, "delete"),
    ]


def test_what_was_known_before_stays_known(line: Line) -> None:
    line.load("day_00", users(0, 2))
    line.load("day_01", users(0, 2, shift=1))
    known_at = line.scalar("SELECT max(known_at) FROM headrace.snapshots")
    rows = line.query(f"SELECT * FROM {line.dataset}.users_history ORDER BY history_id")
    line.withdraw("day_01")
    after = line.query(
        f"SELECT * FROM {line.dataset}.users_history WHERE recorded_at <= :known "
        "ORDER BY history_id",
        known=known_at,
    )
    assert after == rows


def test_a_withdrawn_slice_can_be_loaded_again_with_the_same_content(line: Line) -> None:
    line.load("day_00", users(0, 4))
    line.load("day_01", users(2, 6, shift=1))
    with_both = line.current()
    line.withdraw("day_01")
    again = line.load("day_01", users(2, 6, shift=1))
    assert (again["status"], again["revision"]) == ("published", 2)
    assert line.current() == with_both
    assert line.withdraw("day_01")["status"] == "withdrawn"
    assert line.current().keys() == {0, 1, 2, 3}


def test_all_revisions_of_a_slice_are_withdrawn_together(line: Line) -> None:
    line.load("day_00", users(0, 2))
    line.load("day_01", users(2, 4))
    line.load("day_01", users(3, 5), as_of=THIRD)
    line.withdraw("day_01")
    assert line.current().keys() == {0, 1}
    assert line.state_at(THIRD).keys() == {0, 1}


def test_a_slice_that_is_not_published_when_its_turn_comes_is_left_as_it_is(line: Line) -> None:
    line.load("day_00", users(0, 2))
    line.withdraw("day_00")
    snapshots = line.scalar("SELECT count(*) FROM headrace.snapshots")
    again = line.withdraw("day_00")
    assert again["status"] == "unchanged"
    assert line.scalar("SELECT count(*) FROM headrace.snapshots") == snapshots
    nobody = line.headrace("dead", "list", "--json")
    assert nobody.stdout.strip() == "[]"


def test_a_second_delivery_of_a_withdrawal_changes_nothing(line: Line) -> None:
    line.load("day_00", users(0, 2))
    line.withdraw("day_00")
    before = line.query(f"SELECT * FROM {line.dataset}.users_history")
    line.change("UPDATE headrace.outbox SET published_at = NULL")
    line.run()
    assert line.query(f"SELECT * FROM {line.dataset}.users_history") == before
    assert statuses(line) == [
        ("day_00", "load", "published"),
        ("day_00", "withdrawal", "withdrawn"),
    ]


def test_it_takes_back_what_was_asked_for_before_it_and_not_what_comes_after(line: Line) -> None:
    line.load("day_00", users(0, 2))
    line.away.add("validator")
    line.load("day_01", users(2, 4))
    line.withdraw("day_01")
    line.load("day_01", users(2, 4))
    line.away.clear()
    line.change(
        "UPDATE headrace.outbox SET published_at = NULL WHERE topic = 'slice-loaded' AND event_id "
        "NOT IN (SELECT event_id FROM headrace.inbox)"
    )
    line.run()
    assert statuses(line) == [
        ("day_00", "load", "published"),
        ("day_01", "load", "published"),
        ("day_01", "withdrawal", "withdrawn"),
        ("day_01", "load", "published"),
    ]
    assert line.current().keys() == {0, 1, 2, 3}


def test_a_service_that_knows_no_withdrawals_gives_one_up(line: Line) -> None:
    line.load("day_00", users(0, 2))
    (validator,) = [s for name, s in line._services.items() if name == "validator"]
    known = dict(validator.handlers)
    for payload in list(known):
        if payload.__name__ == "WithdrawalQueued":
            validator.handlers.pop(payload)  # type: ignore[attr-defined]
    assert line.withdraw("day_00")["status"] == "failed"
    assert line.json("dead", "list")[0]["error_class"] == UndecodableEvent.__name__
    assert line.current().keys() == {0, 1}


def test_neither_a_schedule_nor_the_next_load_brings_a_withdrawn_slice_back(line: Line) -> None:
    line.load("day_00", users(0, 2))
    line.withdraw("day_00")
    spec = find_spec(line.settings.datasets_dir, line.dataset)
    with line.engine.connect() as connection:
        assert next_slice(connection, spec) == "day_01"


def test_pictures_of_rows_that_are_gone_are_forgotten(make_line: MakeLine) -> None:
    table = {
        "key": ["user_id"],
        "columns": {"user_id": "integer", "score": "number", "label": "boolean"},
        "images": {"file": "{user_id}.png"},
    }
    line = make_line(training=None, tables={"users": table})
    line.load("day_00", users(0, 2))
    line.load("day_01", users(1, 4))
    line.withdraw("day_01")
    keys = line.query("SELECT row_key FROM headrace.images ORDER BY row_key")
    assert [row.row_key for row in keys] == ["0", "1"]


def test_a_model_is_trained_of_what_is_left_and_none_of_nothing(make_line: MakeLine) -> None:
    line = make_line()
    line.load("day_00", users(0, 120))
    line.load("day_01", users(60, 200, shift=1))
    line.withdraw("day_01")
    trained = line.query(
        "SELECT l.kind FROM headrace.promotions AS p JOIN headrace.loads AS l USING (load_id) "
        "ORDER BY p.decided_at"
    )
    assert [row.kind for row in trained] == ["load", "load", "withdrawal"]
    line.withdraw("day_00")
    assert line.current() == {}
    assert line.json("dead", "list") == []
    assert line.scalar("SELECT count(*) FROM headrace.promotions") == 3


def test_the_commands_show_a_withdrawal_with_who_when_and_why(line: Line) -> None:
    line.load("day_00", users(0, 2))
    line.load("day_01", users(0, 2, shift=1))
    line.withdraw("day_01", "typo in the export")
    slices = {row["slice_key"]: row["status"] for row in line.json("slices", line.dataset)}
    assert slices == {"day_00": "published", "day_01": "withdrawn"}
    first, taken, withdrawal = line.json("history", line.dataset)
    assert first["note"] == ""
    assert taken["note"].startswith("withdrawn 20")
    assert withdrawal["note"] == "withdrawal by ada: typo in the export"
    status = line.headrace("status").stdout
    assert "by ada: typo in the export" in status
    assert "day_00 as of 2024-03-01" in status


def test_a_revision_shows_in_the_history(line: Line) -> None:
    line.load("day_00", users(0, 2))
    line.load("day_00", users(0, 3, shift=1))
    rows = line.json("history", line.dataset)
    assert [(row["revision"], row["status"], row["as_of"]) for row in rows] == [
        (1, "published", "2024-03-01"),
        (2, "published", "2024-03-01"),
    ]
    assert line.current().keys() == {0, 1, 2}


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ([], "was never loaded"),
        (["load", "withdraw"], r"is withdrawn already, on 20\d\d-\d\d-\d\d by ada: wrong"),
        (["reject"], "its last load is rejected"),
    ],
)
def test_the_command_says_why_there_is_nothing_to_withdraw(
    line: Line, before: list[str], said: str
) -> None:
    import re

    for step in before:
        if step == "load":
            line.load("day_00", users(0, 2))
        elif step == "withdraw":
            line.withdraw("day_00")
        else:
            line.load("day_00", users(0, 2, bad=3))
    done = line.headrace("withdraw", line.dataset, "day_00", "--reason", "x")
    assert done.exit_code == 1
    assert re.search(said, done.output)
    assert line.headrace("withdraw", line.dataset, "day_00").exit_code == 2
    assert line.headrace("withdraw", line.dataset, "day_00", "--reason", " ").exit_code == 1
