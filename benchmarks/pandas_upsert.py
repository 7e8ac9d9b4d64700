"""The course's way: `read_csv`, `to_sql` into a passing table, ON CONFLICT. No history."""

import time
from collections.abc import Mapping
from typing import Any

import pandas as pd
from sqlalchemy import Engine

from benchmarks.dataset import COLUMNS, KEY
from shared.database.engine import make_engine
from shared.settings import Settings


def make() -> "PandasUpsert":
    """The role in `benchmarks.worker`."""
    return PandasUpsert(make_engine(Settings(), application="pandas"))


class PandasUpsert:
    """Merges the file `file` into a table with a primary key, made at the first load."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Do one load."""
        definitions = ", ".join(f"{name} {sql_type}" for name, sql_type in COLUMNS.items())
        names = ", ".join(COLUMNS)
        casts = ", ".join(f"{name}::{sql_type}" for name, sql_type in COLUMNS.items())
        updates = ", ".join(f"{name} = EXCLUDED.{name}" for name in COLUMNS if name != KEY)
        with self._engine.begin() as connection:
            connection.exec_driver_sql(
                f"CREATE TABLE IF NOT EXISTS pandas_upsert ({definitions}, PRIMARY KEY ({KEY}))"
            )
        begun = time.perf_counter()
        frame = pd.read_csv(task["file"], parse_dates=["signup_date"])
        with self._engine.begin() as connection:
            frame.to_sql("pandas_passing", connection, if_exists="replace", index=False)
            rows = connection.exec_driver_sql(f"""
                INSERT INTO pandas_upsert ({names}) SELECT {casts} FROM pandas_passing
                ON CONFLICT ({KEY}) DO UPDATE SET {updates}
            """).rowcount
            connection.exec_driver_sql("DROP TABLE pandas_passing")
        return {"seconds": time.perf_counter() - begun, "rows": rows}
