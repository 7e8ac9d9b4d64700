"""How a CSV file is written: found and checked in one pass over the whole file, before it is read.

Arrow's reader is fast and lenient: it takes an unclosed quote for a long text that swallows the
lines after it, and text behind a closing quote for part of the field. Both lose rows without a
word, so this pass looks for them.
"""

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from shared.contracts.table_spec import Table
from shared.reading.quarantine import Code, SliceFault
from shared.reading.text_stream import Utf8Stream, compression_of, with_encoding

DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Dialect:
    """What is needed to read a file, and what is known of it after one pass."""

    compression: str | None
    encoding: str
    delimiter: str
    quote: str
    header: tuple[str, ...]
    has_quotes: bool
    has_nul: bool


@dataclass(frozen=True)
class Header:
    """The first line of a file, and what is wrong with it."""

    delimiter: str
    fields: tuple[str, ...]
    fault: SliceFault | None = None


def survey(name: str, path: Path, table: Table, block_bytes: int, first_row: int = 0) -> Dialect:
    """The dialect of the CSV file at `path`, called `name` in the slice.

    `first_row` records precede it in the source; faults are told by their number there.

    Raises `SliceFault` where the file is empty, damaged, no text, wrongly quoted, or where a
    declared column is missing from its header or there twice.
    """
    passed = _Pass(name, table, block_bytes)
    encoding = with_encoding(name, path, table.format, passed.run)
    dialect = Dialect(
        compression=compression_of(name, table.format.compression),
        encoding=encoding,
        delimiter=passed.delimiter,
        quote=table.format.quote,
        header=passed.header,
        has_quotes=passed.has_quotes,
        has_nul=passed.has_nul,
    )
    if passed.is_doubtful:
        _check_quoting(name, path, dialect, block_bytes, first_row)
    return dialect


def check_header(name: str, header: tuple[str, ...], table: Table) -> None:
    """Raise `SliceFault` where a declared column is missing from `header` or there twice."""
    headers = {table.header(column): column for column in table.columns}
    times = Counter(found for found in header if found in headers)
    twice = sorted(found for found, count in times.items() if count > 1)
    if twice:
        message = f"{name}: the header has {_named(twice)} more than once"
        raise SliceFault(Code.DUPLICATE_COLUMN, message, column=headers[twice[0]])
    missing = [
        found
        for found, column in headers.items()
        if found not in times and not table.columns[column].optional
    ]
    if missing:
        there = ", ".join(header[:300])[:300]
        message = f"{name}: the header lacks {_named(missing)} (it has {there})"
        raise SliceFault(Code.MISSING_COLUMN, message, column=headers[missing[0]])


def _named(headers: list[str]) -> str:
    return ", ".join(header or "a column without a name" for header in headers)


class _Pass:
    """One reading of the file from beginning to end."""

    def __init__(self, name: str, table: Table, block_bytes: int) -> None:
        self._name, self._table, self._block_bytes = name, table, block_bytes
        self.delimiter = ","
        self.header: tuple[str, ...] = ()
        self.has_quotes = self.has_nul = self.is_doubtful = False

    def run(self, stream: Utf8Stream) -> None:
        """Read `stream` to its end. Raises `SliceFault` at what is wrong with the header."""
        self.has_quotes = self.has_nul = self.is_doubtful = False
        block = stream.read(self._block_bytes) or b""
        # Judged at the end only: in the wrong encoding, a header is wrong as well.
        header = read_header(self._name, block.decode(errors="ignore"), self._table)
        self.delimiter, self.header = header.delimiter, header.fields
        quoting = _Quoting(self.delimiter, self._table.format.quote, self._block_bytes)
        while block:
            self.has_nul = self.has_nul or b"\0" in block
            quoting.feed(block)
            block = stream.read(self._block_bytes) or b""
        self.has_quotes, self.is_doubtful = quoting.has_quotes, quoting.is_doubtful_at_end()
        if header.fault is not None:
            raise header.fault


