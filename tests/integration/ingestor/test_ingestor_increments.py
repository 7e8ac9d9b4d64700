"""Slices by share: which rows are taken, joined and accounted for."""

import gzip
import io
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet
import pytest

from shared.errors import PermanentError
from shared.object_store import Bucket, ObjectUri
from tests.integration.ingestor.catalogue import (
    accounted,
    catalogue,
    labels,
    products,
    rows_of,
    sku,
    table,
    use_catalogue,
    x_file,
    y_file,
)
from tests.integration.ingestor.conftest import Outcome, Shop


@pytest.fixture
def goods(shop: Shop) -> Shop:
    return use_catalogue(shop)


def keys(shop: Shop, outcome: Outcome, name: str = "products") -> list[int]:
    return [row["sku"] for row in shop.staged(outcome.load_id, name)]


def load(shop: Shop, slice_key: str, files: dict[str, bytes] | None = None) -> Outcome:
    folder = shop.folder / "drop" if files is None else shop.write(files)
    return shop.handle(shop.event(folder, slice_key))


def test_slices_follow_one_another_to_the_whole(goods: Shop) -> None:
    rows = 1_001
    found: list[int] = []
    goods.write(catalogue(rows))
    for percent in (40, 43, 97, 100):
        outcome = load(goods, f"{percent}%")
        assert (outcome.status, outcome.codes) == ("loaded", [])
        assert rows_of(outcome) == (len(found), rows * percent // 100, rows)
        assert outcome.load["percentage"] == percent
        taken = keys(goods, outcome)
        assert keys(goods, outcome, "labels") == taken
        assert [t[1:] for t in accounted(outcome)] == [(len(taken), len(taken), 0)] * 2
        found += taken
        goods.publish(outcome)
    assert found == [sku(row) for row in range(rows)]


def test_values_are_those_of_the_source_and_labels_are_joined(goods: Shop) -> None:
    goods.publish(load(goods, "40%", catalogue(500)))
    outcome = load(goods, "43%")
    texts = goods.staged(outcome.load_id, "products")
    classes = goods.staged(outcome.load_id, "labels")
    assert [row["record_number"] for row in texts] == list(range(201, 216))
    for row, title, text, key in products(500)[200:215]:
        assert texts[row - 200] == {  # type: ignore[operator]
            "sku": key, "title": title, "text": text or None, "record_number": row + 1,  # type: ignore[operator]
        }  # fmt: skip
        assert classes[row - 200]["class"] == row % 27  # type: ignore[operator]
        assert classes[row - 200]["sku"] == key  # type: ignore[operator]


def test_landing_has_the_part_that_was_loaded_byte_by_byte(goods: Shop) -> None:
    files = catalogue(500)
    goods.publish(load(goods, "40%", files))
    outcome = load(goods, "43%")
    prefix = ObjectUri.parse(outcome.load["landing_uri"])
    assert prefix.key.startswith("goods/43%/")
    assert goods.store.get_bytes(prefix.child("X.csv")) == x_file(products(500)[200:215])
    assert goods.store.get_bytes(prefix.child("Y.csv")) == y_file(labels(500)[200:215])


def test_slices_are_taken_from_the_store(goods: Shop) -> None:
    prefix = goods.store.uri(Bucket.LANDING, "catalogue")
    for name, content in catalogue(500).items():
        goods.store.put_bytes(prefix.child(name), content, content_type="text/csv")
    first = goods.handle(goods.event(prefix, "40%"))
    second = goods.handle(goods.event(f"{prefix}/", "43%"))
    assert keys(goods, first) + keys(goods, second) == [sku(row) for row in range(215)]
    assert keys(goods, second, "labels") == keys(goods, second)
    # A file that was put anew is another one, whatever the index said.
    grown = catalogue(1_000, changed=range(1_000))
    for name, content in grown.items():
        goods.store.put_bytes(prefix.child(name), content, content_type="text/csv")
    third = goods.handle(goods.event(prefix, "46%"))
    assert keys(goods, third) == [sku(row) for row in range(215, 460)]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("at_end", [True, False])
def test_line_ends_do_not_matter_nor_their_lack_at_the_end(
    goods: Shop, line_end: str, at_end: bool
) -> None:
    plain = {
        "X.csv": "\n".join([",title,text,sku", *(f"{n},t{n},,{n}" for n in range(200))]),
        "Y.csv": "\n".join([",class", "", *(f"{n},1\n" for n in range(200))]),  # blank lines
    }
    end = line_end if at_end else ""
    goods.write({n: (c.replace("\n", line_end) + end).encode() for n, c in plain.items()})
    found = [load(goods, key) for key in ("40%", "99%", "100%")]
    assert [keys(goods, outcome) for outcome in found] == [
        list(range(80)), list(range(80, 198)), [198, 199],
    ]  # fmt: skip
    assert keys(goods, found[2], "labels") == [198, 199]


def test_slice_loaded_again_is_unchanged_and_from_changed_files_a_revision(goods: Shop) -> None:
    goods.publish(load(goods, "40%", catalogue(500)))
    goods.publish(load(goods, "43%"))
    goods.publish(load(goods, "46%"))
    again = load(goods, "43%")
    assert (again.status, again.events) == ("unchanged", [])
    mended = load(goods, "43%", catalogue(500, changed=[205]))
    assert (mended.status, mended.load["revision"]) == ("loaded", 2)
    assert rows_of(mended) == (200, 215, 500)
    titles = [row["title"] for row in goods.staged(mended.load_id, "products")]
    assert [title.endswith("!") for title in titles].index(True) == 5
    # What changed outside of its rows is not this slice's.
    goods.publish(mended)
    assert load(goods, "43%", catalogue(500, changed=[100, 205, 300])).status == "unchanged"


def test_products_that_come_again_in_a_later_slice_are_rows_like_any_other(goods: Shop) -> None:
    rows = products(500)
    for row in (200, 207):
        rows[row][3] = sku(row - 150)  # known since the first slice, with another text
    goods.write({"X.csv": x_file(rows), "Y.csv": y_file(labels(500))})
    goods.publish(load(goods, "40%"))
    outcome = load(goods, "43%")
    assert outcome.status == "loaded"
    assert accounted(outcome) == [("products", 15, 15, 0), ("labels", 15, 15, 0)]
    assert {sku(50), sku(57)} < set(keys(goods, outcome))


def test_source_that_grows_between_loads_leaves_no_gap_and_repeats_no_row(goods: Shop) -> None:
    first = load(goods, "40%", catalogue(500))
    second = load(goods, "43%", catalogue(800))
    third = load(goods, "100%", catalogue(801))
    assert [rows_of(o) for o in (first, second, third)] == [
        (0, 200, 500), (200, 344, 800), (344, 801, 801),
    ]  # fmt: skip
    found = [key for outcome in (first, second, third) for key in keys(goods, outcome)]
    assert found == [sku(row) for row in range(801)]


def test_rejected_slice_does_not_hold_up_the_next_and_is_loaded_by_its_name(goods: Shop) -> None:
    goods.publish(load(goods, "40%", catalogue(500)))
    bad = products(500)
    for row in range(200, 215):
        bad[row][3] = "no number"
    rejected = load(goods, "43%", {"X.csv": x_file(bad), "Y.csv": y_file(labels(500))})
    assert rejected.status == "rejected"
    assert rows_of(rejected) == (200, 215, 500)
    following = load(goods, "46%")
    assert (following.status, rows_of(following)) == ("loaded", (215, 230, 500))
    mended = load(goods, "43%", catalogue(500))
    assert (mended.status, rows_of(mended)) == ("loaded", (200, 215, 500))


def test_file_that_has_shrunk_below_what_is_loaded_is_refused(goods: Shop) -> None:
    goods.publish(load(goods, "40%", catalogue(500)))
    outcome = load(goods, "43%", catalogue(400))
    assert (outcome.status, outcome.codes) == ("rejected", ["fewer_rows"])
    assert "rows were taken away" in outcome.load["reasons"][0]["message"]
    assert outcome.events[0][0] == "slice-rejected"


def test_slice_without_a_row_is_refused_with_the_next_that_has_one(goods: Shop) -> None:
    goods.publish(load(goods, "40%", catalogue(10)))
    outcome = load(goods, "43%")
    assert (outcome.status, outcome.codes) == ("rejected", ["no_rows"])
    assert "52%" in outcome.load["reasons"][0]["message"]


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ({"Y.csv": y_file(labels(9))}, "missing_file", "X.csv is not in the slice (there: Y.csv)"),
        ({"X.csv": x_file(products(9))}, "missing_file", "Y.csv is not in the slice"),
        (
            {"X.csv": x_file(products(9)), "Y.csv": y_file(labels(8))},
            "row_counts_differ",
            "X.csv 9, Y.csv 8",
        ),
        (
            {"X.csv": x_file(products(9)), "Y.csv": table(("n", "class"), labels(9))},
            "row_numbers",
            "the header lacks a column without a name (it has n, class)",
        ),
        (
            {"X.csv": x_file(products(9)), "Y.csv": y_file(list(reversed(labels(9))))},
            "row_numbers",
            "Y.csv, record 2: 7 is not greater",
        ),
        (
            {"X.csv": x_file([*products(2), *products(7)]), "Y.csv": y_file(labels(9))},
            "row_numbers",
            "X.csv, record 3: 0 is not greater",
        ),
        (
            {"X.csv": x_file(products(9)), "Y.csv": y_file([["a", 1], *labels(9)[1:]])},
            "row_numbers",
            "Y.csv, record 1: 'a' is no whole number",
        ),
        (
            {n: c.decode().encode("utf-16") for n, c in catalogue(9).items()},
            "encoding",
            "write it as UTF-8",
        ),
        ({"X.csv": b"", "Y.csv": y_file([])}, "empty_file", "X.csv is empty"),
        (
            {"X.csv": x_file(products(9)) + b'9,"open', "Y.csv": y_file(labels(10))},
            "broken_quoting",
            "isn't closed",
        ),
        (catalogue(0), "no_rows", "the source has no rows"),
    ],
)
def test_files_that_can_not_be_taken_apart_are_refused_with_the_cause(
    goods: Shop, files: dict[str, bytes], code: str, words: str
) -> None:
    outcome = load(goods, "100%", files)
    assert (outcome.status, outcome.codes[0]) == ("rejected", code)
    assert words in outcome.load["reasons"][0]["message"]


