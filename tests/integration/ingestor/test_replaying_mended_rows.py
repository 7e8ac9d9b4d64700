"""Quarantined rows go out as a sheet and come back as a correction of their slice."""

import csv
import gzip
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from services.ingestor.mending.rewriting import CanNotBeWritten
from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.spec_file import find_spec
from shared.errors import InconsistentState
from shared.mending.correction import LoadedSince, correction_request, keep_mended, mended_rows
from shared.mending.exporting import Export, export
from shared.mending.landed import LandedSlice, NotMendable, find_load
from shared.mending.sheet import ACTION, RECORD, Sheet, read_sheet, write_sheet
from shared.object_store import ObjectUri
from tests.integration.ingestor.catalogue import table, use_catalogue
from tests.integration.ingestor.conftest import DROP, ORDERS, Outcome, Shop

BAD = ORDERS + b"x,1,7,,\n2,1,,,\n3,1,nine,,\n"


@pytest.fixture
def lenient(shop: Shop) -> Shop:
    shop.spec["tables"]["orders"]["quarantine_budget"] = 2
    return shop


def exported(shop: Shop, outcome: Outcome) -> Export:
    with (
        shop.engine.connect() as connection,
        tempfile.TemporaryDirectory() as directory,
    ):
        load = find_load(connection, outcome.load_id)
        spec = find_spec(shop.settings.datasets_dir, shop.spec["dataset"])
        landed = LandedSlice.of(
            spec, load, shop.store, Path(directory), shop.settings.csv_block_bytes
        )
        return export(connection, load, landed)


def mend(sheet: Sheet, edits: Mapping[int, Mapping[str, str]]) -> bytes:
    """The sheet with cells changed, by record."""
    text = write_sheet(sheet).decode("utf-8-sig")
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    for line in lines:
        line.update(edits.get(int(line[RECORD]), {}))
    out = io.StringIO(newline="")
    rows = csv.DictWriter(out, lines[0].keys())
    rows.writeheader()
    rows.writerows(lines)
    return out.getvalue().encode()


def correct(shop: Shop, outcome: Outcome, *edits: Mapping[int, Mapping[str, str]]) -> Outcome:
    """Mend rows of the load's sheets, in their order, and load what comes of it."""
    sheets = exported(shop, outcome).sheets
    read = [
        row
        for sheet, changes in zip(sheets, edits, strict=True)
        for row in read_sheet("s.csv", mend(sheet, changes))
    ]
    with shop.engine.connect() as connection:
        base = find_load(connection, outcome.load_id)
        uri = keep_mended(shop.store, base, mended_rows(sheets, read))
        payload = correction_request(connection, base, [uri], requested_by="test")
    return shop.handle(Event(payload=payload, source="test", time=utc_now()))


def landed_file(shop: Shop, outcome: Outcome, name: str) -> bytes:
    return shop.store.get_bytes(ObjectUri.parse(outcome.load["landing_uri"]).child(name))


def test_mended_rows_are_a_new_revision_with_what_came_and_nothing_else(lenient: Shop) -> None:
    first = lenient.load(DROP | {"orders.csv": BAD})
    assert (first.status, first.load["rows_quarantined"]) == ("loaded", 2)
    lenient.publish(first)
    (sheet,) = exported(lenient, first).sheets
    assert sheet.header == ("order_id", "line", "amount", "paid", "at")
    assert [(row.record, row.columns, row.codes) for row in sheet.rows] == [
        (3, ("order_id",), ("not_an_integer",)),
        (5, ("amount",), ("not_a_number",)),
    ]
    assert sheet.rows[1].fields == ("3", "1", "nine", "", "")

    mended = correct(lenient, first, {3: {"order_id": "4"}, 5: {"amount": "9.5"}})

    assert (mended.status, mended.load["revision"]) == ("loaded", 2)
    assert (mended.load["rows_in"], mended.load["rows_loaded"]) == (7, 7)
    assert landed_file(lenient, mended, "orders.csv") == BAD.replace(b"x,1", b"4,1").replace(
        b"nine", b"9.5"
    )
    assert landed_file(lenient, mended, "customers.csv") == DROP["customers.csv"]
    assert mended.load["as_of"] == first.load["as_of"]
    assert (mended.load["kind"], mended.load["corrects"]) == ("correction", first.load_id)
    assert mended.load["source_uri"] == first.load["source_uri"]
    [(topic, event)] = mended.events
    assert (topic, event["revision"]) == ("slice-loaded", 2)


def test_doing_it_twice_changes_nothing(lenient: Shop) -> None:
    first = lenient.load(DROP | {"orders.csv": BAD})
    lenient.publish(first)
    edits = {3: {"order_id": "4"}}
    mended = correct(lenient, first, edits)
    under_way = correct(lenient, first, edits)
    lenient.publish(mended)
    again = correct(lenient, first, edits)
    for outcome in (under_way, again):
        assert (outcome.status, outcome.load["revision"], outcome.events) == ("unchanged", 2, [])