def read_header(name: str, text: str, table: Table) -> Header:
    """The header at the beginning of `text`, split as fits the declared columns best."""
    declared, quote = table.format, table.format.quote
    candidates = DELIMITERS if declared.delimiter == "auto" else (declared.delimiter,)
    wanted = {table.header(column) for column in table.columns}
    best, found = -1, Header(",", ())
    for delimiter in candidates:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote)
        try:
            header = tuple(next((fields for fields in lines if fields), ()))
        except csv.Error as error:
            fault = SliceFault(Code.UNREADABLE_FILE, f"{name}: the header: {error}")
            return Header(delimiter, (), fault)
        if (fit := len(wanted.intersection(header))) > best:
            best, found = fit, Header(delimiter, header)
    return replace(found, fault=_fault_of(name, found.fields, table))


def _fault_of(name: str, fields: tuple[str, ...], table: Table) -> SliceFault | None:
    if not fields:
        return SliceFault(Code.EMPTY_FILE, f"{name} is empty, without even a header")
    if any("\0" in field for field in fields):
        message = f"{name}: the header has NUL characters; is it UTF-16? Declare it"
        return SliceFault(Code.ENCODING, message)
    try:
        check_header(name, fields, table)
    except SliceFault as fault:
        return fault
    return None


class _Quoting:
    """Whether all quotes of a stream stand where RFC 4180 has them.

    Outside a quoted field no quote may stand, one opens right behind a delimiter or line end, and
    one closes right before a delimiter or line end; within, quotes are doubled.
    """

    def __init__(self, delimiter: str, quote: str, block_bytes: int) -> None:
        q, d = re.escape(quote.encode()), re.escape(delimiter.encode())
        field = rb"(?<=[\r\n%b])%b(?:[^%b]++|%b%b)*+%b(?=[\r\n%b])" % (d, q, q, q, q, q, d)
        self._proper = re.compile(rb"(?:[^%b]++|%b)*+" % (q, field))
        self._quote = quote.encode()
        self._limit = 2 * block_bytes
        self._rest = b"\n"
        self.has_quotes = False
        self._is_doubtful = False

    def feed(self, block: bytes) -> None:
        """Take the next block in."""
        if self._is_doubtful:
            return
        if len(self._rest) == 1 and self._quote not in block:
            self._rest = block[-1:]
            return
        self.has_quotes = True
        block = self._rest + block
        match = self._proper.match(block)
        # The last byte of what is proper stays, for the next quote to look back at.
        self._rest = block[max(match.end() - 1, 0) :] if match else block
        self._is_doubtful = len(self._rest) > self._limit

    def is_doubtful_at_end(self) -> bool:
        """Whether some quote was out of place."""
        return self._is_doubtful or len(self._rest) > 1


def _check_quoting(
    name: str, path: Path, dialect: Dialect, block_bytes: int, first_row: int
) -> None:
    """Raise `SliceFault` at the first quoted field that doesn't end as it should.

    A quote in the middle of an unquoted field (`5" disk`) is text like any other.
    """
    csv.field_size_limit(sys.maxsize)  # `_Lines` is stricter
    with (
        Utf8Stream(path, dialect.compression, dialect.encoding) as raw,
        io.TextIOWrapper(io.BufferedReader(raw), encoding="utf-8", newline="") as text,
    ):
        lines = _Lines(text, block_bytes)
        reader = csv.reader(
            lines, delimiter=dialect.delimiter, quotechar=dialect.quote, strict=True
        )
        records, line = 0, 0
        try:
            for fields in reader:
                records += bool(fields)
                line = reader.line_num
                lines.since_record = 0
        except (csv.Error, _TooLong) as error:
            line_of = f"line {line + 1}" + (" of the part that was taken" if first_row else "")
            message = (
                f"{name}: record {first_row + records}, which begins in {line_of}: {error}; "
                "is a quote not closed?"
            )
            raise SliceFault(Code.BROKEN_QUOTING, message) from error


class _TooLong(Exception):
    """A record has more characters than it may have bytes."""


class _Lines:
    """The lines of a text for `csv.reader`, which would hold a record of any length whole."""

    def __init__(self, text: io.TextIOWrapper, most: int) -> None:
        self._text, self._most = text, most
        self.since_record = 0
        """How many characters were read since a record began."""

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(self._most + 1):
            self.since_record += len(line)
            if self.since_record > self._most:
                raise _TooLong(f"it has more than {self._most} characters")
            yield line
