"""What is old and nothing depends on goes; everything else stays, and the audit finds all well."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.prune import rules
from cli.prune.ground import Ground, Removed
from cli.prune.rules import AnotherPruning, prune_all
from cli.verify.audit import audit
from shared.messaging.kafka import Admin
from shared.object_store import Bucket, ObjectUri
from tests.integration.corrections.conftest import Line, MakeLine, users

DAY = timedelta(days=1)
KINDS = [
    "staging tables", "landing copies", "reports", "snapshots", "files of no snapshot", "uploads",
    "outbox rows", "dead letters", "inbox marks", "notifications", "schedule runs", "audit rows",
]  # fmt: skip


@pytest.fixture(autouse=True)
def forgetful_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that keeps records for a week, as a new Kafka does."""
    monkeypatch.setattr(Admin, "longest_retention_days", lambda self: 7.0)


def prune(line: Line, days: float, *, is_dry: bool = False) -> dict[str, Removed]:
    """Prune as it will be so many days from now."""
    now = datetime.now(UTC) + days * DAY
    removed = prune_all(line.settings, line.engine, line.store, now=now, is_dry=is_dry)
    assert [each.what for each in removed] == KINDS
    return {each.what: each for each in removed}


def objects(line: Line, bucket: Bucket) -> list[str]:
    found = line.store.list(line.store.uri(bucket, f"{line.dataset}/"))
    return [each.uri.key for each in found]


def staging(line: Line) -> int:
    query = "SELECT count(*) FROM information_schema.tables WHERE table_schema = :schema"
    return int(line.scalar(query, schema=f"{line.dataset}_staging"))


def landed(line: Line, load: dict[str, Any]) -> bool:
    return bool(line.store.list(ObjectUri.parse(load["landing_uri"] + "/")))


def well(line: Line) -> None:
    assert audit(line.settings, line.dataset) == []


def test_nothing_young_goes(line: Line) -> None:
    line.load("day_00", users(0, 4))
    line.load("day_01", users(0, 4, bad=5))
    line.load("day_00", users(0, 5))
    line.withdraw("day_00")
    before = {bucket: objects(line, bucket) for bucket in Bucket}
    found = prune(line, 6.9)
    assert {name: each.items for name, each in found.items()} == dict.fromkeys(KINDS, 0)
    assert {bucket: objects(line, bucket) for bucket in Bucket} == before
    well(line)


def test_a_dry_run_says_what_would_go_and_removes_nothing(line: Line) -> None:
    line.settings = line.settings.model_copy(update={"prune_snapshots_kept": 1})
    line.load("day_00", users(0, 4))
    line.load("day_01", users(0, 4, bad=5))
    line.load("day_01", users(0, 5))
    tables = ("outbox", "inbox", "snapshots", "loads", "prunings")

    def everything() -> dict[str, list[Any]]:
        rows = {
            name: sorted(map(str, line.query(f"SELECT CAST(t AS text) FROM headrace.{name} AS t")))
            for name in tables
        }
        return rows | {bucket.value: objects(line, bucket) for bucket in Bucket}

    before, staged = everything(), staging(line)
    would = prune(line, 400, is_dry=True)
    assert (everything(), staging(line)) == (before, staged)
    done = prune(line, 400)
    counts = {name: (each.items, each.bytes) for name, each in would.items()}
    assert {name: (each.items, each.bytes) for name, each in done.items()} == counts
    for name in ("staging tables", "landing copies", "snapshots", "outbox rows", "inbox marks"):
        assert would[name].items > 0, name
        assert would[name].bytes > 0, name
    again = prune(line, 400)
    assert {name: each.items for name, each in again.items()} == dict.fromkeys(KINDS, 0)
    well(line)


def test_staging_stays_while_a_redrive_needs_it(line: Line) -> None:
    rejected = line.load("day_00", users(0, 4, bad=5))
    assert rejected["status"] == "rejected"
    assert staging(line) == 1
    line.away.add("validator")
    line.load("day_01", users(0, 4))
    line.change(
        'INSERT INTO headrace.dead_letters (service, topic, partition, "offset", headers, '
        "error_class, reason, attempts, correlation_id) SELECT 'validator', 'slice-loaded', 0, 1, "
        "'{}', 'X', 'x', 1, load_id FROM headrace.loads WHERE slice_key = 'day_01'"
    )
    line.change(
        "UPDATE headrace.loads SET status = 'failed', finished_at = now() "
        "WHERE slice_key = 'day_01'"
    )
    assert prune(line, 40)["staging tables"].items == 1
    assert staging(line) == 1
    line.change("UPDATE headrace.dead_letters SET redriven_at = now() + interval '30 days'")
    assert prune(line, 40)["staging tables"].items == 0, "it was redriven just now"
    line.change("UPDATE headrace.dead_letters SET redriven_at = NULL, dropped_at = now()")
    assert prune(line, 40)["staging tables"].items == 1


