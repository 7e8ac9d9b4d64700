"""Taking a slice's files over: a spool on this machine to read from.

Everything after this reads the spool, so what becomes of the source meanwhile can't matter.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.reading.sources import Source

_CHUNK_BYTES = 1 << 20
_LEAST_BLOCK_BYTES = 1 << 18
_GROWTH = 4  # as UTF-8, a byte of another encoding may become three


@dataclass(frozen=True)
class SpooledFile:
    """A file of the slice as it was when we read it. `sha256` is of `path`, in hexadecimal."""

    name: str
    path: Path
    sha256: str
    first_row: int = 0
    """How many rows of the source come before those in `path`, where only a part was taken."""
    rows: int | None = None
    """How many rows that part has."""
    longest_record: int | None = None
    """The bytes of its longest record, where they are known."""
    joined: "tuple[SpooledFile, ...]" = ()
    """The files whose columns are joined to its rows by row number."""

    def block_bytes(self, most: int) -> int:
        """How much of it to read at once, `most` or less: room for its longest record.

        Arrow reads 32 blocks ahead, and of files that are joined several are open.
        """
        if self.longest_record is None:
            return most
        return min(most, max(_LEAST_BLOCK_BYTES, _GROWTH * self.longest_record))


@dataclass(frozen=True)
class SpooledSlice:
    """The files of each table, those of a table in the order of their names."""

    files: Mapping[str, Sequence[SpooledFile]]

    @property
    def content_sha256(self) -> str:
        """The digest of the content: of each table's name with its files' digests, in order.

        What is joined to a file follows it.
        """
        digest = hashlib.sha256()
        for table, files in sorted(self.files.items()):
            for file in files:
                for part in (file, *file.joined):
                    digest.update(f"{table} {part.sha256}\n".encode())
        return digest.hexdigest()


def spool(source: Source, files: Mapping[str, Sequence[str]], directory: Path) -> SpooledSlice:
    """Copy the tables' files into `directory`. Raises `SourceNotFound` where one has gone."""
    taken: dict[str, SpooledFile] = {}
    for name in {name for names in files.values() for name in names}:
        # A name of ours: the source's may be anything that its file system allows.
        taken[name] = _copy(source, name, directory / f"{len(taken):04d}")
    return SpooledSlice({table: [taken[name] for name in names] for table, names in files.items()})


def _copy(source: Source, name: str, path: Path) -> SpooledFile:
    digest = hashlib.sha256()
    with source.open(name) as stream, path.open("wb") as target:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            target.write(chunk)
    return SpooledFile(name=name, path=path, sha256=digest.hexdigest())
