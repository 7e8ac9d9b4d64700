"""`headrace dead`: all of a dead letter, again, or settled."""

import pytest

from shared.contracts.envelope import Record
from tests.integration.corrections.conftest import Line, users

POISON = Record("load-requested", 3, 41, b"\xff", {"ce_id": "e-1", "x": "y"}, b"\xfe\x00")


def bury_poison(line: Line) -> int:
    line.deliver(POISON)
    return int(line.scalar("SELECT max(dead_letter_id) FROM headrace.dead_letters"))


def test_show_has_all_of_a_dead_letter(line: Line) -> None:
    number = bury_poison(line)
    facts = line.json("dead", "show", number)
    assert (facts["topic"], facts["partition"], facts["offset"]) == ("load-requested", 3, 41)
    assert facts["key"] == {"base64": "/w=="}
    assert facts["value"] == {"base64": "/gA="}
    assert facts["headers"] == {"ce_id": "e-1", "x": "y"}
    assert facts["error_class"] == "UndecodableEvent"
    assert "ce_specversion" in facts["reason"]
    assert facts["attempts"] == 1
    said = line.headrace("dead", "show", number).stdout
    for part in ("load-requested", "41", "UndecodableEvent", "ce_id", "e-1", "/gA="):
        assert part in said
    assert line.headrace("dead", "show", number + 1).exit_code == 1


def test_a_dropped_one_is_kept_settled_and_never_done(line: Line) -> None:
    missing = line.folder / "drops" / "day_00"
    load = line.load("day_00", users(0, 2), trains=True)
    assert load["status"] == "published"
    for file in missing.iterdir():
        file.unlink()
    missing.rmdir()
    from shared.contracts.events import LoadRequested

    failed = line.send(
        LoadRequested(dataset=line.dataset, slice_key="day_01", source_uri=str(missing))
    )
    assert failed["status"] == "failed"
    (dead,) = line.json("dead", "list", "--open")
    number = dead["dead_letter_id"]
    dropped = line.headrace("dead", "drop", number, "--reason", "loaded by hand")
    assert dropped.exit_code == 0, dropped.output
    assert line.json("dead", "list", "--open") == []
    (kept,) = line.json("dead", "list")
    assert (kept["state"], kept["drop_reason"]) == ("dropped", "loaded by hand")
    assert kept["dropped_by"]

    line.drop("day_00", {"users.csv": users(5, 7)})
    row = line.query("SELECT * FROM headrace.dead_letters")[0]
    line.deliver(Record(row.topic, 0, 99, bytes(row.key), row.headers, bytes(row.value)))
    line.run()
    assert line.current().keys() == {0, 1}, "its event came again and was passed over"
    for command in (("redrive", number), ("drop", number, "--reason", "x")):
        refused = line.headrace("dead", *command)
        assert (refused.exit_code, "was dropped at" in refused.output) == (1, True)


@pytest.mark.parametrize("reason", [(), ("--reason", " ")])
def test_nothing_is_dropped_without_a_reason(line: Line, reason: tuple[str, ...]) -> None:
    number = bury_poison(line)
    assert line.headrace("dead", "drop", number, *reason).exit_code in (1, 2)
    assert len(line.json("dead", "list", "--open")) == 1


def test_several_are_redriven_in_the_order_given_under_their_own_ids(line: Line) -> None:
    first = bury_poison(line)
    line.deliver(Record("load-requested", 3, 42, b"d", {"ce_id": "e-2"}, b""))
    done = line.headrace("dead", "redrive", first + 1, first)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        f"dead letter {first + 1} is on its topic again",
        f"dead letter {first} is on its topic again",
    ]
    assert [row["state"] for row in line.json("dead", "list")] == ["redriven", "redriven"]
    refused = line.headrace("dead", "drop", first, "--reason", "x")
    assert (refused.exit_code, "was redriven at" in refused.output) == (1, True)