def test_what_is_still_bad_is_in_quarantine_again_and_every_row_is_accounted_for(
    lenient: Shop,
) -> None:
    first = lenient.load(DROP | {"orders.csv": BAD})
    lenient.publish(first)
    mended = correct(lenient, first, {3: {"order_id": "four"}, 5: {"amount": "9.5"}})
    load = mended.load
    assert (load["rows_in"], load["rows_loaded"], load["rows_quarantined"]) == (7, 6, 1)
    assert [(q["record_number"], q["raw"]) for q in mended.quarantined] == [(3, "four,1,7,,")]
    lenient.publish(mended)
    last = correct(lenient, mended, {3: {"order_id": "4"}})
    assert (last.status, last.load["rows_quarantined"]) == ("loaded", 0)
    assert last.load["corrects"] == mended.load_id


def test_a_slice_that_was_rejected_for_its_budget_is_mended_the_same_way(shop: Shop) -> None:
    first = shop.load(DROP | {"orders.csv": BAD})
    assert (first.status, first.codes[-1]) == ("rejected", "budget_exceeded")
    still = correct(shop, first, {3: {"order_id": "4"}})
    assert (still.status, still.load["rows_quarantined"]) == ("rejected", 1)
    both = correct(shop, first, {5: {"amount": "9.5"}})
    assert (both.status, both.load["rows_quarantined"]) == ("loaded", 0), "sheets add up"
    assert both.load["correction"]["rows"] == 2


def test_rows_are_left_out_where_a_person_says_so(shop: Shop) -> None:
    repeated = b"order_id,line,amount,paid,at\n1,1,1,,\n1,2,2,,\n1,1,3,,\n"
    first = shop.load(DROP | {"orders.csv": repeated})
    assert first.codes == ["duplicate_key", "budget_exceeded"]
    mended = correct(shop, first, {1: {ACTION: "drop"}})
    assert (mended.status, mended.load["rows_in"], mended.load["rows_quarantined"]) == (
        "loaded",
        4,
        0,
    )
    assert [row["amount"] for row in shop.staged(mended.load_id, "orders")] == [2, 3]
    assert mended.load["correction"]["left_out"] == 1


def test_bad_rows_of_two_files_are_two_sheets_of_one_load(lenient: Shop) -> None:
    customers = b"customer_id,email,joined\nc1,,soon\nc2,,2024-01-02\n"
    lenient.spec["tables"]["customers"]["quarantine_budget"] = 1
    first = lenient.load({"customers.csv": customers, "orders.csv": BAD})
    names = [sheet.file for sheet in exported(lenient, first).sheets]
    assert names == ["customers.csv", "orders.csv"]
    lenient.publish(first)
    mended = correct(lenient, first, {1: {"joined": "2024-01-01"}}, {3: {"order_id": "4"}})
    assert (mended.status, mended.load["rows_quarantined"]) == ("loaded", 1)


def test_ragged_lines_stay_bad_until_they_are_mended(lenient: Shop) -> None:
    ragged = ORDERS + b"7,1\n8,1,5,true,2024-03-01T10:00:00Z,more\n"
    first = lenient.load(DROP | {"orders.csv": ragged})
    assert {q["code"] for q in first.quarantined} == {"ragged_line"}
    lenient.publish(first)
    mended = correct(
        lenient, first, {3: {ACTION: "take"}, 4: {"headrace_surplus_1": "", "amount": "6"}}
    )
    assert mended.load["rows_quarantined"] == 0
    lines = landed_file(lenient, mended, "orders.csv").splitlines()
    assert lines[-2:] == [b"7,1,,,", b"8,1,6,true,2024-03-01T10:00:00Z"]


def test_encoding_and_compression_stay_those_of_the_file(lenient: Shop) -> None:
    customers = lenient.spec["tables"]["customers"]
    customers |= {
        "file": "customers.csv.gz",
        "quarantine_budget": 1,
        "format": {"encoding": "latin-1", "delimiter": ";"},
    }
    content = 'customer_id;email;joined\r\nc1;jörg@x.org;soon\r\nc2;"a;b";\r\n'.encode("latin-1")
    files = {"customers.csv.gz": gzip.compress(content), "orders.csv": ORDERS}
    first = lenient.load(files)
    assert first.load["rows_quarantined"] == 1
    lenient.publish(first)
    mended = correct(lenient, first, {1: {"joined": "2024-01-01", "email": "jürgen@x.org"}})
    written = gzip.decompress(landed_file(lenient, mended, "customers.csv.gz"))
    assert written == content.replace(b"soon", b"2024-01-01").replace(b"j\xf6rg", b"j\xfcrgen")
    with pytest.raises(CanNotBeWritten, match="'€' can't be written in latin-1"):
        correct(lenient, first, {1: {"email": "€"}})


