"""A file with some of its records replaced or left out; all others stay as they are."""

import codecs
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from shared.errors import PermanentError
from shared.mending.csv_records import parse, split_records, written
from shared.mending.landed import LandedSlice
from shared.mending.sheet import MendedRow
from shared.reading.dialect import Dialect


class CanNotBeWritten(PermanentError):
    """A mended value has no place in its file: the file's type or encoding has no such value."""


def rewrite(slice_: LandedSlice, file: str, rows: Mapping[int, MendedRow], path: Path) -> int:
    """Write `file` to `path` with `rows` in the place of its records; how many records it loses.

    `rows` are by their numbers in the source. The result is compressed and, where the spec names an
    encoding, encoded as the file is; else it is UTF-8. The same rows give the same bytes.

    Raises `CanNotBeWritten`, and `PermanentError` where a record isn't there.
    """
    wanted = {number - slice_.first_row: row for number, row in rows.items()}
    if slice_.is_parquet(file):
        found = _rewrite_parquet(slice_.path(file), wanted, path)
    else:
        declared = slice_.table_of(file).format.encoding
        dialect = slice_.dialect(file)
        found = _rewrite_csv(slice_.path(file), dialect, declared, wanted, path)
    if missing := sorted(wanted.keys() - found):
        raise PermanentError(f"{file} has no record {missing[0] + slice_.first_row}")
    return sum(row.fields is None for row in rows.values())


def _rewrite_csv(
    source: Path,
    dialect: Dialect,
    declared_encoding: str,
    rows: Mapping[int, MendedRow],
    path: Path,
) -> set[int]:
    encoder = None
    if declared_encoding != "auto" and codecs.lookup(declared_encoding).name != "utf-8":
        encoder = codecs.getincrementalencoder(declared_encoding)()
    decoder = codecs.getincrementaldecoder("utf-8")()
    found = set()
    with pa.output_stream(str(path), compression=dialect.compression) as target:
        for number, piece in split_records(source, dialect, rows.keys()):
            if number is not None:
                found.add(number)
                piece = _replaced(piece, dialect, rows[number])
            if encoder is None:
                target.write(piece)
                continue
            try:
                target.write(encoder.encode(decoder.decode(piece)))
            except UnicodeEncodeError as error:
                at = f"record {number}: " if number is not None else ""
                raise CanNotBeWritten(
                    f"{at}{error.object[error.start : error.end]!r} can't be written in "
                    f"{declared_encoding}, which the spec says of the file"
                ) from error
    return found


def _replaced(record: bytes, dialect: Dialect, row: MendedRow) -> bytes:
    if row.fields is None:
        return b""
    was = parse(record, dialect)
    fields = [
        was.fields[place] if field is None else field for place, field in enumerate(row.fields)
    ]
    return written(fields, dialect, was.end)


def _rewrite_parquet(source: Path, rows: Mapping[int, MendedRow], path: Path) -> set[int]:
    found: set[int] = set()
    with (
        parquet.ParquetFile(source) as file,
        parquet.ParquetWriter(path, file.schema_arrow) as target,
    ):
        passed = 0
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            here = {
                number - 1 - passed: row
                for number, row in rows.items()
                if 0 <= number - 1 - passed < table.num_rows
            }
            found |= {place + 1 + passed for place in here}
            passed += table.num_rows
            target.write_table(_mended(table, here), row_group_size=max(table.num_rows, 1))
    return found


def _mended(table: pa.Table, rows: Mapping[int, MendedRow]) -> pa.Table:
    for column in range(table.num_columns):
        changed = {
            place: row.fields[column]
            for place, row in sorted(rows.items())
            if row.fields is not None and row.fields[column] is not None
        }
        if changed:
            field = table.schema.field(column)
            values = [_parsed(value or "", field, rows[place]) for place, value in changed.items()]
            mask = pa.array([place in changed for place in range(table.num_rows)])
            mended = pc.replace_with_mask(
                table.column(column).combine_chunks(), mask, pa.array(values, field.type)
            )
            table = table.set_column(column, field, mended)
    left_out = [place for place, row in rows.items() if row.fields is None]
    if left_out:
        kept = pa.array([place not in set(left_out) for place in range(table.num_rows)])
        table = table.filter(kept)
    return table


def _parsed(text: str, field: pa.Field, row: MendedRow) -> object:
    if not text:
        return None
    try:
        return pa.scalar(text, pa.string()).cast(field.type).as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise CanNotBeWritten(
            f"record {row.record}: {text!r} is no {field.type}, as {row.file} has in column "
            f"{field.name!r}"
        ) from error
