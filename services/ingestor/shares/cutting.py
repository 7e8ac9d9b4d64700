"""A range of a source file's rows, cut out into a file that reads like the source itself."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from services.ingestor.shares.row_index import RowIndex
from services.ingestor.shares.row_ranges import RowRange
from shared.contracts.table_spec import Table
from shared.errors import InconsistentState, InvalidSpec
from shared.reading.dialect import read_header
from shared.reading.quarantine import Code, SliceFault
from shared.reading.record_scan import RecordScan
from shared.reading.records import is_parquet
from shared.reading.sources import Source
from shared.reading.spool import SpooledFile
from shared.reading.text_stream import BYTE_ORDER_MARKS, compression_of

_CHUNK_BYTES = 1 << 20
_HEADER_BYTES = 1 << 16
_ASCII = bytes(range(128))


@dataclass(frozen=True)
class SourceFile:
    """A file that is there whole. `table` has its format and the columns that are read of it."""

    source: Source
    name: str
    table: Table

    @property
    def is_parquet(self) -> bool:
        """Whether it is Parquet, and not CSV."""
        return is_parquet(self.name, self.table.format)

    @property
    def compression(self) -> str | None:
        """Arrow's name of its compression."""
        return compression_of(self.name, self.table.format.compression)

    def delimiter(self) -> str:
        """What separates its fields, as its first bytes tell.

        Raises `SliceFault` where its rows can't be told apart without decoding it.
        """
        declared = self.table.format
        if not (declared.quote + declared.delimiter).isascii():
            raise InvalidSpec(f"{self.name}: delimiter and quote must be ASCII characters")
        block = next(self.pieces(0, _HEADER_BYTES), b"")
        marked = next((codec for mark, codec in BYTE_ORDER_MARKS if block.startswith(mark)), None)
        if not _keeps_ascii(marked or declared.encoding) or b"\0" in block.split(b"\n", 1)[0]:
            raise SliceFault(
                Code.ENCODING,
                f"{self.name}: a part of a file in {marked or declared.encoding} can't be taken; "
                "write it as UTF-8",
            )
        return read_header(self.name, block.decode(errors="ignore"), self.table).delimiter

    def pieces(self, start: int, stop: int | None) -> Iterator[bytes]:
        """Its bytes [`start`, `stop`), decompressed; what comes before them is skipped.

        Of an uncompressed file no more is read; of a compressed one all up to `stop`.
        Raises `SliceFault` where compressed data are damaged.
        """
        if self.compression is None:
            with self.source.open_from(self.name, start, stop) as stream:
                yield from _read(stream, None if stop is None else stop - start)
            return
        try:
            with (
                self.source.open(self.name) as packed,
                pa.input_stream(packed, compression=self.compression) as stream,
            ):
                position = 0
                for piece in _read(stream, stop):
                    if position + len(piece) > start:
                        yield piece[max(start - position, 0) :]
                    position += len(piece)
        except OSError as error:
            message = f"{self.name}: the {self.compression} data are damaged: {error}"
            raise SliceFault(Code.UNREADABLE_FILE, message) from error


def cut_rows(
    file: SourceFile, index: RowIndex, delimiter: str, rows: RowRange, path: Path
) -> SpooledFile:
    """Write the header and the records `rows` of the CSV file to `path`, byte by byte as they are.

    The part is compressed as the file is. Raises `InconsistentState` where the rows aren't there.
    """
    with pa.output_stream(str(path), compression=file.compression) as target:
        for piece in file.pieces(0, index.offsets[0]):
            target.write(piece)
        window = index.window(rows.first_row, rows.end_row)
        scan = RecordScan(delimiter, file.table.format.quote)
        first, end = rows.first_row - window.row, rows.end_row - window.row
        passed, begun, longest = 0, 0, index.offsets[0]
        for piece in file.pieces(window.start, window.stop):
            seen = scan.records
            starts = scan.feed(piece) - passed
            if len(starts):
                longest = max(longest, int(np.diff(starts, prepend=begun - passed).max()))
                begun = passed + int(starts[-1])
            begin = 0 if seen > first else len(piece)
            if seen <= first < scan.records:
                begin = int(starts[first - seen])
            stop = int(starts[end - seen]) if end < scan.records else len(piece)
            target.write(piece[begin:stop])
            passed += len(piece)
            if end < scan.records:
                break
        if scan.records < end:
            raise InconsistentState(f"{file.name} has no row {rows.end_row}, as its index says")
    return spooled_part(file, rows, path, longest_record=max(longest, passed - begun))


def spooled_part(
    file: SourceFile, rows: RowRange, path: Path, *, longest_record: int | None = None
) -> SpooledFile:
    """The part at `path`, with its digest."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return SpooledFile(
        file.name,
        path,
        digest,
        first_row=rows.first_row,
        rows=rows.end_row - rows.first_row,
        longest_record=longest_record,
    )


def _read(stream: IO[bytes], limit: int | None) -> Iterator[bytes]:
    while limit is None or limit > 0:
        piece = stream.read(_CHUNK_BYTES if limit is None else min(limit, _CHUNK_BYTES))
        if not piece:
            return
        limit = None if limit is None else limit - len(piece)
        yield piece


def _keeps_ascii(encoding: str) -> bool:
    if encoding == "auto":
        return True
    try:
        return _ASCII.decode(encoding) == _ASCII.decode("ascii")
    except UnicodeError:
        return False
    except LookupError as error:
        raise InvalidSpec(f"the encoding {encoding!r} is not known: {error}") from error
