"""The real drops, end to end: what is written, what is not, and what is refused.

The tests stand in the order of the story: January, everything that is wrong with a February, then
February itself.
"""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.object_store import Bucket, ObjectStore
from tests.csv_rows import change
from tests.e2e.conftest import Headrace
from tests.waiting import wait_until

ROWS = 7043
TABLES = (
    "users",
    "subscriptions",
    "usage_agg_30d",
    "payments_agg_90d",
    "support_agg_90d",
    "labels",
)
Copy = Callable[..., Path]


def state(headrace: Headrace) -> list[Any]:
    """What a refused drop must leave alone."""
    counts = [
        headrace.query(f"SELECT count(*), max(as_of) FROM streamflow.{table}{suffix}")
        for table in TABLES
        for suffix in ("", "_history", "_snapshots")
    ]
    control = ("snapshots", "training_datasets", "promotions", "slices")
    counts += [
        headrace.query(f"SELECT count(*) FROM headrace.{table} WHERE dataset = 'streamflow'")
        for table in control
    ]
    prints = [
        headrace.scalar(
            f"SELECT md5(string_agg(t::text, '' ORDER BY user_id)) FROM streamflow.{t} t"
        )
        for t in TABLES
    ]
    return [counts, prints]


def test_january_inserts_every_row_and_its_model_becomes_champion(
    headrace: Headrace, drops: Path
) -> None:
    done = headrace.json("load", "streamflow", "--from", str(drops), "--wait")

    assert (done["rows_in"], done["rows_loaded"], done["rows_quarantined"]) == (
        6 * ROWS,
        6 * ROWS,
        0,
    )
    inserted = {"inserted": ROWS, "updated": 0, "unchanged": 0, "deleted": 0}
    assert done["changes"] == dict.fromkeys(TABLES, inserted)
    assert done["promoted"] is True
    (model,) = headrace.json("models", "streamflow")
    assert model["metrics"]["roc_auc"] >= 0.83
    assert (model["decision"], str(model["as_of"])) == ("first_champion", "2024-01-31")


def test_empty_plans_are_null_and_neither_false_nor_true(headrace: Headrace, drops: Path) -> None:
    for column in ("plan_stream_tv", "plan_stream_movies"):
        counted = headrace.query(
            f"SELECT {column}, count(*) FROM streamflow.subscriptions GROUP BY 1"
        )
        assert dict(map(tuple, counted))[None] == 1526
        assert sum(dict(map(tuple, counted)).values()) == ROWS


def set_cell(file: str, row: int, column: str, value: str) -> Callable[[Path], None]:
    def spoil(drop: Path) -> None:
        change(drop / file, lambda rows: rows[row].update({column: value}))

    return spoil


def add_stranger(drop: Path) -> None:
    change(
        drop / "labels.csv",
        lambda rows: rows.append({"user_id": "0000-NOONE", "churn_label": "True"}),
    )


def drop_file(drop: Path) -> None:
    (drop / "usage_agg_30d.csv").unlink()


def ragged(drop: Path) -> None:
    lines = (drop / "labels.csv").read_text().splitlines(keepends=True)
    lines[3] = "3668-QPYBK,True,surplus\n"
    (drop / "labels.csv").write_text("".join(lines))


def empty(drop: Path) -> None:
    (drop / "payments_agg_90d.csv").write_bytes(b"")


def utf16(drop: Path) -> None:
    said = (drop / "users.csv").read_text()
    (drop / "users.csv").write_bytes(b"\xff\xfe" + said.encode("utf-16-le") + b"\x00")


def duplicate_key(drop: Path) -> None:
    change(drop / "users.csv", lambda rows: rows.append(dict(rows[0])))