def test_row_without_a_partner_and_ragged_lines_are_quarantined_by_their_number(
    goods: Shop,
) -> None:
    x = x_file(products(500)).replace(b"\n211,", b"\n211,ragged,", 1)
    numbered = labels(500)
    numbered[214][0] = 214.0
    numbered[205] = [205, "none"]
    y = y_file(numbered).replace(b"\n214.0,", b"\n2145,", 1)
    goods.spec["tables"]["labels"]["quarantine_budget"] = 3
    goods.publish(load(goods, "40%", {"X.csv": x, "Y.csv": y}))
    outcome = load(goods, "43%")
    assert outcome.status == "loaded"
    assert accounted(outcome) == [("products", 15, 14, 1), ("labels", 15, 12, 3)]
    bad = sorted(
        (q["table_name"], q["file"], q["record_number"], q["code"]) for q in outcome.quarantined
    )
    assert bad == [
        ("labels", "Y.csv", 206, "not_an_integer"),
        ("labels", "Y.csv", 212, "null_in_key"),  # its product's line is ragged
        ("labels", "Y.csv", 215, "null_in_key"),
        ("products", "X.csv", 212, "ragged_line"),
    ]


def test_joined_file_that_is_no_tables_own_is_needed_too_and_read_for_its_columns(
    goods: Shop,
) -> None:
    goods.spec["tables"]["labels"]["columns"]["origin"] = {"type": "string", "file": "Z.csv"}
    outcome = load(goods, "40%", catalogue(50))
    assert outcome.codes == ["missing_file"]
    assert "Z.csv (for labels.origin) is not in" in outcome.load["reasons"][0]["message"]
    z = table(("", "origin"), [[row, f"from {row}"] for row in range(50)])
    outcome = load(goods, "40%", catalogue(50) | {"Z.csv": z})
    assert [r["origin"] for r in goods.staged(outcome.load_id, "labels")][7] == "from 7"
    changed = z.replace(b"from 7", b"from there")
    assert load(goods, "40%", catalogue(50) | {"Z.csv": changed}).load["revision"] == 2


