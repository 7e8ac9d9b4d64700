"""Validation results: what came of one expectation, Great Expectations' or Headrace's own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from shared.contracts.events import Reason
from shared.contracts.table_spec import Severity

TEXT_KEPT = 200
"""Characters of a value that are shown: an event or a report must not carry a whole document."""
SAMPLE_IN_EVENT = 20
"""Keys in an event's reason at most; `validation_results` and the report may have more."""

_COLUMN_KWARGS = ("column", "column_A", "column_B", "column_list")


@dataclass(frozen=True)
class ValidationResult:
    """What came of one expectation on one table.

    `failing_keys` is a sample: for each row its key's columns and the values at fault, by column
    name; JSON-safe, as `observed_value` and `kwargs` are.
    """

    table: str
    expectation: str
    success: bool
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    observed_value: Any = None
    element_count: int | None = None
    unexpected_count: int | None = None
    failing_keys: tuple[Mapping[str, Any], ...] = ()
    message: str | None = None
    severity: Severity = Severity.CRITICAL
    """What follows where there is no success: `warning` only flags the rows."""

    @property
    def column(self) -> str | None:
        """The column or columns that the expectation is about, as text."""
        return ", ".join(self.columns) or None

    def reason(self, key: Sequence[str]) -> Reason:
        """The failure as a cause of the slice's rejection. `key` is the table's key."""
        sample = [key_text(row, key) for row in self.failing_keys[:SAMPLE_IN_EVENT]]
        return Reason(
            code=self.expectation,
            message=self.message or f"{self.table}: {self.expectation} failed",
            table=self.table,
            column=self.column,
            count=self.unexpected_count or 1,
            sample=tuple(sample),
        )


def columns_of(kwargs: Mapping[str, Any]) -> list[str]:
    """The columns that the arguments of one of Great Expectations' expectations name."""
    names: list[str] = []
    for kwarg in _COLUMN_KWARGS:
        value = kwargs.get(kwarg)
        if isinstance(value, str):
            names.append(value)
        elif isinstance(value, Sequence):
            names += map(str, value)
    return names


def key_text(row: Mapping[str, Any], key: Sequence[str]) -> str:
    """The key of a failing row as text; all of its values where the key is not among them."""
    if len(key) == 1 and key[0] in row:
        return str(row[key[0]])
    columns = key if all(column in row for column in key) else list(row)
    return ", ".join(f"{column}={row[column]}" for column in columns)


def json_safe(value: Any) -> Any:
    """`value` as JSON and Postgres' jsonb can hold it; what they can't is written as text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        text = value.replace("\x00", "\\x00")  # jsonb refuses the character
        return text if len(text) <= TEXT_KEPT else text[: TEXT_KEPT - 1] + "…"
    if isinstance(value, Decimal):
        return _of_decimal(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(json_safe(key)): json_safe(part) for key, part in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes | bytearray):
        return [json_safe(part) for part in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a numpy scalar
        return json_safe(value.item())
    return json_safe(str(value))


def _of_decimal(value: Decimal) -> int | float | str:
    if not value.is_finite():
        return str(value)
    return int(value) if value == value.to_integral_value() else json_safe(float(value))
