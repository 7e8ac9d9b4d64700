"""Where records begin: as many, and at the very bytes, as Arrow's reader finds."""

import csv
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingestor.shares.row_index import RowIndex, make_index
from shared.reading.quarantine import Code, Quarantine, SliceFault
from shared.reading.record_scan import RecordScan
from shared.reading.records import RecordReader
from tests.unit.ingestor.conftest import table_of

PLAIN = table_of({"a": {"type": "string", "nullable": True}}, key="a")


def scan(content: bytes, piece_bytes: int, delimiter: str = ",", quote: str = '"') -> list[int]:
    found = RecordScan(delimiter, quote)
    pieces = [content[at : at + piece_bytes] for at in range(0, len(content), piece_bytes)]
    starts = [int(start) for piece in pieces for start in found.feed(piece)]
    assert found.records == len(starts)
    return starts


def records(content: bytes) -> int | None:
    """What the reader counts; None where it refuses the file."""
    path = Path("spooled")
    path.write_bytes(b"a,b\n" + content)
    reader = RecordReader("t.csv", path, PLAIN, Quarantine("t", 0), 4096)
    try:
        for _ in reader.batches():
            pass
    except SliceFault:
        return None
    return reader.records


@given(st.text('a,"\n\r', max_size=40), st.integers(1, 9))
def test_as_many_records_are_found_as_the_reader_counts(
    tmp_path_factory: pytest.TempPathFactory, text: str, piece_bytes: int
) -> None:
    content = text.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.getbasetemp())
        expected = records(content)
    starts = scan(b"a,b\n" + content, piece_bytes)
    if expected is not None:
        assert len(starts) - 1 == expected


FIELDS = st.text(st.sampled_from('aé,;"\n\r 1'), max_size=8)


@given(st.lists(st.tuples(FIELDS, FIELDS), max_size=30), st.sampled_from(["\n", "\r\n", "\r"]))
def test_every_record_begins_where_the_one_before_it_ends(
    rows: list[tuple[str, str]], line_end: str
) -> None:
    from io import StringIO

    lines = []
    for row in rows:
        sink = StringIO()
        csv.writer(sink, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerow(row)
        lines.append(sink.getvalue().encode())
    starts = scan(b"".join(lines), 7)
    assert starts == [sum(map(len, lines[:row])) for row in range(len(lines))]


def test_quote_within_an_unquoted_field_is_text() -> None:
    content = b'1,5" disk\n2,"a\nb"\n3,x"\n4,""x"\n5,"y"z"\n6,\n'
    assert [content[start : start + 1] for start in scan(content, 1 << 20)] == [
        b"1", b"2", b"3", b"4", b"5", b"6",
    ]  # fmt: skip
    assert scan(content, 1) == scan(content, 3) == scan(content, 1 << 20)


def test_index_grows_no_further_than_its_limit_and_stays_right() -> None:
    rows, row = 3_000_000, b'7,"row\n7"\n'
    content = b"id,text\n" + rows * row
    pieces = (content[at : at + 65_521] for at in range(0, len(content), 65_521))
    index = make_index("t.csv", pieces, ",", '"')
    assert index.rows == rows
    assert 16_384 < len(index.offsets) <= 32_768
    assert index.offsets == tuple(range(8, len(content), index.rows_apart * len(row)))


def test_window_has_the_rows_and_little_more() -> None:
    index = RowIndex(rows=25, rows_apart=10, offsets=(5, 105, 205))
    found = index.window(12, 18)
    assert (found.start, found.stop, found.row) == (105, 205, 10)
    found = index.window(10, 20)
    assert (found.start, found.stop, found.row) == (105, 205, 10)
    found = index.window(0, 25)
    assert (found.start, found.stop, found.row) == (5, None, 0)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("blank", [b"", b"\n", b"\r\n\r\n"])
def test_blank_lines_and_a_byte_order_mark_are_no_records(mark: bytes, blank: bytes) -> None:
    content = mark + blank + b"a,b\n" + blank + b"1,2\n" + blank + b"3,4" + blank
    index = make_index("t.csv", iter([content]), ",", '"')
    assert index.rows == 2
    assert content[index.offsets[0] :].startswith(b"1,2")


@pytest.mark.parametrize(
    ("content", "code"), [(b"", Code.EMPTY_FILE), (b'a\n1\n"2\n3\n', Code.BROKEN_QUOTING)]
)
def test_file_without_a_header_or_with_an_open_quote_is_refused(content: bytes, code: Code) -> None:
    with pytest.raises(SliceFault) as caught:
        make_index("t.csv", iter([content]), ",", '"')
    assert caught.value.reason.code == code


def test_header_alone_has_no_rows() -> None:
    index = make_index("t.csv", iter([b"a,b\n"]), ",", '"')
    assert (index.rows, index.offsets) == (0, (4,))


def test_pieces_do_not_matter() -> None:
    content = b'a,b\r\n1,"x""\r\ny"\r\n\r\n2,"",\r\n3,"""q"""\r\n'
    whole = scan(content, 1 << 20)
    assert all(scan(content, size) == whole for size in range(1, len(content)))
    assert all(a < b for a, b in pairwise(whole))
    assert len(whole) == 4