@pytest.mark.parametrize("place", [201, 207, 214])
def test_long_record_is_read_wherever_it_lies(goods: Shop, place: int) -> None:
    rows = products(500)
    rows[place][2] = "long\n" * 120_000
    goods.publish(load(goods, "40%", {"X.csv": x_file(rows), "Y.csv": y_file(labels(500))}))
    outcome = load(goods, "43%")
    assert keys(goods, outcome, "labels") == [sku(row) for row in range(200, 215)]
    assert goods.staged(outcome.load_id, "products")[place - 200]["text"] == rows[place][2]


def test_numbering_column_may_have_a_name_and_be_loaded_too(goods: Shop) -> None:
    goods.spec["slices"]["increment"]["row_number"] = "row"
    goods.spec["tables"]["labels"]["columns"]["row"] = "integer"
    x = table(("row", "title", "text", "sku"), products(50))
    outcome = load(goods, "40%", {"X.csv": x, "Y.csv": table(("row", "class"), labels(50))})
    found = goods.staged(outcome.load_id, "labels")
    assert [row["row"] for row in found] == list(range(20))
    assert [row["sku"] for row in found] == [sku(row) for row in range(20)]


def test_format_of_a_joined_file_is_that_of_its_own_table(goods: Shop) -> None:
    goods.spec["tables"]["products"]["format"] = {"delimiter": ";", "quote": "'"}
    x = "".join(f"{n};'a''\n,\"b {n}';;{n}\n" for n in range(50))
    files = {"X.csv": b";title;text;sku\n" + x.encode(), "Y.csv": y_file(labels(50))}
    outcome = load(goods, "40%", files)
    assert keys(goods, outcome, "labels") == list(range(20))
    assert goods.staged(outcome.load_id, "products")[3]["title"] == "a'\n,\"b 3"


