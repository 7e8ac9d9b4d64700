"""Row groups of a Parquet file in the store, read where they lie: no more bytes than they need."""

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shared.object_store import ObjectStore, ObjectUri


class RangedObject(io.RawIOBase):
    """An object of the store as a file to seek in. Every read is a request of its own."""

    def __init__(self, store: ObjectStore, uri: str) -> None:
        self._store, self._uri = store, ObjectUri.parse(uri)
        self._size = store.stat(self._uri).size
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to `offset`, counted from the beginning, from here or from the end."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as the object goes; how many bytes that are."""
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        with self._store.open(self._uri, start=self._at, stop=stop) as source:
            data = source.read()
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def open_parquet(store: ObjectStore, uri: str) -> pq.ParquetFile:
    """The file, of which only the footer has been read. Whoever opens it closes it."""
    source = pa.PythonFile(RangedObject(store, uri), mode="r")
    return pq.ParquetFile(source, pre_buffer=True)


def read_groups(
    store: ObjectStore, uri: str, groups: Sequence[int], columns: Sequence[str]
) -> pa.Table:
    """Some columns of some row groups, in the groups' order."""
    with open_parquet(store, uri) as file:
        return file.read_row_groups(list(groups), columns=list(columns), use_threads=False)
