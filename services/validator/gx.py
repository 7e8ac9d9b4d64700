"""Great Expectations as we use it: its only importer.

The import takes seconds and 280 MB, so it is done once, when the process starts.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

with warnings.catch_warnings():
    # It imports modules that Python deprecates; our tests turn warnings into errors.
    warnings.simplefilter("ignore", DeprecationWarning)
    import great_expectations
    from great_expectations.compatibility.pydantic import ValidationError as PydanticError
    from great_expectations.core.batch import Batch
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )
    from great_expectations.exceptions.exceptions import GreatExpectationsError
    from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
    from great_expectations.execution_engine.sqlalchemy_execution_engine import (
        SqlAlchemyExecutionEngine,
    )
    from great_expectations.expectations import registry
    from great_expectations.expectations.expectation import (
        ColumnMapExpectation,
        ColumnPairMapExpectation,
        MulticolumnMapExpectation,
    )
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.validator.validator import Validator

__all__ = [
    "BY_COLUMN_TYPE",
    "Batch",
    "ExpectationConfiguration",
    "GreatExpectationsError",
    "OneConnection",
    "PydanticError",
    "SqlAlchemyBatchData",
    "SqlAlchemyExecutionEngine",
    "Validator",
    "counts_values",
    "new_context",
    "registry",
    "version",
]

version: str = great_expectations.__version__
_MAPS = (ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation)
BY_COLUMN_TYPE = {"expect_column_values_to_be_of_type", "expect_column_values_to_be_in_type_list"}
"""On SQL these look at the column's type, not at its values, and so need no metric of their own."""


def new_context() -> Any:
    """A context that keeps nothing, writes no file, shows no progress bar and calls nobody."""
    return great_expectations.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False),
            store_backend_defaults=InMemoryStoreBackendDefaults(),
        ),
    )


def counts_values(name: str) -> bool:
    """Whether the expectation is about each value or row, and not about a column as a whole."""
    implementation = registry.get_expectation_impl(name)
    return name not in BY_COLUMN_TYPE and issubclass(implementation, _MAPS)


class OneConnection(SqlAlchemyExecutionEngine):
    """GX's SQL engine on a connection that is ours for as long as the run lasts.

    Its own way is to fetch a query's rows after it gave the connection back to the pool, and to
    dispose of the pool when it is garbage collected. Runs that share a pool then close each
    other's cursors, and the service's other connections with them.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(engine=connection.engine)
        self._held = connection
        self._session = connection.connection.dbapi_connection
        self._inspector = inspect(connection)
        self.error: DBAPIError | None = None
        """The first database error, which GX keeps only as text."""

    @property
    def is_lost(self) -> bool:
        """Whether the connection of the start is gone; GX goes on silently with another one."""
        return self._session is None or bool(self._session.closed)

    @contextmanager
    def get_connection(self) -> Iterator[Connection]:
        """The connection of the run; it stays open."""
        yield self._held

    def close(self) -> None:
        """Leave the pool alone: it isn't GX's."""

    def execute_query(self, query: Any) -> Any:
        """The query's result; its error is kept in `error` as well."""
        try:
            return super().execute_query(query)
        except DBAPIError as error:
            self.error = self.error or error
            raise
