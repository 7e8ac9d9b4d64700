from datetime import date
from typing import Any

import pytest

from tests.integration.ingestor.conftest import CUSTOMERS, DROP, ORDERS, Outcome, Shop


def rejected(outcome: Outcome) -> dict[str, Any]:
    """The event's first reason; status, event and load agree."""
    assert outcome.status == "rejected"
    ((topic, said),) = outcome.events
    assert topic == "slice-rejected"
    assert said["stage"] == "ingest"
    assert said["load_id"] == outcome.load_id
    assert said["as_of"] == "2024-03-01"
    assert said["reasons"] == outcome.load["reasons"]
    assert outcome.load["finished_at"] is not None
    return dict(said["reasons"][0])


@pytest.mark.parametrize(
    ("files", "code", "table", "column", "words"),
    [
        ({"customers.csv": CUSTOMERS}, "missing_file", "orders", None, "there: customers.csv"),
        ({}, "missing_file", None, None, "customers.csv, orders.csv is not in the slice"),
        (DROP | {"orders.csv": b""}, "empty_file", "orders", None, "orders.csv"),
        (
            DROP | {"orders.csv": b"order_id,amount,paid,at\n"},
            "missing_column",
            "orders",
            "line",
            "lacks line",
        ),
        (
            DROP | {"customers.csv": b"customer_id,customer_id,email,joined\n"},
            "duplicate_column",
            "customers",
            "customer_id",
            "more than once",
        ),
        (
            DROP | {"customers.csv": CUSTOMERS + b"c3,\xc3\xb6\xff,\n"},
            "encoding",
            "customers",
            None,
            "byte 69 (0xff) is no text in utf-8",
        ),
        (
            DROP | {"customers.csv": CUSTOMERS + b'c3,"open,\n'},
            "broken_quoting",
            "customers",
            None,
            "record 3",
        ),
        (
            {"customers.csv": CUSTOMERS, "orders.parquet": ORDERS},
            "unreadable_file",
            "orders",
            None,
            "orders.parquet",
        ),
        (
            DROP | {"orders.csv.gz": ORDERS},
            "ambiguous_file",
            "orders",
            None,
            "orders.csv, orders.csv.gz",
        ),
    ],
)
def test_file_that_can_not_be_loaded_rejects_the_slice_by_name(
    shop: Shop,
    files: dict[str, bytes],
    code: str,
    table: str | None,
    column: str | None,
    words: str,
) -> None:
    reason = rejected(shop.load(files))
    assert (reason["code"], reason["table"], reason["column"]) == (code, table, column)
    assert words in reason["message"]


def test_slice_without_the_marker_is_incomplete_where_the_spec_asks_for_it(shop: Shop) -> None:
    shop.spec["slices"]["complete_when"] = "success_marker"
    assert rejected(shop.load(DROP))["code"] == "incomplete_slice"
    assert shop.load(DROP | {"_SUCCESS": b""}).status == "loaded"


@pytest.mark.parametrize(
    ("line", "code", "column", "raw"),
    [
        (b"2,x,,,", "not_an_integer", "line", "2,x,,,"),
        (b"2,1.5,,,", "not_an_integer", "line", "2,1.5,,,"),
        (b"2,99999999999999999999,,,", "out_of_range", "line", "2,99999999999999999999,,,"),
        (b'2,1,"1,5",,', "not_a_number", "amount", '2,1,"1,5",,'),
        (b"2,1,NaN,,", "not_finite", "amount", "2,1,NaN,,"),
        (b"2,1,,perhaps,", "not_a_boolean", "paid", "2,1,,perhaps,"),
        (b"2,1,,,tomorrow", "not_a_timestamp", "at", "2,1,,,tomorrow"),
        (b",1,,,", "null_in_key", "order_id", ",1,,,"),
        (b"2,1,,", "ragged_line", None, "2,1,,"),
        (b"2,1,,,,", "ragged_line", None, "2,1,,,,"),
    ],
)
def test_bad_row_rejects_the_slice_without_a_budget_and_is_kept_with_one(
    shop: Shop, line: bytes, code: str, column: str | None, raw: str
) -> None:
    files = DROP | {"orders.csv": ORDERS + line + b"\n3,1,1,true,\n"}
    reason = rejected(shop.load(files))
    assert (reason["code"], reason["column"], reason["count"]) == (code, column, 1)
    assert reason["table"] == "orders"
    assert reason["sample"] == [raw]
    assert reason["message"].startswith("orders.csv, record 3: ")

    shop.spec["tables"]["orders"]["quarantine_budget"] = 1
    accepted = shop.load(files)
    assert (accepted.status, accepted.load["reasons"]) == ("loaded", None)
    (found,) = accepted.quarantined
    assert (found["file"], found["record_number"]) == ("orders.csv", 3)
    assert (found["column_name"], found["code"], found["raw"]) == (column, code, raw)
    assert [t["rows_quarantined"] for t in accepted.load["tables"]] == [0, 1]
    assert accepted.load["rows_in"] == accepted.load["rows_loaded"] + 1
    assert [row["record_number"] for row in shop.staged(accepted.load_id, "orders")] == [1, 2, 4]


