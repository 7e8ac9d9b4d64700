"""A range of a Parquet source's rows: only the row groups that have them are read."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

from services.ingestor.shares.cutting import SourceFile, spooled_part
from services.ingestor.shares.row_ranges import RowRange
from shared.reading.quarantine import Code, SliceFault
from shared.reading.sources import Source
from shared.reading.spool import SpooledFile

_BATCH_ROWS = 16_384
_BUFFER_BYTES = 1 << 20


def parquet_rows(file: SourceFile) -> int:
    """How many rows the file has, by its footer. Raises `SliceFault` where it is damaged."""
    with _opened(file) as opened:
        return int(opened.metadata.num_rows)


def cut_parquet(file: SourceFile, rows: RowRange, path: Path) -> SpooledFile:
    """Write `rows` of the file to `path`. Raises `SliceFault` where the file is damaged."""
    with _opened(file) as opened, parquet.ParquetWriter(path, opened.schema_arrow) as target:
        groups, position, passed = [], 0, 0
        for group in range(opened.num_row_groups):
            end = position + opened.metadata.row_group(group).num_rows
            if end <= rows.first_row:
                passed = end
            elif position < rows.end_row:
                groups.append(group)
            position = end
        for batch in opened.iter_batches(_BATCH_ROWS, row_groups=groups):
            begin = max(rows.first_row - passed, 0)
            length = min(rows.end_row - passed, batch.num_rows) - begin
            if length > 0:
                target.write_batch(batch.slice(begin, length))
            passed += batch.num_rows
    return spooled_part(file, rows, path)


@contextmanager
def _opened(file: SourceFile) -> Iterator[parquet.ParquetFile]:
    try:
        with (
            _Ranges(file.source, file.name) as ranges,
            parquet.ParquetFile(ranges, buffer_size=_BUFFER_BYTES, pre_buffer=False) as opened,
        ):
            yield opened
    except (pa.ArrowException, OSError) as error:
        raise SliceFault(Code.UNREADABLE_FILE, f"{file.name}: {error}") from error


class _Ranges(io.RawIOBase):
    """A source's file that can be read anywhere."""

    def __init__(self, source: Source, name: str) -> None:
        self._source, self._name = source, name
        self._size = source.sizes([name])[name]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        target = memoryview(buffer).cast("B")
        stop = min(self._position + len(target), self._size)
        if stop <= self._position:
            return 0
        with self._source.open_from(self._name, self._position, stop) as stream:
            found = stream.read(stop - self._position)
        target[: len(found)] = found
        self._position += len(found)
        return len(found)
