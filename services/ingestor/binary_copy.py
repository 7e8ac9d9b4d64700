"""Arrow batches into Postgres by binary COPY, through ADBC's driver.

On the driver manager itself and not on its DB-API layer: that one imports pyarrow's datasets, and
with them pandas where it is installed, which is 40 MB that the ingestor has no use for.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import adbc_driver_postgresql
import pyarrow as pa
from adbc_driver_manager import AdbcConnection, AdbcStatement


class AdbcTransaction:
    """An open transaction. Raises `adbc_driver_manager.Error`."""

    def __init__(self, connection: AdbcConnection) -> None:
        self._connection = connection

    def execute(self, statement: str) -> None:
        """Run a statement without a result."""
        with AdbcStatement(self._connection) as prepared:
            prepared.set_sql_query(statement)
            prepared.execute_update()

    def append(self, schema: str, table: str, rows: pa.RecordBatchReader) -> None:
        """Add `rows` to a table that is there. They are read as they are sent."""
        with AdbcStatement(self._connection) as prepared:
            prepared.set_options(
                **{
                    "adbc.ingest.target_db_schema": schema,
                    "adbc.ingest.target_table": table,
                    "adbc.ingest.mode": "adbc.ingest.mode.append",
                }
            )
            prepared.bind_stream(rows)
            prepared.execute_update()


@contextmanager
def adbc_transaction(uri: str) -> Iterator[AdbcTransaction]:
    """A transaction on the database at `uri`: committed at the end, rolled back at an exception."""
    with (
        adbc_driver_postgresql.connect(uri) as database,
        AdbcConnection(database) as connection,
    ):
        connection.set_autocommit(False)
        try:
            yield AdbcTransaction(connection)
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
