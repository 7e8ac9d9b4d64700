import bz2
import csv
import gzip
import io
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.contracts.table_spec import Table
from shared.reading.quarantine import Code, Quarantine, SliceFault
from shared.reading.records import RecordReader
from shared.reading.typed_rows import typed_rows
from tests.unit.ingestor.conftest import ReadFile, read_in, table_of

NAMES = table_of({"id": "integer", "name": "string"})


def fault_of(read: ReadFile, table: Table, content: bytes, **how: Any) -> tuple[Code, str]:
    with pytest.raises(SliceFault) as caught:
        read(table, content, **how)
    return Code(caught.value.reason.code), caught.value.reason.message


@pytest.mark.parametrize(
    "content",
    [
        b"id,name\n1,J\xc3\xb6rg\n2,\n",
        b"\xef\xbb\xbfid,name\n1,J\xc3\xb6rg\n2,\n",
        b"id,name\n1,J\xf6rg\n2,\n",
        b"id,name\r\n1,J\xc3\xb6rg\r\n2,\r\n",
        b"id;name\n1;J\xc3\xb6rg\n2;",
        b"id\tname\n1\tJ\xc3\xb6rg\n2\t\n",
        b'"id"|"name"\n"1"|"J\xc3\xb6rg"\n"2"|""\n',
        b"\n\nid,name\n1,J\xc3\xb6rg\n\n2,\n\n",
        b"name,extra,id\nJ\xc3\xb6rg,x,1\n,y,2\n",
        "id,name\n1,Jörg\n2,\n".encode("utf-16"),
    ],
    ids=["utf8", "bom", "latin1", "crlf", "semicolon", "tab", "bar", "blank", "order", "utf16"],
)
def test_encoding_line_ends_and_delimiter_are_found(read: ReadFile, content: bytes) -> None:
    found = read(NAMES, content)
    assert found.rows == {1: {"id": 1, "name": "Jörg"}, 2: {"id": 2, "name": None}}


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("t.csv.gz", gzip.compress),
        ("t.csv.bz2", bz2.compress),
        ("t.csv.zst", lambda data: pa.compress(data, "zstd", asbytes=True)),
    ],
)
def test_compression_goes_by_the_files_name(read: ReadFile, name: str, pack: Any) -> None:
    content = pack(b"id,name\n1,a\n")
    assert read(NAMES, content, name=name).rows == {1: {"id": 1, "name": "a"}}
    code, message = fault_of(read, NAMES, content[:-4], name=name)
    assert code is Code.UNREADABLE_FILE
    assert name in message


def test_declared_format_is_obeyed(read: ReadFile) -> None:
    table = table_of(
        {"id": "integer", "name": {"type": "string", "header": "Name of it"}},
        format={
            "delimiter": ":",
            "quote": "'",
            "encoding": "cp437",
            "compression": "gzip",
            "null_values": ["NA", "-"],
        },
    )
    content = gzip.compress("Name of it:id\n'Jö:rg':1\nNA:2\n:3\n".encode("cp437"))
    assert read(table, content).rows == {
        1: {"id": 1, "name": "Jö:rg"},
        2: {"id": 2, "name": None},
        3: {"id": 3, "name": ""},
    }


def test_quoted_newlines_delimiters_and_quotes_stay_in_the_value(read: ReadFile) -> None:
    found = read(NAMES, b'id,name\n1,"a\r\nb"\n2,"c,d"\n3,"e""f"\n4,5" disk\n')
    assert [row["name"] for row in found.rows.values()] == ["a\r\nb", "c,d", 'e"f', '5" disk']


def test_ragged_line_is_quarantined_as_it_stands_and_the_numbers_go_on(read: ReadFile) -> None:
    found = read(NAMES, b'id,name\n1,a\n2\n3,"x\ny",z\n4,d\n5,e,\n')
    assert found.rows.keys() == {1, 4}
    assert found.bad == [(n, None, "ragged_line") for n in (2, 3, 5)]
    assert found.records == 5
    assert [row.raw for row in found.quarantine.rows] == ["2", '3,"x\ny",z', "5,e,"]
    assert found.quarantine.rows[0].reason == "1 fields in place of 2"


def test_numbers_are_right_across_blocks(read: ReadFile) -> None:
    lines = [f"{i}" if i % 7 == 0 else f'{i},"{"x" * (i % 50)}\n{i}"' for i in range(1, 5001)]
    found = read(NAMES, ("id,name\n" + "\n".join(lines)).encode(), block_bytes=4096)
    assert found.records == 5000
    assert all(number == row["id"] for number, row in found.rows.items())
    assert [number for number, _, _ in found.bad] == list(range(7, 5001, 7))


