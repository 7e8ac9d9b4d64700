"""A CSV file's records as they stand in it, by their numbers: to be read, or to be replaced."""

import csv
import io
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.reading.dialect import Dialect
from shared.reading.quarantine import csv_line
from shared.reading.record_scan import RecordScan
from shared.reading.text_stream import Utf8Stream

_CHUNK_BYTES = 1 << 20
_LINE_ENDS = b"\r\n"


def split_records(
    path: Path, dialect: Dialect, wanted: Collection[int]
) -> Iterator[tuple[int | None, bytes]]:
    """All of the file as UTF-8, in its order: wanted records whole, each with its number.

    What is between them comes in pieces without a number. Record 0 is the header. Records are
    counted as everywhere in the ingestor; one ends with its line end and blank lines after it.
    """
    scan = RecordScan(dialect.delimiter, dialect.quote)
    numbers = np.array(sorted(wanted), np.int64)
    edges = np.union1d(numbers, numbers + 1)
    owner: int | None = None
    held = bytearray()
    passed = 0
    for piece in _pieces(path, dialect):
        first = scan.records
        starts = scan.feed(piece) - passed
        passed += len(piece)
        begin = 0
        for number in edges[(edges >= first) & (edges < scan.records)].tolist():
            cut = int(starts[number - first])
            if owner is not None:
                yield owner, bytes(held) + piece[begin:cut]
                held.clear()
            elif cut > begin:
                yield None, piece[begin:cut]
            owner = number if number in wanted else None
            begin = cut
        if owner is not None:
            held += piece[begin:]
        elif begin < len(piece):
            yield None, piece[begin:]
    if owner is not None:
        yield owner, bytes(held)


def _pieces(path: Path, dialect: Dialect) -> Iterator[bytes]:
    """The file in pieces, without the line end that the stream adds at its end."""
    with Utf8Stream(path, dialect.compression, dialect.encoding) as stream:
        last = stream.read(_CHUNK_BYTES) or b""
        while piece := stream.read(_CHUNK_BYTES):
            yield last
            last = piece
        if rest := last[:-1]:
            yield rest


@dataclass(frozen=True)
class CsvRecord:
    """A record's fields, and the line end with which it ends."""

    fields: tuple[str, ...]
    end: str


def parse(record: bytes, dialect: Dialect) -> CsvRecord:
    """The fields of a record as `split_records` gives it."""
    csv.field_size_limit(sys.maxsize)
    text = record.rstrip(_LINE_ENDS)
    end = record[len(text) :]
    lines = csv.reader(
        io.StringIO(text.decode(), newline=""), delimiter=dialect.delimiter, quotechar=dialect.quote
    )
    return CsvRecord(tuple(next(lines, ("",))), end.decode())


def written(fields: Sequence[str], dialect: Dialect, end: str) -> bytes:
    """A record of these fields, with the line end."""
    line = csv_line(fields, dialect.delimiter, dialect.quote)
    # One empty field alone would be a blank line, which is no record.
    return ((line or dialect.quote * 2) + end).encode()
