"""The limit: the file as it is, by one COPY, into an unlogged table without an index."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg2

from benchmarks.dataset import COLUMNS
from shared.database.engine import libpq_uri
from shared.settings import Settings

_BUFFER_BYTES = 1 << 20


def make() -> "RawCopy":
    """The role in `benchmarks.worker`."""
    return RawCopy(libpq_uri(Settings()))


class RawCopy:
    """Copies the file `file` into a table that is made before the clock starts."""

    def __init__(self, database: str) -> None:
        self._database = database

    def __call__(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Do one load."""
        columns = ", ".join(f"{name} {sql_type}" for name, sql_type in COLUMNS.items())
        connection = psycopg2.connect(self._database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE UNLOGGED TABLE raw_copy ({columns})")
                connection.commit()
                begun = time.perf_counter()
                with Path(task["file"]).open("rb") as file:
                    cursor.copy_expert(
                        "COPY raw_copy FROM STDIN (FORMAT csv, HEADER)", file, size=_BUFFER_BYTES
                    )
                connection.commit()
                seconds = time.perf_counter() - begun
                rows = cursor.rowcount
                cursor.execute("DROP TABLE raw_copy")
                connection.commit()
        finally:
            connection.close()
        return {"seconds": seconds, "rows": rows}
