"""Text, or what a Parquet file holds, as values of the spec's types.

A column is cast at one stroke. Only where that fails are the values at fault looked for, by the
very same cast, so that a value's neighbours never decide whether it is accepted.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from shared.arrow_types import ARROW_TYPES
from shared.contracts.table_spec import ColumnType
from shared.reading.quarantine import Code

NOT_OF_TYPE = {
    ColumnType.STRING: Code.NOT_TEXT,
    ColumnType.INTEGER: Code.NOT_AN_INTEGER,
    ColumnType.NUMBER: Code.NOT_A_NUMBER,
    ColumnType.BOOLEAN: Code.NOT_A_BOOLEAN,
    ColumnType.DATE: Code.NOT_A_DATE,
    ColumnType.TIMESTAMP: Code.NOT_A_TIMESTAMP,
}
Cast = Callable[[pa.Array], pa.Array]

# What both Postgres and Python can hold: the years 1 to 9999.
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_DAY_MICROSECONDS = 86_400_000_000
_ZONED = r"[0-9][T ][0-9]{2}.*(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"


class Unreadable(Exception):
    """A Parquet column's type has no values that could stand for the declared type."""


@dataclass(frozen=True)
class TypedColumn:
    """Values of the declared type, NULL where the source was or where the value is at fault.

    `faults` has, for each code, which rows are at fault (a boolean array without NULLs).
    """

    values: pa.Array
    faults: dict[Code, pa.Array]


def typed_column(source: pa.Array, declared: ColumnType, *, may_have_nul: bool) -> TypedColumn:
    """Cast `source`. Raises `Unreadable` where no value of its type could fit."""
    source = _plain(source)
    cast = _cast_for(source.type, declared)
    faults: dict[Code, pa.Array] = {}
    try:
        values = cast(source)
    except pa.ArrowInvalid:
        by_code: dict[Code, list[object]] = {}
        for scalar in _at_fault(source.unique().drop_null(), cast):
            by_code.setdefault(_code_of(scalar.as_py(), declared), []).append(scalar)
        for code, scalars in by_code.items():
            faults[code] = _where(pc.is_in(source, pa.array(scalars, source.type)))
        for rows in faults.values():
            source = pc.if_else(rows, pa.scalar(None, source.type), source)
        values = cast(source)
    for code, rows in _unstorable(values, declared, may_have_nul=may_have_nul):
        faults[code] = rows
        values = pc.if_else(rows, pa.scalar(None, values.type), values)
    return TypedColumn(values, faults)