def test_compressed_files_are_read_up_to_the_slice_and_land_compressed(goods: Shop) -> None:
    for name, of in (("products", "X.csv.gz"), ("labels", "Y.csv")):
        goods.spec["tables"][name]["file"] = of
    goods.spec["tables"]["labels"]["columns"]["sku"]["file"] = "X.csv.gz"
    files = catalogue(500)
    goods.write({"X.csv.gz": gzip.compress(files["X.csv"]), "Y.csv": files["Y.csv"]})
    goods.publish(load(goods, "40%"))
    outcome = load(goods, "43%")
    assert keys(goods, outcome, "labels") == [sku(row) for row in range(200, 215)]
    prefix = ObjectUri.parse(outcome.load["landing_uri"])
    landed = goods.store.get_bytes(prefix.child("X.csv.gz"))
    assert gzip.decompress(landed) == x_file(products(500)[200:215])
    goods.write({"X.csv.gz": gzip.compress(files["X.csv"])[:-9], "Y.csv": files["Y.csv"]})
    assert load(goods, "46%").codes == ["unreadable_file"]


@pytest.mark.parametrize("is_stored", [False, True])
def test_parquet_files_are_taken_by_their_row_groups(goods: Shop, is_stored: bool) -> None:
    goods.spec["slices"]["increment"]["row_number"] = "row"
    files: dict[str, bytes] = {}
    for name, content in catalogue(500).items():
        sink = io.BytesIO()
        options = arrow_csv.ParseOptions(newlines_in_values=True)
        found = arrow_csv.read_csv(io.BytesIO(content), parse_options=options)
        named = found.rename_columns(["row", *found.column_names[1:]])
        parquet.write_table(named, sink, row_group_size=64)
        files[name.replace("csv", "parquet")] = sink.getvalue()
    for name, of in (("products", "X.parquet"), ("labels", "Y.parquet")):
        goods.spec["tables"][name]["file"] = of
    goods.spec["tables"]["labels"]["columns"]["sku"]["file"] = "X.parquet"
    source: Any = goods.write(files)
    if is_stored:
        source = goods.store.uri(Bucket.LANDING, "catalogue")
        for name, content in files.items():
            goods.store.put_bytes(source.child(name), content, content_type="application/x")
    goods.publish(goods.handle(goods.event(source, "40%")))
    outcome = goods.handle(goods.event(source, "43%"))
    assert rows_of(outcome) == (200, 215, 500)
    assert keys(goods, outcome) == [sku(row) for row in range(200, 215)]
    assert keys(goods, outcome, "labels") == keys(goods, outcome)
    landed = goods.store.get_bytes(ObjectUri.parse(outcome.load["landing_uri"]).child("Y.parquet"))
    assert pa.compute.equal(
        parquet.read_table(io.BytesIO(landed))["row"], pa.chunked_array([range(200, 215)])
    ).combine_chunks().true_count == 15  # fmt: skip
    if not is_stored:
        goods.write(files | {"X.parquet": b"PAR1 not"})
        assert load(goods, "46%").codes == ["unreadable_file"]


def test_share_is_dated_by_the_day_when_it_is_asked_for(goods: Shop) -> None:
    goods.spec["schedule"] = {"cron": "0 0 * * MON", "time_zone": "Asia/Tokyo"}
    event = goods.event(goods.write(catalogue(50)), "40%")
    late = datetime(2024, 5, 1, 20, tzinfo=UTC)  # the second of May in Tokyo
    event = type(event)(payload=event.payload, source="test", time=late)
    assert goods.handle(event).load["as_of"] == date(2024, 5, 2)


def test_name_that_is_no_share_is_refused_whatever_its_date(goods: Shop) -> None:
    folder = goods.write(catalogue(50))
    for name in ("day_00", "0%", "101%", "40.0%", "40"):
        with pytest.raises(PermanentError, match="is no share like '40%'"):
            goods.handle(goods.event(folder, name, as_of=date(2024, 1, 1)))