def test_budget_as_a_share_counts_all_bad_rows(shop: Shop) -> None:
    shop.spec["tables"]["orders"]["quarantine_budget"] = "2%"
    lines = [f"{n},1,,," for n in range(98)] + ["x,1,,,", "short"]
    content = "order_id,line,amount,paid,at\n" + "\n".join(lines)
    assert shop.load(DROP | {"orders.csv": content.encode()}).status == "loaded"
    outcome = shop.load(DROP | {"orders.csv": (content + "\n7,y,,,").encode()})
    assert rejected(outcome)["count"] == 1
    assert sorted(outcome.codes) == [
        "budget_exceeded",
        "not_an_integer",
        "not_an_integer",
        "ragged_line",
    ]
    last = outcome.load["reasons"][-1]
    assert last["message"] == "3 of 101 rows are bad; the budget of 2% allows 2"


def test_all_faults_are_told_at_once_and_nothing_is_announced_as_loaded(shop: Shop) -> None:
    outcome = shop.load({"customers.csv": b"customer_id,email,joined\nc1,,x\n", "orders.csv": b""})
    assert [(r["table"], r["code"]) for r in outcome.load["reasons"]] == [
        ("orders", "empty_file"),
        ("customers", "not_a_date"),
        ("customers", "budget_exceeded"),
    ]
    assert [t["table"] for t in outcome.load["tables"]] == ["customers"]
    assert len(outcome.quarantined) == 1
    assert shop.staged(outcome.load_id, "customers") == []  # kept for inspection


def test_accepted_slice_never_has_rows_that_were_not_kept(shop: Shop) -> None:
    shop.settings = shop.settings.model_copy(update={"quarantine_rows_kept": 2})
    shop.spec["tables"]["orders"]["quarantine_budget"] = 100
    files = DROP | {"orders.csv": ORDERS + b"x,1,,,\nx,2,,,\n"}
    assert shop.load(files).status == "loaded"
    outcome = shop.load(DROP | {"orders.csv": ORDERS + b"x,1,,,\nx,2,,,\nx,3,,,\n"})
    assert outcome.codes == ["not_an_integer", "budget_exceeded"]
    assert len(outcome.quarantined) == 2
    assert outcome.load["rows_quarantined"] == 3
    assert "no more than 2 can be kept" in outcome.load["reasons"][1]["message"]


REPEATED = b"order_id,line,amount,paid,at\n1,1,1,,\n1,2,2,,\n1,1,3,,\n2,1,4,,\n1,1,5,,\n"


def test_duplicate_keys_reject_the_slice_and_all_but_the_last_are_named(shop: Shop) -> None:
    shop.spec["tables"]["orders"]["quarantine_budget"] = 10
    outcome = shop.load(DROP | {"orders.csv": REPEATED})
    reason = rejected(outcome)
    assert (reason["code"], reason["column"], reason["count"]) == (
        "duplicate_key",
        "order_id, line",
        2,
    )
    assert outcome.codes == ["duplicate_key"]
    assert [(q["record_number"], q["reason"], q["raw"]) for q in outcome.quarantined] == [
        (1, "the key comes again in record 5", "1,1,1,,"),
        (3, "the key comes again in record 5", "1,1,3,,"),
    ]


