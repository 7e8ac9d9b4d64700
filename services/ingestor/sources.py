"""Where a slice's files lie, and which of them belong to which table."""

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import unquote, urlsplit

from services.ingestor.quarantine import Code, SliceFault
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import Table
from shared.errors import SourceNotFound
from shared.object_store import ObjectStore, ObjectUri

SUCCESS_MARKER = "_SUCCESS"
DEFAULT_ENDINGS = (".csv", ".csv.gz", ".csv.bz2", ".csv.zst", ".parquet")


class Source(Protocol):
    """A folder of files. Nothing outside the folder can be reached through it."""

    def names(self) -> list[str]:
        """The names of the files that lie directly in the folder, sorted."""

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Read one of `names()`. Raises `SourceNotFound` where it has gone."""


class LocalFolder:
    """A folder of this machine. A link that leads out of it is passed over."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        if not self._folder.is_dir():
            raise SourceNotFound(f"the folder {folder} is not there")

    def names(self) -> list[str]:
        """The names of the files that lie directly in the folder, sorted."""
        return sorted(path.name for path in self._folder.iterdir() if self._target(path))

    def open(self, name: str) -> IO[bytes]:
        """Read one of `names()`. Raises `SourceNotFound` where it has gone."""
        target = self._target(self._folder / name)
        if target is None:
            raise SourceNotFound(f"the file {self._folder / name} is not there any more")
        # The path is resolved: a link in its place now was put there since, to mislead us.
        try:
            return os.fdopen(os.open(target, os.O_RDONLY | os.O_NOFOLLOW), "rb")
        except PermissionError as error:
            raise SourceNotFound(f"the file {target} can't be read: {error}") from error

    def _target(self, path: Path) -> Path | None:
        try:
            target = path.resolve()
        except RuntimeError:  # links in a circle
            return None
        return target if target.is_file() and target.is_relative_to(self._folder) else None


class StorePrefix:
    """A prefix in the S3 store."""

    def __init__(self, prefix: ObjectUri, store: ObjectStore) -> None:
        self._store = store
        folder = prefix.key.rstrip("/") + "/" if prefix.key.rstrip("/") else ""
        self._objects: Mapping[str, ObjectUri] = {
            found.uri.key.removeprefix(folder): found.uri
            for found in store.list(ObjectUri(prefix.bucket, folder))
            if found.uri.key != folder and "/" not in found.uri.key.removeprefix(folder)
        }
        if not self._objects:
            raise SourceNotFound(f"there is no object below {prefix}")

    def names(self) -> list[str]:
        """The names of the objects directly below the prefix, sorted."""
        return sorted(self._objects)

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Read one of `names()`. Raises `SourceNotFound` where it has gone."""
        return self._store.open(self._objects[name])


def open_source(uri: str, store: ObjectStore) -> Source:
    """The folder at `uri`: a path, `file://…` or `s3://bucket/prefix`.

    Raises `SourceNotFound` where there is no such folder, or no object below the prefix.
    """
    if uri.startswith("s3://"):
        return StorePrefix(ObjectUri.parse(uri), store)
    if uri.startswith("file:"):
        return LocalFolder(Path(unquote(urlsplit(uri).path)))
    if "://" in uri:
        raise SourceNotFound(f"{uri!r} is neither a path nor file:// nor s3://")
    return LocalFolder(Path(uri))


def find_files(spec: DatasetSpec, names: Iterable[str]) -> dict[str, list[str]]:
    """The files of each table among `names`, sorted; an optional table may have none.

    Raises `SliceFault` where the slice is incomplete by its spec, naming all that is missing.
    """
    present = sorted(names)
    if spec.slices.complete_when == "success_marker" and SUCCESS_MARKER not in present:
        raise SliceFault(
            Code.INCOMPLETE_SLICE, f"the slice has no {SUCCESS_MARKER}, which its spec asks for"
        )
    found = {name: _files_of(name, table, present) for name, table in spec.tables.items()}
    missing = [name for name, files in found.items() if not files and spec.tables[name].required]
    if missing:
        there = ", ".join(present[:20]) or "nothing"
        expected = ", ".join(_expected(name, spec.tables[name]) for name in missing)
        raise SliceFault(
            Code.MISSING_FILE,
            f"{expected} is not in the slice (there: {there})",
            table=missing[0] if len(missing) == 1 else None,
        )
    return found


def _expected(name: str, table: Table) -> str:
    return table.file or f"{name}.csv"


def _files_of(name: str, table: Table, present: list[str]) -> list[str]:
    if table.file is not None:
        if "*" not in table.file:
            return [table.file] if table.file in present else []
        pattern = ".*".join(re.escape(part) for part in table.file.split("*"))
        return [file for file in present if file[0] not in "._" and re.fullmatch(pattern, file)]
    files = [name + ending for ending in DEFAULT_ENDINGS if name + ending in present]
    if len(files) > 1:
        message = f"which one is the file of {name}: {', '.join(files)}? Name it in the spec"
        raise SliceFault(Code.AMBIGUOUS_FILE, message, table=name)
    return files
