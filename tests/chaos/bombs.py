"""Files that are small and become large, or are large in one place; each written piece by piece."""

import bz2
import gzip
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

MB = 1 << 20
HEADER = b"id,name\n"


@dataclass(frozen=True)
class Bomb:
    """A file by its ending and its pieces, and what must become of the slice.

    `codes` are those of which each of its reasons must have one; none where it is loaded.
    """

    ending: str
    pieces: Callable[[int], Iterator[bytes]]
    codes: frozenset[str] = frozenset()
    rows: int | None = None

    def write(self, folder: Path, size: int) -> Path:
        """The folder with the file, of about `size` bytes when it is unpacked."""
        folder.mkdir()
        path = folder / f"t.csv{self.ending}"
        with _OPEN[self.ending](path) as file:
            for piece in self.pieces(size):
                file.write(piece)
        return folder


_OPEN: dict[str, Callable[[Path], Any]] = {
    "": lambda path: path.open("wb"),
    ".gz": lambda path: gzip.GzipFile(path, "wb", compresslevel=1),
    ".bz2": lambda path: bz2.BZ2File(path, "wb"),
    ".zst": lambda path: pa.output_stream(str(path), compression="zstd"),
}


def _filled(start: bytes, piece: bytes) -> Callable[[int], Iterator[bytes]]:
    """`start`, then `piece` as often as it takes."""
    block = piece * (MB // len(piece))

    def pieces(size: int) -> Iterator[bytes]:
        yield start
        yield from itertools.repeat(block, size // len(block))

    return pieces


def _lines(count: int, line: Callable[[int], bytes]) -> Callable[[int], Iterator[bytes]]:
    def pieces(size: int) -> Iterator[bytes]:
        yield HEADER
        for first in range(0, count, 10_000):
            yield b"".join(line(number) for number in range(first, first + 10_000))

    return pieces


def _once(content: bytes) -> Callable[[int], Iterator[bytes]]:
    return lambda size: iter((content,))


_UNREADABLE = frozenset({"unreadable_file"})
_QUOTING = frozenset({"broken_quoting"})
_RAGGED = frozenset({"ragged_line", "budget_exceeded"})
_GARBAGE = frozenset({"not_an_integer", "budget_exceeded"})
_WIDE = b"id,name" + b"," * 400_000 + b"\n"

BOMBS = {
    "zeros": Bomb(".gz", _filled(b"", b"\0"), frozenset({"unreadable_file", "encoding"})),
    "a line without an end": Bomb(".gz", _filled(HEADER + b"1,", b"a"), _UNREADABLE),
    "a line without an end, bz2": Bomb(".bz2", _filled(HEADER + b"1,", b"a"), _UNREADABLE),
    "a line without an end, zstd": Bomb(".zst", _filled(HEADER + b"1,", b"a"), _UNREADABLE),
    "a header without an end": Bomb(
        ".gz", _filled(b"id,name,", b"x"), frozenset({"unreadable_file", "missing_column"})
    ),
    "a quote that is not closed": Bomb(".gz", _filled(HEADER + b'1,"', b"a\n"), _QUOTING),
    "a quote on one line": Bomb(".gz", _filled(HEADER + b'1,"', b"a"), _QUOTING),
    "a record of many quoted lines": Bomb(
        ".gz", _filled(HEADER + b"1", b',"a\n"'), _QUOTING | _UNREADABLE
    ),
    "nothing but quotes": Bomb(".gz", _filled(HEADER + b"1,", b'"'), _QUOTING | _UNREADABLE),
    "blank lines": Bomb(".gz", _filled(HEADER, b"\n"), rows=0),
    "carriage returns": Bomb(".gz", _filled(HEADER, b"\r"), rows=0),
    "UTF-16": Bomb(
        ".gz", _filled(b"\xff\xfe" + "id,name\n1,".encode("utf-16-le"), b"a\0"), _UNREADABLE
    ),
    "a line of 100 MB": Bomb("", lambda size: _filled(HEADER + b"1,", b"a")(100 * MB), _UNREADABLE),
    "a header of 100 MB": Bomb(
        "",
        lambda size: _filled(b"id,name,", b"x")(100 * MB),
        frozenset({"unreadable_file", "missing_column"}),
    ),
    "a million columns": Bomb(
        "",
        _once(
            b"id,name," + b",".join(b"c%d" % n for n in range(1_000_000)) + b"\n1,a" + b"," * 10**6
        ),
        _UNREADABLE,
    ),
    "a million columns without names": Bomb(
        "", _once(b"id,name" + b"," * 1_000_000 + b"\n1,a" + b"," * 1_000_000), rows=1
    ),
    "a column 300,000 times": Bomb(
        "", _once(b"id,name" + b",id" * 300_000 + b"\n"), frozenset({"duplicate_column"})
    ),
    "a million ragged lines": Bomb("", _lines(1_000_000, lambda n: b"x\n"), _RAGGED, 1_000_000),
    "a million values at fault": Bomb(
        "", _lines(1_000_000, lambda n: b"x%d,a\n" % n), _GARBAGE, 1_000_000
    ),
}


def write_parquet_bomb(folder: Path, mega_bytes: int) -> Path:
    """A Parquet file of one text of a MB, `mega_bytes` times; the folder."""
    folder.mkdir()
    names = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(mega_bytes, np.int32)), pa.array(["x" * MB])
    )
    table = pa.table({"id": pa.array(range(mega_bytes)), "name": names})
    parquet.write_table(
        table, folder / "t.parquet", dictionary_pagesize_limit=8 * MB, compression="zstd"
    )
    return folder