def test_nothing_behind_a_nul_is_passed_over_where_values_are_long(read: ReadFile) -> None:
    # Arrow has fast instructions for long values, for which a NUL is the end of a text.
    long = "v" * 50
    kinds = {
        "good": [long, long],
        "first": ["\0\0", "x"],
        "second": ["\x01", "\0"],
        "ragged": ["\0"],
    }
    order = [kind for n in range(300) for kind in ("good", *[list(kinds)[n % 4]] * 2)]
    lines = [",".join([str(n), *kinds[kind]]) for n, kind in enumerate(order, start=1)]
    table = table_of({"id": "integer", "name": "string", "more": "string"})
    content = "\n".join(["id,name,more", *lines]).encode()
    found = read(table, content, block_bytes=4096)
    assert found.records == len(lines)
    good = {"name": long, "more": long}
    assert found.rows == {
        n: {"id": n, **good} for n, kind in enumerate(order, start=1) if kind == "good"
    }
    faults = {
        "first": ("name", "nul_character"),
        "second": ("more", "nul_character"),
        "ragged": (None, "ragged_line"),
    }
    assert found.bad == [
        (n, *faults[kind]) for n, kind in enumerate(order, start=1) if kind != "good"
    ]
    raw = {row.record_number: row.raw for row in found.quarantine.rows}
    assert raw[order.index("second") + 1].endswith(",\x01,\u2400"), "what stands in is gone again"
    assert raw[order.index("ragged") + 1].endswith(",\u2400")


def test_file_with_nul_and_every_other_control_character_is_no_text(read: ReadFile) -> None:
    everything = bytes(code for code in range(32) if code not in b"\t\n\v\f\r")
    code, message = fault_of(read, NAMES, b"id,name\n1," + everything)
    assert code is Code.ENCODING
    assert "it is no text" in message
    but_one = everything.replace(b"\x1f", b"")
    assert read(NAMES, b"id,name\n1," + but_one).bad == [(1, "name", "nul_character")]


def test_file_of_ragged_lines_only_has_no_rows(read: ReadFile) -> None:
    found = read(NAMES, b"id,name\n" + b"x\n" * 3000, block_bytes=4096, limit=10)
    assert (found.records, found.rows, found.quarantine.count) == (3000, {}, 3000)
    assert len(found.quarantine.rows) == 10
    assert found.quarantine.dropped == 2990


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path, block_bytes = tmp_path / "t.csv", 1 << 16
    path.write_text("id,name\n" + "".join(f"{n},name number {n}\n" for n in range(600_000)))
    quarantine, peak, rows = Quarantine("t", 10), 0, 0
    before = pa.total_allocated_bytes()
    reader = RecordReader("t.csv", path, NAMES, quarantine, block_bytes)
    for batch in reader.batches():
        rows += typed_rows(batch, NAMES, quarantine, 0).num_rows
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert rows == 600_000
    assert peak < 64 * block_bytes < path.stat().st_size / 3


@pytest.mark.parametrize("content", [b"id,name\n", b"id,name", b"id,name\r\n", b'"id","name"'])
def test_header_alone_is_a_table_without_rows(read: ReadFile, content: bytes) -> None:
    assert read(NAMES, content).records == 0


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"\r\n"])
def test_file_without_a_header_is_empty(read: ReadFile, content: bytes) -> None:
    assert fault_of(read, NAMES, content)[0] is Code.EMPTY_FILE


def test_header_without_a_declared_column_is_refused_with_what_it_has(read: ReadFile) -> None:
    code, message = fault_of(read, NAMES, b"id,nmae\n1,a\n")
    assert code is Code.MISSING_COLUMN
    assert message == "t.csv: the header lacks name (it has id, nmae)"


def test_optional_column_that_is_missing_is_null(read: ReadFile) -> None:
    table = table_of({"id": "integer", "name": {"type": "string", "optional": True}})
    assert read(table, b"id\n1\n").rows == {1: {"id": 1, "name": None}}


def test_declared_column_twice_in_the_header_is_refused_another_one_is_not(read: ReadFile) -> None:
    assert fault_of(read, NAMES, b"id,name,id\n1,a,2\n")[0] is Code.DUPLICATE_COLUMN
    assert read(NAMES, b"id,x,name,x\n1,2,a,3\n").rows == {1: {"id": 1, "name": "a"}}


def test_broken_utf8_is_named_by_its_byte_and_not_taken_for_cp1252(read: ReadFile) -> None:
    code, message = fault_of(read, NAMES, b"id,name\n1,J\xc3\xb6rg\n2,J\xf6rg\n")
    assert code is Code.ENCODING
    assert message == "t.csv: byte 19 (0xf6) is no text in utf-8"


def test_byte_that_no_encoding_explains_is_named(read: ReadFile) -> None:
    code, message = fault_of(read, NAMES, b"id,name\n" + b"1,a\n" * 100_000 + b"2,\x81\n")
    assert (code, message) == (Code.ENCODING, "t.csv: byte 400010 (0x81) is no text in cp1252")


def test_declared_encoding_is_the_only_one(read: ReadFile) -> None:
    table = table_of({"id": "integer", "name": "string"}, format={"encoding": "utf-8"})
    assert fault_of(read, table, b"id,name\n1,J\xf6rg\n")[0] is Code.ENCODING
    assert read(table, b"\xef\xbb\xbfid,name\n1,a\n").records == 1


def test_character_cut_by_a_chunk_is_whole(read: ReadFile) -> None:
    names = "ö" * 300_001
    found = read(NAMES, f"id,name\n1,{names}\n".encode())
    assert found.rows[1]["name"] == names


