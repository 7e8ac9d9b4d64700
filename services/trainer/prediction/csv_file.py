"""A CSV file of rows in, a CSV file of answers out, in bounded memory, whole or not at all."""

import csv
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from services.trainer.prediction.answers import Answers, Predictor, Unanswerable, rows_of
from services.trainer.prediction.header import Header, known_names, read_header
from shared.contracts.manifest import FeatureField
from shared.contracts.table_spec import ColumnType, Format

BATCH_ROWS = 4_096
"""Asked about at once; what a batch takes in memory doesn't grow with the file."""
DELIMITERS = (",", ";", "\t", "|")
_VALUE_CHARACTERS = 100


class TypedValues(Protocol):
    """Values of a type, NULL where the text was or is at fault."""

    @property
    def values(self) -> pa.Array:
        """The values."""

    @property
    def faults(self) -> Mapping[Any, pa.Array]:
        """By what is wrong, as `not_an_integer`: in which rows."""


TypeTexts = Callable[[pa.Array, ColumnType], TypedValues]
"""Reads texts as values of a type: the same function with which slices are loaded."""


@dataclass
class _Batch:
    """Records as they stand in the file, and the line where each begins."""

    first_record: int
    records: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def predict_file(
    predictor: Predictor,
    source: Path,
    target: Path,
    *,
    as_of: date,
    type_texts: TypeTexts,
    longest_field: int,
) -> int:
    """Write the answers about the rows of `source` to `target`; return their number.

    `target` has the row number and the entity as they are in `source`, then `predicted`,
    `confidence` where the model has probabilities, and `model_version`. It appears when it is
    whole; after an error it is as before. A field of `source` may have `longest_field` characters.
    Raises `Unanswerable`, with record, line and column, for what is wrong with `source`.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise Unanswerable(f"{target} is the file to be read: name another one for the answers")
    fields = _FileFormat.of(predictor)
    limit = csv.field_size_limit(longest_field)
    rows = 0
    try:
        with _opened(source, fields) as file, _appearing_whole(target) as out:
            reader = csv.reader(
                file,
                delimiter=fields.delimiter(source, predictor),
                quotechar=fields.quote,
                strict=True,
            )
            names = _next_record(reader, source, 0)
            if names is None:
                raise Unanswerable(f"{source} is empty, without even a header")
            header = read_header(predictor, names, str(source))
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(_heading(header, predictor))
            for batch in _batches(reader, header, source):
                table = _typed(predictor, header, batch, source, type_texts)
                answers = predictor.answer(table, as_of)
                writer.writerows(_lines(batch, header, predictor, answers))
                rows += len(batch.records)
    except UnicodeDecodeError as error:
        raise Unanswerable(
            f"{source}: after record {rows}: byte 0x{error.object[error.start]:02x} is no text in "
            f"{fields.encoding}: save the file as UTF-8, or declare its encoding in the spec"
        ) from error
    finally:
        csv.field_size_limit(limit)
    return rows


@dataclass(frozen=True)
class _FileFormat:
    """How the file is written: as the table of the first feature is, where its spec says so."""

    declared: Format

    @classmethod
    def of(cls, predictor: Predictor) -> "_FileFormat":
        table = predictor.spec.tables.get(predictor.features[0].table)
        return cls(table.format if table else Format())

    @property
    def quote(self) -> str:
        return self.declared.quote

    @property
    def encoding(self) -> str:
        is_utf8 = self.declared.encoding.lower() in ("auto", "utf-8", "utf8")
        return "utf-8-sig" if is_utf8 else self.declared.encoding

    def delimiter(self, source: Path, predictor: Predictor) -> str:
        """The declared delimiter, or the one with which the header has most names we know."""
        if self.declared.delimiter != "auto":
            return self.declared.delimiter
        known = known_names(predictor) - {""}

        def fit(delimiter: str) -> int:
            with _opened(source, self) as file:
                try:
                    names = next(csv.reader(file, delimiter=delimiter, quotechar=self.quote), [])
                except csv.Error:
                    return 0
            return len(known.intersection(names))

        return max(DELIMITERS, key=fit)


@contextmanager
def _opened(source: Path, fields: _FileFormat) -> Iterator[IO[str]]:
    try:
        file = source.open(encoding=fields.encoding, newline="")
    except OSError as error:
        raise Unanswerable(f"{source} can't be read: {error.strerror}") from error
    with file:
        yield file


@contextmanager
def _appearing_whole(target: Path) -> Iterator[IO[str]]:
    """A file that takes the name `target` at the end of the block, and goes if that fails."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("x", encoding="utf-8", newline="") as out:
            yield out
        part.replace(target)
    except OSError as error:
        raise Unanswerable(f"{target} can't be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _next_record(reader: Any, source: Path, record: int) -> list[str] | None:
    """The next record that isn't blank; None at the end. `record` is the number of the last."""
    begins = reader.line_num + 1
    try:
        for values in reader:
            if values:
                return list(values)
            begins = reader.line_num + 1
    except csv.Error as error:
        raise Unanswerable(
            f"{source}: record {record + 1}, which begins in line {begins}: {error}; "
            "is a quote not closed?"
        ) from error
    return None


def _batches(reader: Any, header: Header, source: Path) -> Iterator[_Batch]:
    record, batch = 0, _Batch(1)
    before = reader.line_num
    while (values := _next_record(reader, source, record)) is not None:
        record += 1
        lines, before = reader.line_num - before, reader.line_num
        if len(values) != len(header.names):
            raise Unanswerable(
                f"{source}: record {record}, which ends in line {before}, has {len(values)} fields "
                f"in place of the header's {len(header.names)}: is a quote or a delimiter missing?"
            )
        batch.records.append(values)
        batch.lines.append(before - lines + 1)
        if len(batch.records) == BATCH_ROWS:
            yield batch
            batch = _Batch(record + 1)
    if batch.records:
        yield batch


def _typed(
    predictor: Predictor, header: Header, batch: _Batch, source: Path, type_texts: TypeTexts
) -> pa.Table:
    columns = {}
    for feature in predictor.features:
        place = header.features.get(feature.name)
        if place is None:
            continue
        texts = pa.array([values[place] for values in batch.records], pa.string())
        nulls = pa.array(_null_values(predictor, feature), pa.string())
        texts = pc.if_else(pc.is_in(texts, nulls), pa.scalar(None, pa.string()), texts)
        typed = type_texts(texts, feature.kind)
        for fault, is_at_fault in typed.faults.items():
            row = pc.index(is_at_fault, True).as_py()
            if row >= 0:
                raise Unanswerable(
                    f"{source}: record {batch.first_record + row}, line {batch.lines[row]}: "
                    f"column {header.names[place]!r}: {texts[row].as_py()[:_VALUE_CHARACTERS]!r} "
                    f"is {str(fault).replace('_', ' ')}: correct it, or leave it empty"
                )
        columns[feature.name] = typed.values
    return rows_of(predictor.features, columns, len(batch.records))


def _null_values(predictor: Predictor, feature: FeatureField) -> tuple[str, ...]:
    table = predictor.spec.tables.get(feature.table)
    return table.format.null_values if table else Format().null_values


def _heading(header: Header, predictor: Predictor) -> list[str]:
    kept = [header.names[place] for place in header.passed_on]
    return [*kept, "predicted", *["confidence"] * predictor.has_confidence, "model_version"]


def _lines(
    batch: _Batch, header: Header, predictor: Predictor, answers: Answers
) -> Iterator[list[str]]:
    for row, values in enumerate(batch.records):
        sure = [] if answers.confidence is None else [f"{answers.confidence[row]:.6f}"]
        kept = [values[place] for place in header.passed_on]
        yield [*kept, answers.predicted[row], *sure, predictor.version]