def _plain(source: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(source.type):
        source = source.dictionary_decode()
    if pa.types.is_large_string(source.type) or pa.types.is_string_view(source.type):
        source = source.cast(pa.string())
    return source


def _at_fault(values: pa.Array, cast: Cast) -> list[pa.Scalar]:
    """Those of `values` that can't be cast, found by halving."""
    try:
        cast(values)
    except pa.ArrowInvalid:
        if len(values) == 1:
            return [values[0]]
        half = len(values) // 2
        return _at_fault(values[:half], cast) + _at_fault(values[half:], cast)
    return []


def _code_of(value: object, declared: ColumnType) -> Code:
    is_whole = isinstance(value, int) or re.fullmatch(r"\s*[+-]?[0-9]+\s*", str(value))
    if declared is ColumnType.INTEGER and is_whole:
        return Code.OUT_OF_RANGE
    return NOT_OF_TYPE[declared]


def _unstorable(
    values: pa.Array, declared: ColumnType, *, may_have_nul: bool
) -> list[tuple[Code, pa.Array]]:
    """Values that are of the type, but that we refuse or Postgres can't hold."""
    if declared is ColumnType.NUMBER and not _all(pc.is_finite(values)):
        return [(Code.NOT_FINITE, _where(pc.invert(pc.is_finite(values))))]
    if declared is ColumnType.STRING and may_have_nul:
        rows = _where(pc.match_substring(values, "\0"))
        return [(Code.NUL_CHARACTER, rows)] if pc.any(rows).as_py() else []
    if declared in (ColumnType.DATE, ColumnType.TIMESTAMP):
        is_date = declared is ColumnType.DATE
        scale = 1 if is_date else _DAY_MICROSECONDS
        numbers = values.cast(pa.int32() if is_date else pa.int64())
        bounds = pc.min_max(numbers).as_py()
        low, high = _FIRST_DAY * scale, (_LAST_DAY + 1) * scale - 1
        if bounds["min"] is not None and (bounds["min"] < low or bounds["max"] > high):
            rows = _where(pc.or_(pc.less(numbers, low), pc.greater(numbers, high)))
            return [(Code.OUT_OF_RANGE, rows)]
    return []


def _all(rows: pa.Array) -> bool:
    return bool(pc.all(rows, min_count=0).as_py())


def _where(rows: pa.Array) -> pa.Array:
    return pc.fill_null(rows, False)


def _cast_for(source: pa.DataType, declared: ColumnType) -> Cast:
    """The cast from `source`. It raises `ArrowInvalid` where any of the values doesn't fit."""
    target = ARROW_TYPES[declared]
    if pa.types.is_null(source):
        return lambda values: values.cast(target)
    if pa.types.is_string(source):
        return _TEXT_CASTS[declared]
    is_whole = pa.types.is_integer(source) or pa.types.is_boolean(source)
    is_numeric = is_whole or pa.types.is_floating(source) or pa.types.is_decimal(source)
    is_temporal = pa.types.is_date(source) or pa.types.is_timestamp(source)
    if source == target or (declared is ColumnType.INTEGER and is_numeric):
        return lambda values: values.cast(target)
    if declared is ColumnType.STRING and (is_whole or pa.types.is_binary(source)):
        return lambda values: values.cast(target)
    if declared is ColumnType.NUMBER and is_numeric:
        # A large whole number is rounded, as it would be from text.
        return lambda values: values.cast(target, safe=False)
    if declared is ColumnType.BOOLEAN and pa.types.is_integer(source):
        return lambda values: values.cast(pa.string()).cast(target)
    if declared is ColumnType.DATE and is_temporal:
        return _whole_days
    if declared is ColumnType.TIMESTAMP and is_temporal:
        # Nanoseconds are cut off; without a zone the time is taken as UTC.
        return lambda values: values.cast(target, safe=False)
    raise Unreadable(f"{source} is not {declared.value}")


def _whole_days(values: pa.Array) -> pa.Array:
    days = values.cast(pa.date32())
    if pa.types.is_timestamp(values.type) and not _all(pc.equal(days.cast(values.type), values)):
        raise pa.ArrowInvalid("a time of day is not a date")
    return days


def _integers(text: pa.Array) -> pa.Array:
    # Arrow reads 0x1F as 31; in a column of whole numbers that is no number but a mistake.
    if pc.any(pc.match_substring(text, "x", ignore_case=True)).as_py():
        raise pa.ArrowInvalid("hexadecimal")
    try:
        return text.cast(pa.int64())
    except pa.ArrowInvalid:
        unsigned = pc.replace_substring_regex(pc.utf8_trim_whitespace(text), r"^\+([0-9])", r"\1")
        return unsigned.cast(pa.int64())


def _trimmed(target: pa.DataType) -> Cast:
    """A cast for which blanks around a value don't count."""

    def cast(text: pa.Array) -> pa.Array:
        try:
            return text.cast(target)
        except pa.ArrowInvalid:
            return pc.utf8_trim_whitespace(text).cast(target)

    return cast


def _timestamps(text: pa.Array) -> pa.Array:
    target = ARROW_TYPES[ColumnType.TIMESTAMP]
    try:
        return text.cast(target)
    except pa.ArrowInvalid:
        pass  # Arrow wants all values with a zone or all without
    text = pc.replace_substring_regex(pc.utf8_trim_whitespace(text), r"(\.[0-9]{6})[0-9]+", r"\1")
    is_zoned = pc.match_substring_regex(text, _ZONED)
    none = pa.scalar(None, pa.string())
    zoned = pc.if_else(is_zoned, text, none).cast(target)
    local = pc.if_else(is_zoned, none, text).cast(pa.timestamp("us"))
    return pc.coalesce(zoned, pc.assume_timezone(local, "UTC"))


_TEXT_CASTS: dict[ColumnType, Cast] = {
    ColumnType.STRING: lambda text: text,
    ColumnType.INTEGER: _integers,
    ColumnType.NUMBER: _trimmed(pa.float64()),
    ColumnType.BOOLEAN: _trimmed(pa.bool_()),
    ColumnType.DATE: _trimmed(pa.date32()),
    ColumnType.TIMESTAMP: _timestamps,
}