def test_staging_of_no_load_goes_and_a_table_of_ones_own_stays(line: Line) -> None:
    line.load("day_00", users(0, 2))
    schema = f"{line.dataset}_staging"
    line.change(f'CREATE TABLE {schema}."users__0123456789abcdef" (x int)')
    line.change(f"CREATE TABLE {schema}.mine (x int)")
    assert prune(line, 0)["staging tables"].items == 1
    assert staging(line) == 1


def test_landing_copies_go_when_their_slice_has_another_and_no_model_knows_them(line: Line) -> None:
    old = line.load("day_00", users(0, 4))
    new = line.load("day_00", users(0, 5))
    waiting = line.load("day_01", users(0, 4, bad=5))
    refused = line.load("day_02", users(0, 4, bad=5))
    line.load("day_02", users(0, 4))
    withdrawn = line.load("day_03", users(0, 6))
    line.withdraw("day_03")
    found = prune(line, 100)["landing copies"]
    assert found.items == 3
    kept = {name: landed(line, each) for name, each in locals().items() if name in (
        "old", "new", "waiting", "refused", "withdrawn")}  # fmt: skip
    assert kept == {
        "old": False, "new": True, "waiting": True, "refused": False, "withdrawn": False
    }  # fmt: skip
    assert line.load_of(old["load_id"])["landing_pruned_bytes"] > 0
    exported = line.headrace("rejects", "export", refused["load_id"], "--to", line.folder / "x.csv")
    assert "were pruned on" in exported.output
    well(line)


def test_content_that_comes_again_is_landed_again(line: Line) -> None:
    line.load("day_00", users(0, 4))
    line.load("day_00", users(0, 5))
    prune(line, 100)
    again = line.load("day_00", users(0, 4))
    assert (again["status"], landed(line, again)) == ("published", True)
    assert prune(line, 100)["landing copies"].items == 1, "that of the revision between"
    assert landed(line, again)
    well(line)


def test_old_snapshots_go_but_the_newest_and_what_a_dataset_needs(make_line: MakeLine) -> None:
    line = make_line(training=None)
    line.settings = line.settings.model_copy(update={"prune_snapshots_kept": 2})
    for number in range(4):
        line.load(f"day_{number:02d}", users(0, 4 + number))
    assert prune(line, 100)["snapshots"].items == 0
    gone = prune(line, 200)["snapshots"]
    assert gone.items == 2
    rows = line.query(
        "SELECT as_of, pruned_at, pruned_bytes FROM headrace.snapshots ORDER BY as_of"
    )
    assert [row.pruned_at is not None for row in rows] == [True, True, False, False]
    assert sum(row.pruned_bytes or 0 for row in rows) == gone.bytes > 0
    dates = {key.split("as_of=")[1][:10] for key in objects(line, Bucket.SNAPSHOTS)}
    assert dates == {"2024-03-03", "2024-03-04"}
    assert line.state_at(date(2024, 3, 1)).keys() == set(range(4)), "the history has it"
    well(line)


def test_a_snapshot_whose_event_is_not_done_stays(make_line: MakeLine) -> None:
    line = make_line(training=None)
    line.settings = line.settings.model_copy(update={"prune_snapshots_kept": 1})
    line.away.add("trainer")
    line.load("day_00", users(0, 4))
    line.away.clear()
    line.load("day_01", users(0, 5))
    assert prune(line, 400)["snapshots"].items == 0
    line.change("UPDATE headrace.outbox SET published_at = NULL WHERE topic = 'snapshotted'")
    line.run()
    assert prune(line, 400)["snapshots"].items == 1


def test_files_of_a_try_that_failed_go(line: Line) -> None:
    line.load("day_00", users(0, 4))
    (part,) = [key for key in objects(line, Bucket.SNAPSHOTS) if key.endswith(".parquet")]
    folder = part.split("known_at=")[0]
    orphan = line.store.uri(
        Bucket.SNAPSHOTS, f"{folder}known_at=20240101T000000.000000Z/part-0.parquet"
    )
    line.store.put_bytes(orphan, b"half", content_type="x")
    young = line.store.uri(
        Bucket.SNAPSHOTS,
        f"{folder}known_at={datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}/part-0.parquet",
    )
    line.store.put_bytes(young, b"under way", content_type="x")
    found = prune(line, 0)["files of no snapshot"]
    assert (found.items, found.bytes) == (1, 4)
    assert not line.store.exists(orphan)
    assert line.store.exists(young)
    assert line.store.exists(ObjectUri(young.bucket, part))


