"""Rows as Postgres copies them out, written to Parquet files of bounded size."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from shared.arrow_types import arrow_schema
from shared.contracts.table_spec import ColumnType, Table
from shared.database.dataset_tables import quoted

BLOCK_BYTES = 32 << 20

# Days and microseconds since 1970 are read exactly, whatever the year and the session's settings.
_EXPRESSIONS = {
    ColumnType.DATE: "{} - DATE '1970-01-01'",
    ColumnType.TIMESTAMP: "(extract(epoch FROM {}) * 1000000)::bigint",
}
_READ_AS = {ColumnType.DATE: pa.int32(), ColumnType.TIMESTAMP: pa.int64()}


@dataclass(frozen=True)
class WrittenPart:
    """A Parquet file that is complete. `sha256` is of its bytes, hexadecimal."""

    path: Path
    rows: int
    bytes: int
    sha256: str


def copy_statement(table: Table, relation: str) -> str:
    """SQL that copies `relation`'s rows out as `ParquetParts` reads them, ordered by key.

    Texts are ordered by their bytes, so that the order is the same on every server.
    """
    columns = ", ".join(
        _EXPRESSIONS.get(column.type, "{}").format(quoted(name))
        for name, column in table.columns.items()
    )
    order = ", ".join(
        quoted(name) + (' COLLATE "C"' if table.columns[name].type is ColumnType.STRING else "")
        for name in table.key
    )
    return f"""
        COPY (SELECT {columns} FROM {relation} ORDER BY {order})
        TO STDOUT (FORMAT csv, ENCODING 'UTF8')
    """


class ParquetParts:
    """A file-like object for psycopg2's `copy_expert`; hands each part on when it is complete.

    `write` takes one row a call, as libpq guarantees for a COPY. Memory is bounded by `BLOCK_BYTES`
    and the largest row. There is at least one part, if an empty one. The caller removes the files.
    """

    def __init__(
        self,
        table: Table,
        directory: Path,
        on_part: Callable[[WrittenPart], None],
        *,
        row_group_rows: int,
        part_rows: int,
    ) -> None:
        self._schema = arrow_schema(table)
        self._directory = directory
        self._on_part = on_part
        self._row_group_rows = row_group_rows
        self._part_rows = part_rows
        # The header keeps pyarrow from taking a first value's U+FEFF for a byte order mark.
        self._header = ",".join(table.columns).encode() + b"\n"
        self._read = pyarrow.csv.ParseOptions(newlines_in_values=True)
        self._convert = pyarrow.csv.ConvertOptions(
            column_types={
                name: _READ_AS.get(column.type, self._schema.field(name).type)
                for name, column in table.columns.items()
            },
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        )
        self._block = bytearray(self._header)
        self._block_rows = 0
        self._writer: pq.ParquetWriter | None = None
        self._path = directory
        self._rows_in_part = 0
        self._number = 0

    def write(self, row: bytes) -> int:
        """Take one row."""
        self._block += row
        self._block_rows += 1
        if self._block_rows >= self._row_group_rows or len(self._block) >= BLOCK_BYTES:
            self._flush()
            if self._rows_in_part >= self._part_rows:
                self._complete()
        return len(row)

    def close(self) -> None:
        """Complete the last part."""
        self._flush()
        if self._rows_in_part or not self._number:
            self._complete()

    def abandon(self) -> None:
        """Close the open file, if there is one, without handing it on."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _flush(self) -> None:
        """Write the block as a row group."""
        if not self._block_rows:
            return
        options = pyarrow.csv.ReadOptions(block_size=len(self._block) + 1)
        rows = pyarrow.csv.read_csv(
            pa.BufferReader(bytes(self._block)), options, self._read, self._convert
        ).cast(self._schema)
        self._open().write_table(rows, row_group_size=self._block_rows)
        self._rows_in_part += self._block_rows
        self._block = bytearray(self._header)
        self._block_rows = 0

    def _open(self) -> pq.ParquetWriter:
        if self._writer is None:
            self._path = self._directory / f"part-{self._number:05d}.parquet"
            self._writer = pq.ParquetWriter(self._path, self._schema, compression="zstd")
        return self._writer

    def _complete(self) -> None:
        self._open().close()
        self._writer = None
        with self._path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        part = WrittenPart(self._path, self._rows_in_part, self._path.stat().st_size, sha256)
        self._number += 1
        self._rows_in_part = 0
        self._on_part(part)
