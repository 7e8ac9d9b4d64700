"""What must become of a CSV file, worked out by Python's own csv module and plain code.

By docs/datasets.md alone: it shares the spec and the codes' names with the ingestor, and no code.
"""

import codecs
import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from shared.contracts.table_spec import Column, ColumnType, Format, Table

KEY_BYTES = 2_000
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_ENDLESS = re.compile(r"[+-]?(inf|infinity|nan)", re.IGNORECASE)
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIMESTAMP = re.compile(
    _DATE.pattern + r"([T ]([0-9]{2})(:([0-9]{2})(:([0-9]{2})(\.[0-9]{1,9})?)?)?"
    r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?"
)
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


class Refused(Exception):
    """The file as a whole can't be loaded. `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _Bad(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Expected:
    """The good rows by their record numbers; the bad ones by theirs, each with column and code."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    bad: dict[int, tuple[str | None, str]] = field(default_factory=dict)
    longest: int = field(default=0, compare=False)
    """Characters of the longest record. One may be refused for them."""

    @property
    def records(self) -> int:
        return len(self.rows) + len(self.bad)


def expected(content: bytes, table: Table) -> Expected:
    """What a file with this content gives. Raises `Refused`."""
    text = decoded(content, table.format)
    longest, parsed = _records(text, table)
    records = iter(parsed)
    header = next(records, None)
    if header is None:
        raise Refused("empty_file")
    _check(header, table)
    found = Expected(longest=longest)
    for number, record in enumerate(records, start=1):
        try:
            if len(record) != len(header):
                raise _Faulty(None, "ragged_line")
            found.rows[number] = _typed(dict(zip(header, record, strict=True)), table)
        except _Faulty as fault:
            found.bad[number] = (fault.column, fault.code)
    return found


def without_duplicates(found: Expected, table: Table) -> Expected:
    """Of rows with the same key the last alone is good."""
    last = {tuple(row[name] for name in table.key): number for number, row in found.rows.items()}
    kept = {number: found.rows[number] for number in sorted(last.values())}
    repeated = {
        number: (", ".join(table.key), "duplicate_key") for number in found.rows.keys() - kept
    }
    return Expected(kept, {**found.bad, **repeated}, found.longest)


def decoded(content: bytes, declared: Format) -> str:
    """The file's text by the rules of `encoding: auto`, or of the one that is declared."""
    try:
        if declared.encoding != "auto":
            is_utf8 = codecs.lookup(declared.encoding).name == "utf-8"
            return content.decode("utf-8-sig" if is_utf8 else declared.encoding)
        for mark, encoding in _MARKS:
            if content.startswith(mark):
                return content.decode(encoding)
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            if not content[: error.start].isascii():
                raise
            return content.decode("cp1252")
    except UnicodeError as error:
        raise Refused("encoding") from error


def _records(text: str, table: Table) -> tuple[int, list[list[str]]]:
    declared = table.format
    wanted = {table.header(name) for name in table.columns}
    best, delimiter = -1, ","
    for candidate in ",;\t|" if declared.delimiter == "auto" else declared.delimiter:
        loose = csv.reader(
            io.StringIO(text, newline=""), delimiter=candidate, quotechar=declared.quote
        )
        fit = len(wanted.intersection(next((fields for fields in loose if fields), ())))
        if fit > best:
            best, delimiter = fit, candidate
    lines = _Lines(text)
    strict = csv.reader(lines, delimiter=delimiter, quotechar=declared.quote, strict=True)
    parsed: list[list[str]] = []
    longest = 0
    try:
        for fields in strict:
            longest, lines.characters = max(longest, lines.characters), 0
            if fields:
                parsed.append(fields)
    except csv.Error:
        loose = csv.reader(
            io.StringIO(text, newline=""), delimiter=delimiter, quotechar=declared.quote
        )
        _check(next((fields for fields in loose if fields), []), table)  # is told first
        raise Refused("broken_quoting") from None
    return longest, parsed


class _Lines:
    """The lines of a text, and how many characters of them were taken."""

    def __init__(self, text: str) -> None:
        self._text = io.StringIO(text, newline="")
        self.characters = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._text:
            self.characters += len(line)
            yield line


def _check(header: Sequence[str], table: Table) -> None:
    if not header:
        raise Refused("empty_file")
    if any("\0" in name for name in header):
        raise Refused("encoding")
    for name in table.columns:
        if header.count(table.header(name)) > 1:
            raise Refused("duplicate_column")
    for name, column in table.columns.items():
        if table.header(name) not in header and not column.optional:
            raise Refused("missing_column")


class _Faulty(Exception):
    def __init__(self, column: str | None, code: str) -> None:
        super().__init__(code)
        self.column, self.code = column, code


def _typed(record: Mapping[str, str], table: Table) -> dict[str, Any]:
    row: dict[str, Any] = {}
    key_bytes = 0
    for name, column in table.columns.items():
        text = record.get(table.header(name))
        if text is None or text in table.format.null_values:
            row[name] = None
            if name in table.key:
                raise _Faulty(name, "null_in_key")
            if not column.nullable and text is not None:
                raise _Faulty(name, "null_not_allowed")
            continue
        try:
            row[name] = _value(text, column)
        except _Bad as bad:
            raise _Faulty(name, bad.code) from None
        if name in table.key and column.type is ColumnType.STRING:
            key_bytes += len(text.encode())
            if key_bytes > KEY_BYTES:
                raise _Faulty(name, "key_too_long")
    return row


def _value(text: str, column: Column) -> Any:
    if column.type is ColumnType.STRING:
        if "\0" in text:
            raise _Bad("nul_character")
        return text
    text = text.strip()
    if column.type is ColumnType.INTEGER:
        if not _INTEGER.fullmatch(text):
            raise _Bad("not_an_integer")
        if not -(2**63) <= int(text) < 2**63:
            raise _Bad("out_of_range")
        return int(text)
    if column.type is ColumnType.NUMBER:
        return _number(text)
    if column.type is ColumnType.BOOLEAN:
        if text.lower() not in _BOOLEANS:
            raise _Bad("not_a_boolean")
        return _BOOLEANS[text.lower()]
    if column.type is ColumnType.DATE:
        return _date(text)
    return _timestamp(text)


def _number(text: str) -> float:
    if _ENDLESS.fullmatch(text):
        raise _Bad("not_finite")
    if not _NUMBER.fullmatch(text):
        raise _Bad("not_a_number")
    if not math.isfinite(float(text)):
        raise _Bad("not_finite")
    return float(text)


def _date(text: str) -> date:
    match = _DATE.fullmatch(text)
    if match is None:
        raise _Bad("not_a_date")
    year, month, day = map(int, match.groups())
    try:
        date(year or 2000, month, day)  # the year 0 is a leap year, too
    except ValueError:
        raise _Bad("not_a_date") from None
    if year == 0:
        raise _Bad("out_of_range")
    return date(year, month, day)


def _timestamp(text: str) -> datetime:
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise _Bad("not_a_timestamp")
    is_year_zero = text.startswith("0000")
    text = re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", "2000" + text[4:] if is_year_zero else text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _Bad("not_a_timestamp") from None
    if is_year_zero:
        raise _Bad("out_of_range")
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise _Bad("out_of_range") from None
