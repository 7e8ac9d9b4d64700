"""Records are found as the reader counts them; a file with some replaced keeps the others."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.mending import csv_records
from shared.mending.csv_records import parse, split_records, written
from shared.reading.dialect import Dialect

texts = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r") | st.sampled_from('",\n;é'), max_size=6
)
records = st.lists(st.lists(texts, min_size=2, max_size=3), min_size=1, max_size=8)


def dialect(delimiter: str = ",") -> Dialect:
    return Dialect(None, "utf-8", delimiter, '"', ("a", "b"), has_quotes=True, has_nul=False)


def file_of(folder: Path, rows: list[list[str]], *, end: str, has_last_end: bool) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end).writerows([["a", "b"], *rows])
    said = out.getvalue()
    data = (said if has_last_end else said.removesuffix(end)).encode()
    (folder / "f").write_bytes(data)
    return data


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    rows=records,
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    has_last_end=st.booleans(),
    chunk=st.integers(1, 12),
    data=st.data(),
)
def test_every_record_is_found_whole_and_nothing_is_lost_between_them(
    tmp_path: Path,
    rows: list[list[str]],
    end: str,
    has_last_end: bool,
    chunk: int,
    data: st.DataObject,
) -> None:
    content = file_of(tmp_path, rows, end=end, has_last_end=has_last_end)
    wanted = data.draw(st.sets(st.integers(0, len(rows))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_records, "_CHUNK_BYTES", chunk)
        pieces = list(split_records(tmp_path / "f", dialect(), wanted))
    assert b"".join(piece for _, piece in pieces) == content
    found = {number: piece for number, piece in pieces if number is not None}
    assert found.keys() == wanted
    for number, piece in found.items():
        record = parse(piece, dialect())
        assert list(record.fields) == [["a", "b"], *rows][number]
        again = written(record.fields, dialect(), record.end)
        assert parse(again, dialect()) == record


@given(st.lists(texts, min_size=1, max_size=4), st.sampled_from([",", ";", "|"]))
def test_a_written_record_reads_as_what_was_written(fields: list[str], delimiter: str) -> None:
    line = written(fields, dialect(delimiter), "\r\n")
    assert line.strip(b"\r\n"), "a blank line would be no record"
    assert list(parse(line, dialect(delimiter)).fields) == fields