@pytest.mark.parametrize("encoding", ["no-such", "hex"])
def test_unknown_encoding_is_a_fault_of_the_spec(encoding: str) -> None:
    with pytest.raises(ValidationError, match=encoding):
        table_of({"id": "integer"}, format={"encoding": encoding})


def test_utf16_without_its_mark_is_explained(read: ReadFile) -> None:
    code, message = fault_of(read, NAMES, "id,name\n1,a\n".encode("utf-16-le"))
    assert code is Code.ENCODING
    assert "UTF-16" in message


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'id,name\n1,a\n2,"b\n3,c\n', "record 2, which begins in line 3"),
        (b'id,name\n1,a\n2,"b\n3,"c"\n4,"d\n', "record 2, which begins in line 3"),
        (b'id,name\n1,"a"b\n', "record 1, which begins in line 2"),
    ],
)
def test_quote_that_would_swallow_lines_is_found(
    read: ReadFile, content: bytes, where: str
) -> None:
    code, message = fault_of(read, NAMES, content)
    assert code is Code.BROKEN_QUOTING
    assert where in message


def test_record_larger_than_a_block_is_refused_not_cut(read: ReadFile) -> None:
    content = b"id,name\n1,a\n2," + b"x" * 20_000 + b"\n"
    code, message = fault_of(read, NAMES, content, block_bytes=4096)
    assert code is Code.UNREADABLE_FILE
    assert "4096 bytes" in message


def parquet_bytes(**columns: pa.Array) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue()


def test_parquet_is_cast_to_the_declared_types(read: ReadFile) -> None:
    table = table_of(
        {
            "id": "string",
            "i": "integer",
            "n": "number",
            "b": "boolean",
            "d": "date",
            "t": "timestamp",
        }
    )
    content = parquet_bytes(
        id=pa.array(["a", "b"]).dictionary_encode(),
        i=pa.array([1.0, None]),
        n=pa.array([2**60 + 1, None]),
        b=pa.array([1, 0], pa.int8()),
        d=pa.array([datetime(2024, 1, 31), None], pa.timestamp("ns")),
        t=pa.array([1_000_000_001, None], pa.timestamp("ns")),
        other=pa.array([[1], [2]]),
    )
    first = {
        "id": "a",
        "i": 1,
        "n": float(2**60),
        "b": True,
        "d": date(2024, 1, 31),
        "t": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
    }
    empty = {"id": "b", "i": None, "n": None, "b": False, "d": None, "t": None}
    assert read(table, content, name="t.parquet").rows == {1: first, 2: empty}


def test_values_in_parquet_that_do_not_fit_are_quarantined(read: ReadFile) -> None:
    table = table_of({"id": "integer", "b": "boolean", "d": "date", "n": "number"})
    content = parquet_bytes(
        id=pa.array([1, 2, 3, 2**63, 5], pa.uint64()),
        b=pa.array([1, 2, 1, 1, 1]),
        d=pa.array([datetime(2024, 1, 31, h) for h in (0, 0, 10, 0, 0)]),
        n=pa.array([1.0, 1.0, 1.0, 1.0, float("nan")]),
    )
    found = read(table, content, name="t.parquet")
    assert found.rows.keys() == {1}
    assert found.bad == [
        (2, "b", "not_a_boolean"),
        (3, "d", "not_a_date"),
        (4, "id", "out_of_range"),
        (5, "n", "not_finite"),
    ]


def test_damaged_or_nested_parquet_is_refused(read: ReadFile) -> None:
    content = parquet_bytes(id=pa.array([1, 2]), name=pa.array([["a"], ["b"]]))
    code, message = fault_of(read, NAMES, content, name="t.parquet")
    assert code is Code.UNREADABLE_FILE
    assert "column name" in message
    assert fault_of(read, NAMES, content[:-20], name="t.parquet")[0] is Code.UNREADABLE_FILE
    assert fault_of(read, NAMES, b"id,name\n", name="t.parquet")[0] is Code.UNREADABLE_FILE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("read")


@given(
    rows=st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1),
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
            st.floats(allow_nan=False, allow_infinity=False),
            st.dates(),
        ),
        max_size=30,
    ),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    block_bytes=st.sampled_from([4096, 1 << 20]),
)
def test_what_python_writes_is_what_is_read(
    folder: Path,
    rows: list[tuple[int, str, float, date]],
    delimiter: str,
    line_end: str,
    quoting: Any,
    encoding: str,
    block_bytes: int,
) -> None:
    table = table_of({"id": "integer", "name": "string", "n": "number", "d": "date"})
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    if quoting == csv.QUOTE_MINIMAL and line_end == "\n":  # Python leaves \r bare then
        rows = [(number, name.replace("\r", ""), value, day) for number, name, value, day in rows]
    writer.writerow(table.columns)
    writer.writerows(rows)
    content = text.getvalue().encode(encoding)
    found = read_in(folder, table, content, block_bytes=block_bytes)
    assert [tuple(row.values()) for row in found.rows.values()] == [
        (number, name or None, value, day) for number, name, value, day in rows
    ]
