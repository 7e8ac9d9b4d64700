from collections.abc import Callable
from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from shared.arrow_types import ARROW_TYPES
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import ColumnType


@pytest.fixture
def spec() -> DatasetSpec:
    """People, their habits and whether they left; every type of column is a feature."""
    return DatasetSpec.model_validate(
        {
            "dataset": "club",
            "slices": {"naming": {"pattern": "{date:%Y-%m-%d}"}},
            "tables": {
                "people": {
                    "key": ["id"],
                    "columns": {
                        "id": "string",
                        "joined": "date",
                        "seen": "timestamp",
                        "town": "string",
                        "pays": "boolean",
                    },
                },
                "habits": {
                    "key": ["id"],
                    "columns": {"id": "string", "visits": "integer", "hours": "number"},
                },
                "labels": {"key": ["id"], "columns": {"id": "string", "left": "boolean"}},
            },
            "training": {
                "entity": "id",
                "target": {"table": "labels", "column": "left"},
                "features": {
                    "people": ["joined", "seen", "town", "pays"],
                    "habits": ["visits", "hours"],
                },
                "split": {"test_share": 0.3, "salt": "club"},
                "balance": {"strategy": "random_oversample", "seed": 7},
                "model": {"name": "club_left", "kind": "logistic_regression"},
            },
        }
    )


AS_OF = date(2024, 3, 31)


@pytest.fixture
def reader(
    spec: DatasetSpec,
) -> Callable[[dict[str, list[dict[str, Any]]]], Callable[..., pa.Table]]:
    """Makes, of rows by table, what reads a snapshot's tables."""

    def make(tables: dict[str, list[dict[str, Any]]]) -> Callable[..., pa.Table]:
        def read(table: str, columns: dict[str, ColumnType]) -> pa.Table:
            schema = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in columns.items()])
            return pa.Table.from_pylist(tables[table], schema=schema)

        return read

    return make
