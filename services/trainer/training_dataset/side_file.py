"""A side of a training dataset as a Parquet file: equal rows give equal bytes."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 100_000
"""Of every row group but the last: part of the format, so that bytes are the same everywhere."""


@dataclass(frozen=True)
class WrittenSide:
    """A side's file that is complete. `sha256` is of its bytes, hexadecimal."""

    path: Path
    rows: int
    bytes: int
    sha256: str


def write_side(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> WrittenSide:
    """Write the rows of `tables`, one after the other, and say what was written.

    The bytes depend on schema and rows only, not on how the rows come in tables. Holds no more
    than a row group and the largest table.
    """
    rows = 0
    with pq.ParquetWriter(
        path,
        schema.remove_metadata(),
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
    ) as writer:
        for group in _groups(tables):
            rows += group.num_rows
            writer.write_table(group.replace_schema_metadata(None), ROW_GROUP_ROWS)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return WrittenSide(path, rows, path.stat().st_size, sha256)


def _groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, in tables of one chunk a column and of `ROW_GROUP_ROWS` rows but the last."""
    waiting: list[pa.Table] = []
    held = 0
    for table in tables:
        while table.num_rows:
            piece = table.slice(0, ROW_GROUP_ROWS - held)
            table = table.slice(piece.num_rows)
            waiting.append(piece)
            held += piece.num_rows
            if held == ROW_GROUP_ROWS:
                yield pa.concat_tables(waiting).combine_chunks()
                waiting, held = [], 0
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()