def test_outbox_rows_go_when_they_are_done_and_can_not_be_replayed(line: Line) -> None:
    line.load("day_00", users(0, 4))
    line.away.add("snapshotter")
    line.load("day_01", users(0, 5))
    prune(line, 100)
    left = line.query("SELECT topic, key FROM headrace.outbox ORDER BY outbox_id")
    assert [row.topic for row in left] == ["snapshotted", "validated"]
    line.away.clear()
    line.change("UPDATE headrace.outbox SET published_at = NULL WHERE topic = 'validated'")
    line.run()
    assert line.current().keys() == set(range(5))
    well(line)


def test_inbox_marks_go_only_when_nothing_can_deliver_their_event_again(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.load("day_00", users(0, 4))
    marks = "SELECT count(*) FROM headrace.inbox"
    every = line.scalar(marks)
    monkeypatch.setattr(Admin, "longest_retention_days", lambda self: None)
    found = prune(line, 4000)["inbox marks"]
    assert (found.items, found.before) == (0, None)
    assert "for good" in found.note
    monkeypatch.setattr(Admin, "longest_retention_days", lambda self: 365.0)
    assert prune(line, 378)["inbox marks"].items == 0, "the margin isn't over"
    gone = prune(line, 380)["inbox marks"].items
    assert gone == every - line.scalar(marks) > 0
    without = (
        "SELECT event_id FROM headrace.inbox "
        "WHERE event_id NOT IN (SELECT event_id FROM headrace.outbox)"
    )
    assert line.query(without) == []
    assert line.scalar(marks) > 0, "a mark stays as long as its event"
    assert line.scalar("SELECT count(*) FROM headrace.outbox WHERE topic = 'snapshotted'") == 1
    line.change("UPDATE headrace.outbox SET published_at = NULL")
    line.run()
    assert line.scalar("SELECT count(*) FROM headrace.snapshots") == 1
    well(line)


def test_dead_letters_go_when_they_are_settled(line: Line) -> None:
    for number in range(3):
        line.change(
            'INSERT INTO headrace.dead_letters (service, topic, partition, "offset", headers, '
            "error_class, reason, attempts, event_id) "
            "VALUES ('ingestor', 'load-requested', 0, :n, '{}', 'X', 'x', 1, :id)",
            n=number,
            id=f"e{number}",
        )
    assert prune(line, 4000)["dead letters"].items == 0, "they are open"
    line.change("UPDATE headrace.dead_letters SET redriven_at = now() WHERE event_id = 'e0'")
    assert prune(line, 4000)["dead letters"].items == 0, "it isn't done yet"
    line.change("INSERT INTO headrace.inbox VALUES ('ingestor', 'e0')")
    line.change("UPDATE headrace.dead_letters SET dropped_at = now() WHERE event_id = 'e1'")
    assert prune(line, 364)["dead letters"].items == 0
    assert prune(line, 366)["dead letters"].items == 2
    assert line.scalar("SELECT event_id FROM headrace.dead_letters") == "e2"


def test_messages_and_moments_go_but_what_is_to_be_sent_and_the_last_moment(line: Line) -> None:
    for state in ("pending", "sending", "sent", "given_up"):
        line.change(
            "INSERT INTO headrace.notifications (event_id, target, event_type, dataset, slice_key, "
            "title, body, kind, state, attempts) "
            "VALUES (:s, 't', 'e', 'd', 's', '', '', 'info', :s, 1)",
            s=state,
        )
    for day in (1, 2, 3):
        line.change(
            "INSERT INTO headrace.schedule_runs (dataset, due_at, outcome) "
            "VALUES ('d', now() - make_interval(days => :day), 'requested')",
            day=day,
        )
    found = prune(line, 400)
    assert found["notifications"].items == 2
    assert found["schedule runs"].items == 2
    states = line.query("SELECT state FROM headrace.notifications ORDER BY state")
    assert [row.state for row in states] == ["pending", "sending"]
    assert line.scalar("SELECT count(*) FROM headrace.schedule_runs") == 1


def test_a_pruning_that_was_killed_is_finished_by_the_next(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.settings = line.settings.model_copy(update={"prune_snapshots_kept": 1})
    line.load("day_00", users(0, 4))
    line.load("day_00", users(0, 5))
    line.load("day_00", users(0, 6))

    class Killed(Exception):
        pass

    delete = Ground.delete
    for kept in (0, 1, 2):
        calls: list[object] = []

        def die(
            self: Ground, prefix: ObjectUri, kept: int = kept, calls: list[object] = calls
        ) -> int:
            calls.append(prefix)
            if len(calls) > kept:
                raise Killed
            return delete(self, prefix)

        with monkeypatch.context() as patch:
            patch.setattr(Ground, "delete", die)
            with pytest.raises(Killed):
                prune(line, 400)
        well(line)
    again = line.load("day_00", users(0, 4))
    assert again["status"] == "published"
    well(line)
    prune(line, 400)
    assert landed(line, again)
    unfinished = (
        "SELECT count(*) FROM headrace.loads WHERE landing_pruned_at IS NOT NULL "
        "AND landing_pruned_bytes IS NULL"
    )
    assert line.scalar(unfinished) == 0
    unfinished = (
        "SELECT count(*) FROM headrace.snapshots "
        "WHERE pruned_at IS NOT NULL AND pruned_bytes IS NULL"
    )
    assert line.scalar(unfinished) == 0
    well(line)


def test_two_at_once_do_not_prune(line: Line) -> None:
    with line.engine.begin() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('headrace prune'))")
        with pytest.raises(AnotherPruning, match="at work"):
            prune(line, 0)


def test_what_was_removed_is_recorded_and_the_command_prints_it(line: Line) -> None:
    line.load("day_00", users(0, 4, bad=5))
    dry = line.json("prune", "--dry-run")
    assert [each["what"] for each in dry] == KINDS
    assert line.scalar("SELECT count(*) FROM headrace.prunings") == 0
    line.change("UPDATE headrace.loads SET finished_at = now() - interval '31 days'")
    said = line.headrace("prune")
    assert said.exit_code == 0, said.output
    assert "staging tables" in said.stdout
    assert said.stdout.splitlines()[-1].endswith("bytes removed")
    (row,) = line.query("SELECT what, items, bytes FROM headrace.prunings")
    assert (row.what, row.items, row.bytes > 0) == ("staging tables", 1, True)


def test_whatever_is_pruned_all_is_well_and_every_model_leads_back_to_its_files(
    make_line: MakeLine,
) -> None:
    line = make_line()
    line.settings = line.settings.model_copy(
        update={
            name: 0.001 for name in type(line.settings).model_fields if name.startswith("prune_")
        }
        | {"prune_snapshots_kept": 1}
    )
    numbers = iter(range(1000))

    def happen(what: str, slice_key: str, size: int) -> None:
        if what == "withdraw":
            if line.query(
                "SELECT FROM headrace.loads WHERE dataset = :d AND slice_key = :s",
                d=line.dataset,
                s=slice_key,
            ):
                line.withdraw(slice_key)
            return
        shift = next(numbers) / 7
        bad = {"load": 0, "untrained": 0, "quarantine": 1, "reject": 5}[what]
        content = users(0, 60 + size, shift=shift, bad=bad)
        line.load(slice_key, content, trains=what != "untrained")

    events = st.tuples(
        st.sampled_from(["load", "untrained", "quarantine", "reject", "withdraw", "prune"]),
        st.sampled_from(["day_00", "day_01", "day_02"]),
        st.integers(0, 40),
    )

    @settings(max_examples=4)
    @given(st.lists(events, min_size=3, max_size=7))
    def any_life(life: list[tuple[str, str, int]]) -> None:
        for what, slice_key, size in life:
            if what == "prune":
                prune(line, 1 + size)
            else:
                happen(what, slice_key, size)
        prune(line, 400)
        well(line)
        for version in line.json("models", line.dataset):
            words = ("models", "show", version["model_name"], version["model_version"])
            traced = line.json(*words, "--verify")
            assert all(each["is_same"] for each in traced["verified"])
            assert traced["files"], "the files that its rows came in"
            loads = {each["load_id"] for each in traced["files"]}
            assert traced["load"]["landing_uri"] is None or traced["load"]["load_id"] in loads

    any_life()


def test_the_rules_leave_no_kind_out() -> None:
    assert [rule.__name__ for rule in rules.OBJECTS] == [
        "prune_staging",
        "prune_landing",
        "prune_reports",
        "prune_snapshots",
        "prune_orphans",
        "prune_uploads",
    ]
