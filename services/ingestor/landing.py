"""Taking a slice's files over: a spool on this machine to read from, and the landing bucket.

Everything after this reads the spool, so what becomes of the source meanwhile can't matter.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.ingestor.sources import Source
from shared.object_store import Bucket, ObjectStore, ObjectUri

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class SpooledFile:
    """A file of the slice as it was when we read it. `sha256` is of `path`, in hexadecimal."""

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class SpooledSlice:
    """The files of each table, those of a table in the order of their names."""

    files: Mapping[str, Sequence[SpooledFile]]

    @property
    def content_sha256(self) -> str:
        """The digest of the content: of each table's name with its files' digests, in order."""
        digest = hashlib.sha256()
        for table, files in sorted(self.files.items()):
            for file in files:
                digest.update(f"{table} {file.sha256}\n".encode())
        return digest.hexdigest()


def spool(source: Source, files: Mapping[str, Sequence[str]], directory: Path) -> SpooledSlice:
    """Copy the tables' files into `directory`. Raises `SourceNotFound` where one has gone."""
    taken: dict[str, SpooledFile] = {}
    for name in {name for names in files.values() for name in names}:
        # A name of ours: the source's may be anything that its file system allows.
        taken[name] = _copy(source, name, directory / f"{len(taken):04d}")
    return SpooledSlice({table: [taken[name] for name in names] for table, names in files.items()})


def land(store: ObjectStore, dataset: str, slice_key: str, spooled: SpooledSlice) -> ObjectUri:
    """Copy the slice to the landing bucket and return its prefix there.

    The prefix follows from the content, so doing it again changes nothing.
    """
    prefix = store.uri(Bucket.LANDING, f"{dataset}/{slice_key}/{spooled.content_sha256}")
    for file in {file.name: file for files in spooled.files.values() for file in files}.values():
        uri = prefix.child(file.name)
        if not store.exists(uri):
            store.put_file(uri, file.path)
    return prefix


def _copy(source: Source, name: str, path: Path) -> SpooledFile:
    digest = hashlib.sha256()
    with source.open(name) as stream, path.open("wb") as target:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            target.write(chunk)
    return SpooledFile(name=name, path=path, sha256=digest.hexdigest())