SPOILED = {
    "negative hours": (
        set_cell("usage_agg_30d.csv", 6, "watch_hours_30d", "-4.5"),
        "validate",
        "expect_column_values_to_be_between",
        ["usage_agg_30d", "watch_hours_30d", "1452-KIOVK"],
    ),
    "null key": (
        set_cell("users.csv", 4, "user_id", ""),
        "ingest",
        "null_in_key",
        ["users", "user_id"],
    ),
    "a user in labels who exists nowhere": (
        add_stranger,
        "validate",
        "headrace_foreign_key",
        ["labels", "user_id", "0000-NOONE"],
    ),
    "missing file": (drop_file, "ingest", "missing_file", ["usage_agg_30d"]),
    "text in a number": (
        set_cell("usage_agg_30d.csv", 2, "skips_7d", "many"),
        "ingest",
        "not_an_integer",
        ["usage_agg_30d", "skips_7d", "many"],
    ),
    "ragged line": (ragged, "ingest", "ragged_line", ["labels", "surplus"]),
    "empty file": (empty, "ingest", "empty_file", ["payments_agg_90d"]),
    "another encoding": (utf16, "ingest", "encoding", ["users"]),
    "a key twice": (duplicate_key, "ingest", "duplicate_key", ["users", "7590-VHVEG"]),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_a_spoiled_february_is_refused_by_name_and_changes_nothing(
    headrace: Headrace, drops: Path, copy_drop: Copy, fault: str
) -> None:
    spoil, stage, code, named = SPOILED[fault]
    folder = copy_drop(drops / "month_001")
    spoil(folder)
    before = state(headrace)

    said = headrace.run("load", "streamflow", "--from", str(folder), "--wait", code=1)

    assert state(headrace) == before
    for word in named:
        assert word in said, said
    (slice_row,) = [
        s
        for s in headrace.json("slices")
        if s["slice_key"] == "month_001" and s["dataset"] == "streamflow"
    ]
    assert slice_row["status"] == "rejected"
    assert code in {reason["code"] for reason in slice_row["reasons"]}
    for word in named:
        assert word in headrace.run("rejects", slice_row["load_id"])
    (event,) = [
        e
        for e in headrace_events(headrace)
        if e["topic"] == "slice-rejected" and e["payload"]["load_id"] == slice_row["load_id"]
    ]
    assert event["payload"]["stage"] == stage
    assert code in {reason["code"] for reason in event["payload"]["reasons"]}


def headrace_events(headrace: Headrace) -> list[dict[str, Any]]:
    import json

    return [json.loads(line) for line in headrace.run("events", "--json").splitlines()]


def test_february_writes_only_what_changed(headrace: Headrace, drops: Path) -> None:
    done = headrace.json("load", "streamflow", "--from", str(drops), "--wait")

    unchanged = {"inserted": 0, "updated": 0, "unchanged": ROWS, "deleted": 0}
    assert done["changes"]["users"] == done["changes"]["subscriptions"] == unchanged
    assert done["changes"]["usage_agg_30d"] == unchanged | {"updated": ROWS, "unchanged": 0}
    assert done["changes"]["labels"]["updated"] == 2652
    for table in TABLES:
        written = sum(done["changes"][table][what] for what in ("inserted", "updated", "deleted"))
        assert written == headrace.scalar(
            f"SELECT count(*) FROM streamflow.{table}_history WHERE as_of = '2024-02-29'"
        )


def test_snapshots_of_both_dates_are_there_by_user_and_date(
    headrace: Headrace, drops: Path
) -> None:
    for table in TABLES:
        found = headrace.query(
            f"""
            SELECT as_of, count(*), count(DISTINCT user_id)
            FROM streamflow.{table}_snapshots GROUP BY as_of ORDER BY as_of
            """
        )
        assert [(str(row[0]), row[1], row[2]) for row in found] == [
            ("2024-01-31", ROWS, ROWS),
            ("2024-02-29", ROWS, ROWS),
        ]


@pytest.mark.parametrize("month", ["month_000", "month_001"])
def test_loading_a_month_again_writes_not_one_row_and_no_model_version(
    headrace: Headrace, drops: Path, month: str
) -> None:
    before = state(headrace)
    models = headrace.json("models", "streamflow")

    done = headrace.json("load", "streamflow", "--slice", month, "--from", str(drops), "--wait")

    assert done["status"] == "unchanged"
    assert state(headrace) == before
    assert headrace.json("models", "streamflow") == models


def test_january_again_after_february_gives_the_same_dataset_and_metrics(
    headrace: Headrace, drops: Path
) -> None:
    january = headrace.json("models", "streamflow")[0]
    (event,) = [
        e
        for e in headrace_events(headrace)
        if e["topic"] == "snapshotted"
        and e["payload"]["dataset"] == "streamflow"
        and e["payload"]["as_of"] == "2024-01-31"
    ]

    headrace.run("replay", event["headers"]["ce_id"])

    def again() -> list[Any]:
        return headrace.json("models", "streamflow")[2:]

    (replayed,) = wait_until(again, seconds=60)
    assert replayed["dataset_version"] == january["dataset_version"]
    assert replayed["metrics"] == january["metrics"]
    assert replayed["model_version"] == january["model_version"], "no second version"
    assert replayed["run_id"] != january["run_id"], "it was trained again"


def test_a_month_goes_from_event_to_model_in_time_and_hops_are_short(
    headrace: Headrace, drops: Path, copy_drop: Copy, record_property: Callable[[str, Any], None]
) -> None:
    folder = copy_drop(drops / "month_001", "month_002")
    with (folder / "labels.csv").open("rb") as plain:
        (folder / "labels.csv.gz").write_bytes(gzip.compress(plain.read()))
    (folder / "labels.csv").unlink()

    done = headrace.json(
        "load", "streamflow", "--slice", "month_002", "--from", str(folder), "--wait"
    )

    load_id = done["load_id"]
    seconds = headrace.scalar(
        """
        SELECT extract(epoch FROM max(p.decided_at) - max(l.requested_at))
        FROM headrace.promotions AS p JOIN headrace.loads AS l USING (load_id)
        WHERE load_id = :load
        """,
        load=load_id,
    )
    hops = dict(
        map(
            tuple,
            headrace.query(
                """
                SELECT stage, extract(epoch FROM started_at - event_time)
                FROM headrace.stage_runs WHERE load_id = :load
                """,
                load=load_id,
            ),
        )
    )
    record_property("seconds_from_event_to_model", float(seconds))
    record_property("hops_in_seconds", {stage: float(hop) for stage, hop in hops.items()})
    print(
        f"\nevent to model {seconds:.2f} s; hops", {s: round(float(h), 3) for s, h in hops.items()}
    )
    assert done["promoted"] is not None
    assert seconds < 15
    assert sorted(hops.values())[len(hops) // 2] < 0.25


def test_every_object_that_a_snapshot_names_is_there(headrace: Headrace, drops: Path) -> None:
    store = ObjectStore(headrace.settings)
    for bucket in (Bucket.LANDING, Bucket.REPORTS, Bucket.SNAPSHOTS, Bucket.DATASETS):
        assert store.list(store.uri(bucket, "streamflow/")), bucket


def test_a_person_can_promote_a_version_and_one_command_takes_it_back(
    headrace: Headrace, drops: Path
) -> None:
    before = headrace.json("models", "streamflow")
    champion = next(row["model_version"] for row in before if row["promoted"])
    other = next(row["model_version"] for row in before if row["model_version"] != champion)

    assert f"version {other} is the champion" in headrace.run(
        "models", "promote", "streamflow_churn", other, "--reason", "a trial"
    )
    assert f"version {champion} is the champion" in headrace.run(
        "models", "rollback", "streamflow_churn"
    )

    decisions = [row["decision"] for row in headrace.json("models", "streamflow")]
    assert decisions[len(before) :] == ["promoted_by_hand", "rolled_back"]
    refused = headrace.run("models", "promote", "streamflow_churn", "99", code=1)
    assert "no version 99" in refused
