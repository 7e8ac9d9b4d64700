"""Failed expectations in plain words, for people who have to mend a drop."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.validator.results import ValidationResult, key_text

_SHOWN = 3

_ROWS: Mapping[str, str] = {
    "expect_column_values_to_not_be_null": "missing",
    "expect_column_values_to_be_null": "present where none may be",
    "expect_column_values_to_be_unique": "found more than once",
    "expect_column_values_to_be_between": "not {range}",
    "expect_column_value_lengths_to_be_between": "not {range} in length",
    "expect_column_value_lengths_to_equal": "not of length {value}",
    "expect_column_values_to_be_in_set": "none of {value_set}",
    "expect_column_values_to_not_be_in_set": "one of {value_set}",
    "expect_column_values_to_match_regex": "not like the pattern {regex}",
    "expect_column_values_to_not_match_regex": "like the pattern {regex}",
    "expect_column_values_to_match_like_pattern": "not like the pattern {like_pattern}",
    "expect_column_pair_values_to_be_equal": "not equal",
    "expect_column_pair_values_a_to_be_greater_than_b": "not greater in {column_A} than {column_B}",
    "expect_compound_columns_to_be_unique": "found more than once together",
}
"""What is said of the values at fault, by expectation. Others are named as they are."""


def in_words(result: ValidationResult, key: Sequence[str]) -> str:
    """What failed, where, how often, and the first offenders. `key` is the table's key."""
    where = f"{result.table}.{result.column}" if result.column else result.table
    facts = dict(result.kwargs) | {"range": _range(result.kwargs)}
    said = _ROWS.get(result.expectation)
    if result.unexpected_count and result.element_count is not None:
        what = said.format_map(_Quoted(facts)) if said else f"against {_call(result)}"
        count = result.unexpected_count
        verb = "is" if count == 1 else "are"
        text = f"{where}: {count:,} of {result.element_count:,} values {verb} {what}"
    else:
        text = f"{where}: {_call(result)} does not hold"
        if result.observed_value is not None:
            text += f", found {_shown(result.observed_value)}"
    return text + _offenders(result, key)


def _offenders(result: ValidationResult, key: Sequence[str]) -> str:
    if not result.failing_keys:
        return ""
    shown = []
    for row in result.failing_keys[:_SHOWN]:
        values = [_shown(row[name]) for name in row if name not in key]
        at = key_text(row, key)
        shown.append(f"{' and '.join(values)} at {at}" if values else at)
    more = (result.unexpected_count or 0) - len(shown)
    return ": " + "; ".join(shown) + (f"; and {more:,} more" if more > 0 else "")


def _range(kwargs: Mapping[str, Any]) -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    above = "more than" if kwargs.get("strict_min") else "at least"
    below = "less than" if kwargs.get("strict_max") else "at most"
    parts = []
    if low is not None:
        parts.append(f"{above} {_shown(low)}")
    if high is not None:
        parts.append(f"{below} {_shown(high)}")
    return " and ".join(parts)


def _call(result: ValidationResult) -> str:
    arguments = ", ".join(
        f"{name}=[{_shown(value)}]" if isinstance(value, list) else f"{name}={_shown(value)}"
        for name, value in result.kwargs.items()
    )
    return f"{result.expectation}({arguments})"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return "NULL" if value is None else str(value)


class _Quoted(dict[str, Any]):
    """Arguments as they are shown; one that is absent shows as an ellipsis."""

    def __getitem__(self, name: str) -> str:
        if name not in self:
            return "…"
        value = super().__getitem__(name)
        return value if name in ("range", "column_A", "column_B") else _shown(value)