def test_duplicate_keys_count_towards_the_budget_where_the_last_is_kept(shop: Shop) -> None:
    shop.spec["tables"]["orders"] |= {"duplicates": "keep_last", "quarantine_budget": 1}
    assert shop.load(DROP | {"orders.csv": REPEATED}).codes == ["duplicate_key", "budget_exceeded"]
    shop.spec["tables"]["orders"]["quarantine_budget"] = 2
    outcome = shop.load(DROP | {"orders.csv": REPEATED})
    assert outcome.status == "loaded"
    assert (outcome.load["rows_in"], outcome.load["rows_quarantined"]) == (7, 2)
    staged = shop.staged(outcome.load_id, "orders")
    assert [(row["record_number"], row["amount"]) for row in staged] == [(2, 2), (4, 4), (5, 5)]


@pytest.mark.parametrize("keys", [["c1", "c1"], ["c1", "c2", "c1"], ["c2", "c1", "c2"]])
def test_duplicate_is_found_wherever_it_stands(shop: Shop, keys: list[str]) -> None:
    # Blocks of 4 KiB: the second lies in another batch than the first.
    filler = [f"d{n:05d}" for n in range(1000)]
    lines = [f"{key},," for key in [keys[0], *filler, *keys[1:]]]
    content = ("customer_id,email,joined\n" + "\n".join(lines)).encode()
    shop.settings = shop.settings.model_copy(update={"csv_block_bytes": 4096})
    outcome = shop.load(DROP | {"customers.csv": content})
    assert outcome.codes == ["duplicate_key", "budget_exceeded"]
    assert outcome.quarantined[0]["record_number"] == 1


def test_rows_quarantined_for_their_values_are_no_duplicates(shop: Shop) -> None:
    shop.spec["tables"]["orders"]["quarantine_budget"] = 1
    outcome = shop.load(DROP | {"orders.csv": ORDERS + b"1,1,bad,,\n"})
    assert outcome.status == "loaded"
    assert [q["code"] for q in outcome.quarantined] == ["not_a_number"]


def test_same_content_again_changes_nothing_and_says_so(shop: Shop) -> None:
    first = shop.load(DROP)
    while_in_progress = shop.load(DROP)
    shop.publish(first)
    published = shop.load(DROP)
    for outcome in (while_in_progress, published):
        assert (outcome.status, outcome.events) == ("unchanged", [])
        assert outcome.load["revision"] == 1
        assert outcome.load["finished_at"] is not None


def test_same_content_at_another_date_or_in_another_slice_is_loaded(shop: Shop) -> None:
    shop.publish(shop.load(DROP))
    assert shop.load(DROP, slice_key="day_01").status == "loaded"
    corrected = shop.load(DROP, as_of=date(2024, 2, 29))
    assert (corrected.status, corrected.load["revision"]) == ("loaded", 2)


def test_other_content_is_the_next_revision_and_old_content_after_it_too(shop: Shop) -> None:
    other = DROP | {"orders.csv": ORDERS + b"2,1,,,\n"}
    shop.publish(shop.load(DROP))
    second = shop.load(other)
    assert (second.status, second.load["revision"]) == ("loaded", 2)
    # The second one is on its way, so the published content is news again.
    third = shop.load(DROP)
    assert (third.status, third.load["revision"]) == ("loaded", 3)
    shop.publish(third)
    shop.run("UPDATE headrace.loads SET status = 'rejected' WHERE status = 'loaded'")
    assert shop.load(DROP).status == "unchanged"


def test_rejected_slice_is_tried_again_with_the_same_content(shop: Shop) -> None:
    files = DROP | {"orders.csv": ORDERS + b"2,x,,,\n"}
    assert shop.load(files).status == "rejected"
    again = shop.load(files)
    assert (again.status, again.load["revision"]) == ("rejected", 2)
    shop.spec["tables"]["orders"]["quarantine_budget"] = 1
    assert shop.load(files).status == "loaded"