def test_rows_of_a_parquet_file_keep_the_types_of_its_columns(lenient: Shop) -> None:
    lenient.spec["tables"]["orders"] |= {"file": "orders.parquet"}
    rows = pa.table(
        {
            "order_id": pa.array([1, 2, 3], pa.int32()),
            "line": pa.array([1, None, 1], pa.int64()),
            "amount": pa.array(["9", "", "nine"]),
            "note": pa.array([b"x", None, b"y"]),
        }
    )
    lenient.spec["tables"]["orders"]["columns"] |= {
        name: {"type": kind, "optional": True}
        for name, kind in (("paid", "boolean"), ("at", "timestamp"))
    }
    sink = io.BytesIO()
    parquet.write_table(rows, sink, row_group_size=2)
    files = {"customers.csv": DROP["customers.csv"], "orders.parquet": sink.getvalue()}
    lenient.spec["tables"]["orders"]["quarantine_budget"] = 3
    first = lenient.load(files)
    bad = {q["record_number"] for q in first.quarantined}
    assert bad >= {2, 3}
    lenient.publish(first)
    with pytest.raises(CanNotBeWritten, match="record 2: 'one' is no int64"):
        correct(lenient, first, {2: {"line": "one"}})
    mended = correct(lenient, first, {2: {"line": "4", "amount": "1"}, 3: {"amount": "9"}})
    assert mended.load["rows_quarantined"] == 0
    found = parquet.read_table(io.BytesIO(landed_file(lenient, mended, "orders.parquet")))
    assert found.schema == rows.schema
    assert found.to_pydict() == {
        "order_id": [1, 2, 3],
        "line": [1, 4, 1],
        "amount": ["9", "1", "9"],
        "note": [b"x", None, b"y"],
    }


def test_a_slice_by_share_keeps_its_rows_and_joined_values_are_mended_in_their_file(
    shop: Shop,
) -> None:
    goods = use_catalogue(shop)
    products = [[n, f"title {n}", "", 100 + n] for n in range(10)]
    products[2][3] = "no number"
    files = {
        "X.csv": table(["", "title", "text", "sku"], products),
        "Y.csv": table(["", "class"], [[n, "old" if n == 1 else n] for n in range(10)]),
    }
    first = goods.handle(goods.event(goods.write(files), "40%"))
    assert (first.status, first.load["rows_quarantined"]) == ("loaded", 3)
    goods.publish(first)
    found = exported(goods, first)
    sheets, missing = found.sheets, found.missing
    assert missing == ()
    assert [(s.file, [(r.record, r.tables) for r in s.rows]) for s in sheets] == [
        ("X.csv", [(3, ("products", "labels"))]),
        ("Y.csv", [(2, ("labels",))]),
    ]
    mended = correct(goods, first, {3: {"sku": "102"}}, {2: {"class": "7"}})
    assert (mended.status, mended.load["rows_quarantined"]) == ("loaded", 0)
    assert (mended.load["first_row"], mended.load["end_row"]) == (0, 4)
    assert mended.load["percentage"] == 40
    goods.publish(mended)
    following = goods.handle(goods.event(goods.folder / "drop", "70%"))
    assert (following.load["first_row"], following.load["end_row"]) == (4, 7)


def test_rows_of_a_load_that_is_not_its_slices_newest_are_refused(lenient: Shop) -> None:
    first = lenient.load(DROP | {"orders.csv": BAD})
    lenient.publish(first)
    lenient.publish(lenient.load(DROP | {"orders.csv": ORDERS}))
    with pytest.raises(LoadedSince, match="was loaded again since"):
        correct(lenient, first, {3: {"order_id": "4"}})


def test_a_correction_of_another_slice_is_refused(lenient: Shop) -> None:
    first = lenient.load(DROP | {"orders.csv": BAD})
    with lenient.engine.connect() as connection:
        base = find_load(connection, first.load_id)
        payload = correction_request(connection, base, [], requested_by="test")
    other = payload.model_copy(update={"slice_key": "day_01"})
    with pytest.raises(
        InconsistentState, match="is of shop/day_00, its correction says shop/day_01"
    ):
        lenient.handle(Event(payload=other, source="test", time=utc_now()))


def test_what_was_mended_is_told_apart_from_what_could_not_be_kept(lenient: Shop) -> None:
    lenient.settings = lenient.settings.model_copy(update={"quarantine_rows_kept": 1})
    found = exported(lenient, lenient.load(DROP | {"orders.csv": BAD}))
    assert [len(sheet.rows) for sheet in found.sheets] == [1]
    assert found.missing[0].startswith("1 more rows are bad")


def test_rows_of_a_slice_that_never_landed_or_was_pruned_are_told(lenient: Shop) -> None:
    refused = lenient.load({"orders.csv": ORDERS})
    with pytest.raises(NotMendable, match="refused before its files landed"):
        exported(lenient, refused)
    first = lenient.load(DROP | {"orders.csv": BAD})
    lenient.run("UPDATE headrace.loads SET landing_pruned_at = now()")
    with pytest.raises(NotMendable, match="were pruned on"):
        exported(lenient, first)


def test_pictures_of_a_correction_are_looked_for_where_the_slice_was(lenient: Shop) -> None:
    lenient.spec["tables"]["customers"]["images"] = {"file": "{customer_id}.png"}
    first = lenient.load(DROP | {"orders.csv": BAD, "c1.png": b"picture"})
    lenient.publish(first)
    mended = correct(lenient, first, {3: {"order_id": "4"}})
    counts: dict[str, Any] = mended.load["images"]["customers"]
    assert (counts["present"], counts["missing"]) == (1, 1)
