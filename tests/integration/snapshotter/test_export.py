"""What is exported is what the tables hold, bit for bit, and the manifest says so."""

import hashlib
import itertools
import math
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from published_dataset import Dataset, MakeDataset

from services.snapshotter import export as export_module
from shared.arrow_types import arrow_schema
from shared.object_store import ObjectUri

JANUARY, FEBRUARY = date(2024, 1, 31), date(2024, 2, 29)
TABLES = {
    "things": {
        "key": ["name"],
        "columns": {
            "text": "string",
            "name": "string",
            "whole": "integer",
            "number": "number",
            "yes": "boolean",
            "day": "date",
            "moment": "timestamp",
        },
    }
}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
tricky = st.sampled_from(
    ["", "\\.", '"', "\r\n", "\ufeffx", ",", "NULL", "t", " ", "\u2028", "\\N"]
)
values = st.tuples(
    st.none() | texts | tricky,
    texts | tricky,
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.booleans(),
    st.none() | st.dates(),
    st.none() | st.datetimes(timezones=st.just(UTC)),
)
things = st.lists(values, unique_by=lambda row: row[1], max_size=8)
_names = (f"e{number}" for number in itertools.count())


@settings(max_examples=25)
@given(rows=things, row_group_rows=st.integers(1, 4))
@example(rows=[], row_group_rows=1)
@example(rows=[("\ufeff", "\ufeff", 0, -0.0, None, None, None)], row_group_rows=1)
@example(
    rows=[
        ("", "a", 1, 5e-324, True, date.min, datetime.min.replace(tzinfo=UTC)),
        (None, "b", -1, 0.1 + 0.2, False, date.max, datetime.max.replace(tzinfo=UTC)),
    ],
    row_group_rows=2,
)
def test_every_value_comes_out_as_it_went_in(
    make_dataset: MakeDataset, rows: list[tuple[object, ...]], row_group_rows: int
) -> None:
    dataset = make_dataset(next(_names), TABLES, row_group_rows=row_group_rows)
    exported = dataset.exported(dataset.publish(JANUARY, {"things": rows}), "things")
    assert exported.schema.remove_metadata() == arrow_schema(dataset.spec.tables["things"])
    found = [tuple(row.values()) for row in exported.to_pylist()]
    assert found == sorted(rows, key=lambda row: str(row[1]).encode())
    signs = [math.copysign(1, row[3]) for row in found if row[3] is not None]
    expected = sorted(rows, key=lambda row: str(row[1]).encode())
    assert signs == [math.copysign(1, row[3]) for row in expected if row[3] is not None]  # type: ignore[arg-type]


@pytest.fixture
def dataset(make_dataset: MakeDataset) -> Dataset:
    columns = {"id": "integer", "value": {"type": "string", "nullable": False}}
    return make_dataset(
        "export", {"t": {"key": ["id"], "columns": columns, "required": False}}, row_group_rows=10
    )


def test_the_manifest_describes_every_file(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "PART_ROWS", 20)
    rows = [(number, str(number)) for number in range(45)]
    published = dataset.publish(JANUARY, {"t": rows})
    manifest = dataset.manifest(published)
    assert manifest.load_id == published.load_id
    assert (manifest.as_of, manifest.known_at) == (JANUARY, published.known_at)
    assert manifest.spec_digest == dataset.spec.digest()
    table = manifest.tables["t"]
    assert [part.rows for part in table.parts] == [20, 20, 5]
    assert table.rows == 45
    assert [(f.name, f.type, f.nullable) for f in table.fields] == [
        ("id", "integer", False),
        ("value", "string", False),
    ]
    for number, part in enumerate(table.parts):
        content = dataset.store.get_bytes(ObjectUri.parse(part.uri))
        assert (part.bytes, part.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        known = f"{published.known_at:%Y%m%dT%H%M%S.%fZ}"
        assert part.uri.endswith(
            f"export/t/as_of=2024-01-31/known_at={known}/part-{number:05d}.parquet"
        )
    assert dataset.exported_rows(published, "t") == rows
    [summary] = dataset.query("SELECT tables FROM headrace.snapshots")
    assert summary[0] == {
        "t": {"rows": 45, "bytes": sum(part.bytes for part in table.parts), "parts": 3}
    }


def test_a_table_that_was_not_in_the_slice_is_exported_as_it_stands(dataset: Dataset) -> None:
    empty = dataset.publish(JANUARY, {"t": None})
    assert dataset.exported(empty, "t") == pa.Table.from_batches(
        [], arrow_schema(dataset.spec.tables["t"])
    )
    assert len(dataset.manifest(empty).tables["t"].parts) == 1
    dataset.publish(JANUARY, {"t": [(1, "a")]})
    again = dataset.publish(FEBRUARY, {"t": None})
    assert dataset.exported_rows(again, "t") == [(1, "a")]


def test_the_same_state_gives_the_same_bytes(dataset: Dataset) -> None:
    rows = [(number, str(number)) for number in range(25)]
    january = dataset.manifest(dataset.publish(JANUARY, {"t": rows}))
    february = dataset.manifest(dataset.publish(FEBRUARY, {"t": rows[::-1]}))
    digests = [[part.sha256 for part in m.tables["t"].parts] for m in (january, february)]
    assert digests[0] == digests[1]


def test_an_earlier_snapshot_is_exported_from_history_and_none_is_altered(
    dataset: Dataset,
) -> None:
    march = dataset.publish(date(2024, 3, 31), {"t": [(1, "march"), (2, "march")]})
    before = dataset.manifest(march)
    january = dataset.publish(JANUARY, {"t": [(1, "january")]})
    assert dataset.exported_rows(january, "t") == [(1, "january")]
    assert dataset.manifest(march) == before
    assert dataset.exported_rows(march, "t") == [(1, "march"), (2, "march")]
