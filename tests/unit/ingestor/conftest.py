"""Reading a file to its end, as staging does, without a database."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared.contracts.table_spec import Table
from shared.reading.quarantine import Quarantine
from shared.reading.records import RecordReader
from shared.reading.typed_rows import typed_rows


@dataclass(frozen=True)
class Read:
    """The good rows by their record numbers, and the bad ones."""

    rows: dict[int, dict[str, Any]]
    quarantine: Quarantine
    records: int

    @property
    def bad(self) -> list[tuple[int, str | None, str]]:
        found = [(r.record_number, r.column, r.code.value) for r in self.quarantine.rows]
        return sorted(found, key=lambda fault: fault[0])


ReadFile = Callable[..., Read]


def table_of(columns: dict[str, Any], key: str = "id", **fields: Any) -> Table:
    return Table.model_validate({"key": [key], "columns": columns, **fields})


def read_in(
    folder: Path,
    table: Table,
    content: bytes,
    name: str = "t.csv",
    block_bytes: int = 1 << 20,
    limit: int = 1000,
) -> Read:
    path = folder / "spooled"
    path.write_bytes(content)
    quarantine = Quarantine("t", limit)
    reader = RecordReader(name, path, table, quarantine, block_bytes)
    rows: dict[int, dict[str, Any]] = {}
    for batch in reader.batches():
        for row in typed_rows(batch, table, quarantine, 0).to_pylist():
            rows[row.pop("record_number")] = row
    assert len(rows) + quarantine.count == reader.records
    return Read(rows, quarantine, reader.records)


@pytest.fixture
def read(tmp_path: Path) -> ReadFile:
    return partial(read_in, tmp_path)
