"""dlt with its merge write disposition. No history.

The source yields Arrow tables, which is what dlt's documentation recommends for speed: they go
through neither its Python normaliser nor one INSERT a row.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.csv as arrow_csv

from benchmarks.dataset import COLUMNS, KEY, TABLE
from shared.database.engine import libpq_uri
from shared.settings import Settings

FILE_FORMAT = "parquet"
"""Loaded by ADBC's binary COPY. `csv`, dlt's other fast format, was slower in all trials."""
_BLOCK_BYTES = 16 << 20
_ARROW = {
    "text": pa.string(),
    "date": pa.date32(),
    "double precision": pa.float64(),
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
}


def make() -> "DltMerge":
    """The role in `benchmarks.worker`."""
    return DltMerge(libpq_uri(Settings()))


class DltMerge:
    """Merges the file `file` into the table of a pipeline whose folder is this object's own."""

    def __init__(self, database: str) -> None:
        self._pipeline = dlt.pipeline(
            "benchmark",
            pipelines_dir=mkdtemp(prefix="dlt-"),  # below TMPDIR, which the parent removes
            destination=dlt.destinations.postgres(database),
            dataset_name="dlt_merge",
        )

    def __call__(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Do one load."""
        file = Path(task["file"])
        begun = time.perf_counter()
        self._pipeline.run(_resource(file), loader_file_format=FILE_FORMAT)
        seconds = time.perf_counter() - begun
        with self._pipeline.sql_client() as client:
            rows = client.execute_sql(f"SELECT count(*) FROM {TABLE}")
        return {
            "seconds": seconds,
            "steps": _seconds_by_step(self._pipeline.last_trace),
            "rows": rows[0][0] if rows else 0,
        }


def _seconds_by_step(trace: Any) -> dict[str, float]:
    return {step.step: (step.finished_at - step.started_at).total_seconds() for step in trace.steps}


def _resource(file: Path) -> Any:
    return dlt.resource(_tables(file), name=TABLE, primary_key=KEY, write_disposition="merge")


def _tables(file: Path) -> Iterator[pa.Table]:
    types = {name: _ARROW[sql_type] for name, sql_type in COLUMNS.items()}
    with arrow_csv.open_csv(
        file,
        read_options=arrow_csv.ReadOptions(block_size=_BLOCK_BYTES),
        convert_options=arrow_csv.ConvertOptions(column_types=types),
    ) as batches:
        for batch in batches:
            yield pa.Table.from_batches([batch])
