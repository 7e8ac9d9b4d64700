"""A raw batch as rows of the spec's types, with the rows that can't be typed or keyed set apart."""

import pyarrow as pa
import pyarrow.compute as pc

from shared.arrow_types import ARROW_TYPES, arrow_schema
from shared.contracts.table_spec import ColumnType, Table
from shared.reading.casting import Unreadable, typed_column
from shared.reading.quarantine import Code, Quarantine, QuarantinedRow, SliceFault
from shared.reading.records import RawBatch

KEY_BYTES = 2_000
"""The most that the texts of a key may have together, as UTF-8. An index of Postgres takes 2,704,
and has more in it than the key."""
_VALUE_CHARACTERS = 100
_WORDING = {
    Code.NOT_AN_INTEGER: "is not an integer",
    Code.NOT_A_NUMBER: "is not a number",
    Code.NOT_A_BOOLEAN: "is not a boolean",
    Code.NOT_A_DATE: "is not a date like 2024-01-31",
    Code.NOT_A_TIMESTAMP: "is not a timestamp like 2024-01-31T10:00:00Z",
    Code.NOT_TEXT: "is not text",
    Code.OUT_OF_RANGE: "is out of range",
    Code.NOT_FINITE: "is not a finite number",
    Code.NUL_CHARACTER: "has a NUL character",
    Code.NULL_IN_KEY: "is NULL, but part of the key",
    Code.KEY_TOO_LONG: f"makes the key longer than {KEY_BYTES} bytes",
    Code.NULL_NOT_ALLOWED: "is NULL, which the spec doesn't allow",
}


def staging_schema(table: Table) -> pa.Schema:
    """The spec's columns and `record_number`, as the staging table has them."""
    return arrow_schema(table).append(pa.field("record_number", pa.int64(), nullable=False))


def typed_rows(
    batch: RawBatch, table: Table, quarantine: Quarantine, offset: int
) -> pa.RecordBatch:
    """The good rows of `batch` in `staging_schema`; the others go to `quarantine`.

    A row with several faults counts once, under the first in the order of the spec's columns.
    `offset` is added to the record numbers.
    """
    columns: list[pa.Array] = []
    is_bad: pa.Array | None = None
    key_bytes = pa.repeat(pa.scalar(0, pa.int64()), batch.num_rows)
    for name, column in table.columns.items():
        source = batch.columns.get(name)
        if source is None:
            columns.append(pa.nulls(batch.num_rows, ARROW_TYPES[column.type]))
            continue
        try:
            typed = typed_column(source, column.type, may_have_nul=batch.may_have_nul)
        except Unreadable as error:
            message = f"{batch.file}: column {name}: {error}"
            raise SliceFault(Code.UNREADABLE_FILE, message, column=name) from error
        columns.append(typed.values)
        faults = dict(typed.faults)
        if not table.is_nullable(name) and source.null_count:
            code = Code.NULL_IN_KEY if name in table.key else Code.NULL_NOT_ALLOWED
            faults[code] = pc.is_null(source)
        if name in table.key and column.type is ColumnType.STRING:
            length = pc.fill_null(pc.binary_length(typed.values), 0)
            key_bytes = pc.add(key_bytes, length)
            is_long = pc.greater(key_bytes, KEY_BYTES)
            if pc.any(is_long, min_count=0).as_py():
                faults[Code.KEY_TOO_LONG] = is_long
        for code, rows in faults.items():
            fresh = rows if is_bad is None else pc.and_not(rows, is_bad)
            _quarantine(batch, fresh, name, code, quarantine)
            is_bad = rows if is_bad is None else pc.or_(is_bad, rows)
    numbers = pc.add(batch.record_numbers, offset) if offset else batch.record_numbers
    typed_batch = pa.record_batch([*columns, numbers], schema=staging_schema(table))
    return typed_batch if is_bad is None else typed_batch.filter(pc.invert(is_bad))


def _quarantine(
    batch: RawBatch, rows: pa.Array, column: str, code: Code, quarantine: Quarantine
) -> None:
    count = pc.sum(rows, min_count=0).as_py()
    kept = pc.indices_nonzero(rows)[: max(quarantine.room, 1)].to_pylist() if count else []
    for row in kept:
        value = batch.columns[column][row].as_py()
        shown = "" if value is None else f" {str(value)[:_VALUE_CHARACTERS]!r}"
        quarantine.add(
            QuarantinedRow(
                file=batch.file,
                record_number=batch.record_numbers[row].as_py(),
                column=column,
                code=code,
                reason=f"{column}{shown} {_WORDING[code]}",
                raw=batch.raw(row),
            )
        )
    quarantine.count_only(code, column, count - len(kept))
