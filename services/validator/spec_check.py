"""Whether a spec's expectations can be evaluated at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from sqlalchemy import create_engine

from services.validator.gx import (
    BY_COLUMN_TYPE,
    GreatExpectationsError,
    PydanticError,
    SqlAlchemyExecutionEngine,
    registry,
    version,
)
from services.validator.results import columns_of
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import Expectation

_ALWAYS_SO = "a staged table has the columns of the spec, and record_number"
_ELSEWHERE = "a staged table's name is new with every load; use a foreign key"
_NO_USE_HERE: Mapping[str, str] = {
    "expect_table_columns_to_match_ordered_list": _ALWAYS_SO,
    "expect_table_columns_to_match_set": _ALWAYS_SO,
    "expect_table_column_count_to_equal": _ALWAYS_SO,
    "expect_table_column_count_to_be_between": _ALWAYS_SO,
    "expect_table_row_count_to_equal_other_table": _ELSEWHERE,
    "expect_query_results_to_match_comparison": _ELSEWHERE,
}


@dataclass(frozen=True)
class ExpectationFault:
    """An expectation of a spec that can't be evaluated. `path` is as `SpecFault` has it."""

    table: str
    position: int
    type: str
    message: str

    @property
    def path(self) -> str:
        """Where in the spec, like `tables.users.expectations.0`."""
        return f"tables.{self.table}.expectations.{self.position}"

    def __str__(self) -> str:
        return f"{self.path}: {self.type}: {self.message}"


def expectation_faults(spec: DatasetSpec) -> list[ExpectationFault]:
    """What is wrong with the spec's expectations, found without data or a server; milliseconds.

    Finds names and arguments that Great Expectations doesn't know, columns that the table doesn't
    have, and expectations that make no sense on staged tables or have no SQL. What shows on data
    only (a bad regular expression, a comparison of unlike types) is found by `Suites.run`.
    """
    return [
        ExpectationFault(name, position, expectation.type, message)
        for name, table in spec.tables.items()
        for position, expectation in enumerate(table.expectations)
        if (message := _fault(expectation, frozenset(table.columns))) is not None
    ]


def _fault(expectation: Expectation, columns: frozenset[str]) -> str | None:
    """What is wrong with one expectation; None where nothing is."""
    if expectation.type in _NO_USE_HERE:
        return f"can't be used: {_NO_USE_HERE[expectation.type]}"
    try:
        implementation = registry.get_expectation_impl(expectation.type)
    except GreatExpectationsError:
        close = get_close_matches(
            expectation.type, registry.list_registered_expectation_implementations(), n=1
        )
        hint = f"; is it {close[0]}?" if close else ""
        return f"is no expectation of Great Expectations {version}{hint}"
    try:
        implementation(**expectation.kwargs)
    except PydanticError as error:
        return "; ".join(_argument_fault(found) for found in error.errors())
    except (GreatExpectationsError, TypeError, ValueError) as error:
        return str(error)
    for column in columns_of(expectation.kwargs):
        if column not in columns:
            return f"names the column {column!r}, which the table doesn't have"
    if not _has_sql(expectation.type, implementation):
        return "can't be evaluated in SQL"
    return None


def _argument_fault(found: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in found["loc"] if part != "__root__")
    return f"{where}: {found['msg']}" if where else str(found["msg"])


def _has_sql(name: str, implementation: Any) -> bool:
    metric = getattr(implementation, "map_metric", None)
    if not isinstance(metric, str) or name in BY_COLUMN_TYPE:
        return True
    # No connection is made: only the engine's class is looked at.
    engine = SqlAlchemyExecutionEngine(engine=create_engine("postgresql+psycopg2://"))
    try:
        registry.get_metric_provider(f"{metric}.condition", engine)
    except GreatExpectationsError:
        return False
    return True
