"""Rows in COPY's CSV become Parquet parts of bounded size."""

import hashlib
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from services.snapshotter import parquet_parts
from services.snapshotter.parquet_parts import ParquetParts, WrittenPart, copy_statement
from shared.contracts.table_spec import Table

TABLE = Table.model_validate(
    {
        "key": ["id", "code"],
        "columns": {
            "id": "integer",
            "code": "string",
            "day": "date",
            "moment": "timestamp",
            "yes": "boolean",
        },
    }
)


def parts_of(
    rows: list[bytes], directory: Path, *, row_group_rows: int = 2, part_rows: int = 4
) -> list[WrittenPart]:
    parts: list[WrittenPart] = []
    sink = ParquetParts(
        TABLE, directory, parts.append, row_group_rows=row_group_rows, part_rows=part_rows
    )
    for row in rows:
        assert sink.write(row) == len(row)
    sink.close()
    return parts


def row(number: int, code: str = "x") -> bytes:
    return f"{number},{code},19000,{number},t\n".encode()


def test_a_part_ends_after_the_row_group_that_fills_it(tmp_path: Path) -> None:
    parts = parts_of([row(n) for n in range(9)], tmp_path)
    assert [part.rows for part in parts] == [4, 4, 1]
    assert [part.path.name for part in parts] == [f"part-{n:05d}.parquet" for n in range(3)]
    for part in parts:
        content = part.path.read_bytes()
        assert (part.bytes, part.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    file = pq.ParquetFile(parts[0].path)
    assert [file.metadata.row_group(n).num_rows for n in range(2)] == [2, 2]
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("number", [0, 4])
def test_there_is_no_needless_empty_part(tmp_path: Path, number: int) -> None:
    assert [part.rows for part in parts_of([row(n) for n in range(number)], tmp_path)] == [number]


def test_wide_rows_make_smaller_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_parts, "BLOCK_BYTES", 1000)
    wide = [row(n, "w" * 600) for n in range(4)]
    [part] = parts_of(wide, tmp_path, row_group_rows=100, part_rows=100)
    assert pq.ParquetFile(part.path).num_row_groups == 2


def test_a_row_larger_than_a_block_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_parts, "BLOCK_BYTES", 100)
    [part] = parts_of([row(1, "w" * 5000)], tmp_path)
    assert pq.read_table(part.path)["code"].to_pylist() == ["w" * 5000]


def test_null_and_the_empty_text_are_kept_apart(tmp_path: Path) -> None:
    [part] = parts_of([b'1,"",,,\n', b'2,"a\nb,""c""",0,-1,f\n'], tmp_path)
    assert pq.read_table(part.path).to_pylist() == [
        {"id": 1, "code": "", "day": None, "moment": None, "yes": None},
        {
            "id": 2,
            "code": 'a\nb,"c"',
            "day": date(1970, 1, 1),
            "moment": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            "yes": False,
        },
    ]


def test_a_part_that_is_abandoned_is_not_handed_on(tmp_path: Path) -> None:
    parts: list[WrittenPart] = []
    sink = ParquetParts(TABLE, tmp_path, parts.append, row_group_rows=1, part_rows=9)
    sink.write(row(1))
    sink.abandon()
    assert parts == []


def test_texts_are_ordered_by_their_bytes_on_every_server() -> None:
    assert 'ORDER BY "id", "code" COLLATE "C"' in copy_statement(TABLE, "t")
