"""Great Expectations' suites, run by its SQL engine on staged tables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, NotSupportedError, ProgrammingError

from services.validator.gx import (
    Batch,
    ExpectationConfiguration,
    OneConnection,
    SqlAlchemyBatchData,
    Validator,
    counts_values,
    new_context,
)
from services.validator.results import ValidationResult, columns_of, json_safe
from services.validator.wording import in_words
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import Expectation
from shared.database.dataset_tables import staging_schema
from shared.errors import InvalidSpec, ServerUnavailable

_FormatOf = Callable[[Expectation], dict[str, Any]]


class Suites:
    """Runs the suites of staged tables. Thread-safe: nothing is shared between two runs."""

    def __init__(self, engine: Engine, *, failing_keys_kept: int) -> None:
        self._engine = engine
        self._failing_keys_kept = failing_keys_kept
        self._context = new_context()

    def run(
        self, spec: DatasetSpec, table: str, staging_table: str, rows: int
    ) -> list[ValidationResult]:
        """The results of the table's expectations, in their order; the table has `rows` rows.

        Each has its count of failing values and a sample of them with their keys. Raises
        `InvalidSpec`, naming the expectation, where one can't be evaluated, and
        `ServerUnavailable` or the database's own error where that is to blame.
        """
        expectations = spec.tables[table].expectations
        if not expectations:
            return []
        with self._engine.connect() as connection:
            # Each query for itself: one that fails must not spoil those after it.
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            run = _Run(connection, self._context, spec, table, staging_table, rows)
            found = run.evaluate(dict(enumerate(expectations)), self._first_format(spec, table))
            failed = {
                position: expectations[position]
                for position, evaluated in found.items()
                if not evaluated.success and not evaluated.result
            }
            found |= run.evaluate(failed, lambda _: self._with_keys(spec, table))
        return [
            run.result(expectation, found[position])
            for position, expectation in enumerate(expectations)
        ]

    def _first_format(self, spec: DatasetSpec, table: str) -> _FormatOf:
        """Ask for no samples while all is well: they cost one more scan for each expectation."""

        def format_of(expectation: Expectation) -> dict[str, Any]:
            kwargs = expectation.kwargs
            if not counts_values(expectation.type):
                return {"result_format": "BASIC"}
            if kwargs.get("mostly", 1) != 1 or kwargs.get("row_condition") is not None:
                return self._with_keys(spec, table)  # its counts say more than yes or no
            return {"result_format": "BOOLEAN_ONLY"}

        return format_of

    def _with_keys(self, spec: DatasetSpec, table: str) -> dict[str, Any]:
        return {
            "result_format": "SUMMARY",
            "partial_unexpected_count": self._failing_keys_kept,
            "unexpected_index_column_names": list(spec.tables[table].key),
        }


@dataclass(frozen=True)
class _Run:
    """One table's suite on one connection."""

    connection: Connection
    context: Any
    spec: DatasetSpec
    table: str
    staging_table: str
    rows: int

    def evaluate(
        self, expectations: Mapping[int, Expectation], format_of: _FormatOf
    ) -> dict[int, Any]:
        """GX's results by the expectations' positions."""
        if not expectations:
            return {}
        configurations = [
            ExpectationConfiguration(
                type=expectation.type,
                kwargs={**expectation.kwargs, "result_format": format_of(expectation)},
                meta={"position": position},  # GX returns results in an order of its own
            )
            for position, expectation in expectations.items()
        ]
        engine = OneConnection(self.connection)
        data = SqlAlchemyBatchData(
            execution_engine=engine,
            schema_name=staging_schema(self.spec.dataset),
            table_name=self.staging_table,
            create_temp_table=False,
        )
        batch = Batch(data=data)  # type: ignore[arg-type]  # GX says the class, and means its object
        validator = Validator(execution_engine=engine, data_context=self.context, batches=[batch])
        try:
            evaluated = validator.graph_validate(configurations=configurations)
        except Exception as error:
            self._pass_on_database_errors(engine, error)
            names = ", ".join(sorted({expectation.type for expectation in expectations.values()}))
            raise InvalidSpec(f"{self.table}: {names}: {error}") from error
        found = {}
        for result in evaluated:
            position = result["expectation_config"]["meta"]["position"]
            if problem := _problem(result.exception_info):
                self._pass_on_database_errors(engine, problem)
                raise InvalidSpec(
                    f"tables.{self.table}.expectations.{position}: "
                    f"{expectations[position].type} can't be evaluated: {problem}"
                )
            found[position] = result
        return found

    def result(self, expectation: Expectation, evaluated: Any) -> ValidationResult:
        """What GX found, as ours."""
        found = json_safe(evaluated.result or {})
        is_map = counts_values(expectation.type)
        column = expectation.kwargs.get("column", "value")
        rows = found.get("partial_unexpected_index_list") or [
            value if isinstance(value, dict) else {column: value}
            for value in found.get("partial_unexpected_list") or ()
        ]
        result = ValidationResult(
            table=self.table,
            expectation=expectation.type,
            success=bool(evaluated.success),
            kwargs=json_safe(expectation.kwargs),
            columns=tuple(columns_of(expectation.kwargs)),
            severity=expectation.severity,
            observed_value=found.get("observed_value"),
            # The first format leaves counts out, and no second was needed where nothing failed.
            element_count=found.get("element_count", self.rows if is_map else None),
            unexpected_count=found.get("unexpected_count", 0 if is_map else None),
            failing_keys=tuple(rows),
        )
        if result.success:
            return result
        return replace(result, message=in_words(result, self.spec.tables[self.table].key))

    def _pass_on_database_errors(self, engine: OneConnection, found: object) -> None:
        """Raise what the database is to blame for, and not the expectation."""
        if engine.is_lost:
            raise ServerUnavailable("Postgres", found)
        if engine.error is not None and not isinstance(
            engine.error, ProgrammingError | DataError | NotSupportedError
        ):
            raise engine.error


def _problem(exception_info: Mapping[str, Any] | None) -> str | None:
    """The first line of an exception that GX caught; None where there is none."""
    if not exception_info:
        return None
    if "exception_message" in exception_info:
        message = exception_info["exception_message"]
    else:  # one by metric
        message = next(iter(exception_info.values()))["exception_message"]
    return str(message).strip().partition("\n")[0] or "unknown error" if message else None
