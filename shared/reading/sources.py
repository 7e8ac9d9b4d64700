"""Where a slice's files lie, and which of them belong to which table."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import Format, Table
from shared.errors import InvalidSpec, SourceNotFound
from shared.load_requests import local_path
from shared.object_store import ObjectStore, ObjectUri
from shared.reading.quarantine import Code, SliceFault
from shared.source_roots import SourceRoots

SUCCESS_MARKER = "_SUCCESS"
DEFAULT_ENDINGS = (".csv", ".csv.gz", ".csv.bz2", ".csv.zst", ".parquet")


class Source(Protocol):
    """A folder of files. Nothing outside the folder can be reached through it."""

    def names(self) -> list[str]:
        """The names of the files that lie directly in the folder, sorted."""

    def sizes(self, names: Collection[str]) -> dict[str, int]:
        """The sizes, in bytes, of those of `names` that are there, in subfolders too.

        A name that isn't a plain path downwards (`..`, an absolute one) is never there.
        """

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Read one of `names()` or `sizes()`. Raises `SourceNotFound` where it has gone."""

    def open_from(
        self, name: str, start: int, stop: int | None
    ) -> AbstractContextManager[IO[bytes]]:
        """Read it from its byte `start` on, which must be there, to `stop` at least or its end."""

    def fingerprint(self, name: str) -> str:
        """Its state now: another one as soon as it is written again."""

    def uri(self, name: str) -> str:
        """The address of one of `names()` or `sizes()`."""


class LocalFolder:
    """A folder of this machine. A link that leads out of it is passed over."""

    def __init__(self, folder: Path) -> None:
        try:
            self._folder = folder.resolve()
            is_there = self._folder.is_dir()
        except (OSError, RuntimeError, ValueError) as error:  # no path: too long, links in a circle
            raise SourceNotFound(f"the folder {folder} can't be read: {error}") from error
        if not is_there:
            raise SourceNotFound(f"the folder {folder} is not there")

    def names(self) -> list[str]:
        """The names of the files that lie directly in the folder, sorted."""
        try:
            return sorted(path.name for path in self._folder.iterdir() if self._target(path))
        except PermissionError as error:
            raise SourceNotFound(f"the folder {self._folder} can't be read: {error}") from error

    def sizes(self, names: Collection[str]) -> dict[str, int]:
        """The sizes, in bytes, of those of `names` that are there, in subfolders too."""
        found = {}
        for name in filter(_leads_downwards, names):
            path = self._folder / name
            try:
                size = path.stat().st_size
            except (OSError, ValueError):  # not there; no name of a file, as a very long one
                continue
            if self._target(path):
                found[name] = size
        return found

    def uri(self, name: str) -> str:
        """The address of one of `names()` or `sizes()`."""
        return (self._folder / name).as_uri()

    def open(self, name: str) -> IO[bytes]:
        """Read one of `names()` or `sizes()`. Raises `SourceNotFound` where it has gone."""
        target = self._target(self._folder / name) if _leads_downwards(name) else None
        if target is None:
            raise SourceNotFound(f"the file {self._folder / name} is not there any more")
        # The path is resolved: a link in its place now was put there since, to mislead us.
        try:
            return os.fdopen(os.open(target, os.O_RDONLY | os.O_NOFOLLOW), "rb")
        except PermissionError as error:
            raise SourceNotFound(f"the file {target} can't be read: {error}") from error

    def open_from(self, name: str, start: int, stop: int | None) -> IO[bytes]:
        """Read it from its byte `start` on."""
        stream = self.open(name)
        stream.seek(start)
        return stream

    def fingerprint(self, name: str) -> str:
        """Its size and when it was written."""
        with self.open(name) as stream:
            found = os.fstat(stream.fileno())
        return f"{found.st_size} {found.st_mtime_ns}"

    def _target(self, path: Path) -> Path | None:
        try:
            target = path.resolve()
        except (OSError, RuntimeError):  # links in a circle, or to no path
            return None
        return target if target.is_file() and target.is_relative_to(self._folder) else None


class StorePrefix:
    """A prefix in the S3 store."""

    def __init__(self, prefix: ObjectUri, store: ObjectStore) -> None:
        self._store = store
        self._prefix = prefix
        folder = prefix.key.rstrip("/") + "/" if prefix.key.rstrip("/") else ""
        self._names = sorted(
            found.uri.key.removeprefix(folder)
            for found in store.list(ObjectUri(prefix.bucket, folder), deep=False)
            if found.uri.key != folder
        )
        if not self._names:
            raise SourceNotFound(f"there is no object below {prefix}")

    def names(self) -> list[str]:
        """The names of the objects directly below the prefix, sorted."""
        return self._names

    def sizes(self, names: Collection[str]) -> dict[str, int]:
        """The sizes, in bytes, of those of `names` that are there, in subfolders too."""
        by_folder: dict[str, list[str]] = {}
        for name in filter(_leads_downwards, names):
            folder, _, last = name.rpartition("/")
            by_folder.setdefault(folder, []).append(last)
        return {
            f"{folder}/{name}" if folder else name: size
            for folder, wanted in by_folder.items()
            for name, size in self._store.sizes(self._uri(folder), wanted).items()
        }

    def uri(self, name: str) -> str:
        """The address of one of `names()` or `sizes()`."""
        return str(self._uri(name))

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Read one of `names()` or `sizes()`. Raises `SourceNotFound` where it has gone."""
        if not _leads_downwards(name):
            raise SourceNotFound(f"{name!r} is no object below {self._prefix}")
        return self._store.open(self._uri(name))

    def open_from(
        self, name: str, start: int, stop: int | None
    ) -> AbstractContextManager[IO[bytes]]:
        """Read its bytes [`start`, `stop`)."""
        return self._store.open(self._uri(name), start=start, stop=stop)

    def fingerprint(self, name: str) -> str:
        """Its size and its ETag."""
        found = self._store.stat(self._uri(name))
        return f"{found.size} {found.etag}"

    def _uri(self, name: str) -> ObjectUri:
        return self._prefix.child(name) if name else self._prefix


def _leads_downwards(name: str) -> bool:
    return not {"", ".", ".."} & set(name.split("/"))


def open_source(uri: str, store: ObjectStore, roots: SourceRoots) -> Source:
    """The folder at `uri`: a path, `file://…` or `s3://bucket/prefix`.

    Raises `SourceNotAllowed` where it is outside of `roots`, and `SourceNotFound` where there is
    no such folder, or no object below the prefix.
    """
    if uri.startswith("s3://"):
        roots.require(uri)
        return StorePrefix(ObjectUri.parse(uri), store)
    folder = local_path(uri)
    roots.require(str(folder))
    return LocalFolder(folder)


def find_files(spec: DatasetSpec, names: Iterable[str]) -> dict[str, list[str]]:
    """The files of each table among `names`, sorted; an optional table may have none.

    Raises `SliceFault` where the slice is incomplete by its spec, naming all that is missing.
    """
    present = sorted(names)
    _check_names(spec, present)
    if spec.slices.complete_when == "success_marker" and SUCCESS_MARKER not in present:
        raise SliceFault(
            Code.INCOMPLETE_SLICE, f"the slice has no {SUCCESS_MARKER}, which its spec asks for"
        )
    found = {name: _files_of(name, table, present) for name, table in spec.tables.items()}
    missing = [name for name, files in found.items() if not files and spec.tables[name].required]
    expected = ", ".join(
        [expected_file(name, spec.tables[name]) for name in missing]
        + _missing_joined(spec, found, present)
    )
    if expected:
        there = ", ".join(map(_printable, present[:20])) or "nothing"
        raise SliceFault(
            Code.MISSING_FILE,
            f"{expected} is not in the slice (there: {there})",
            table=missing[0] if len(missing) == 1 else None,
        )
    return found


def _check_names(spec: DatasetSpec, present: Collection[str]) -> None:
    """Raise `SliceFault` where a table's file has a name that can't be kept or shown."""
    for name, table in spec.tables.items():
        for file in _files_of(name, table, present):
            if not file.isprintable():
                message = f"the name of the file {_printable(file)} is no printable text"
                raise SliceFault(Code.UNREADABLE_FILE, message, table=name)


def _printable(name: str) -> str:
    """A file's name as text of one line; bytes that are no UTF-8 stand as escapes."""
    return name if name.isprintable() else repr(name)[1:-1]


def _missing_joined(
    spec: DatasetSpec, found: Mapping[str, list[str]], present: Collection[str]
) -> list[str]:
    """The files that columns are to be joined from and that are no required table's own."""
    required = {expected_file(name, table) for name, table in spec.tables.items() if table.required}
    return [
        f"{file} (for {name}.{', '.join(joined_columns(spec.tables[name], file))})"
        for name, files in found.items()
        for file in joined_files(spec.tables[name], files)
        if file not in present and file not in required
    ]


def joined_files(table: Table, files: Collection[str]) -> list[str]:
    """The files, besides `files` of its own, that columns of `table` come from; none without."""
    named = {column.file for column in table.columns.values() if column.file}
    return sorted(named.difference(files)) if files else []


def joined_columns(table: Table, file: str) -> list[str]:
    """The columns of `table` that come from `file`."""
    return [name for name, column in table.columns.items() if column.file == file]


def format_of(spec: DatasetSpec, table: str, file: str) -> Format:
    """How `file` is written, which is `table`'s or joined to it: as the table that owns it says.

    Raises `InvalidSpec` where tables of the same file say different things.
    """
    said = {
        other.format
        for name, other in spec.tables.items()
        if file in _files_of(name, other, [file])
    }
    if len(said) > 1:
        raise InvalidSpec(f"{file} is the file of several tables, whose formats differ")
    return said.pop() if said else spec.tables[table].format


def expected_file(name: str, table: Table) -> str:
    """The name that the file of the table `name` should have; a `*` is a wildcard."""
    return table.file or f"{name}.csv"


def _files_of(name: str, table: Table, present: Collection[str]) -> list[str]:
    if table.file is not None:
        if "*" not in table.file:
            return [table.file] if table.file in present else []
        parts = table.file.split("*")
        return [file for file in present if file[0] not in "._" and _fits(file, parts)]
    files = [name + ending for ending in DEFAULT_ENDINGS if name + ending in present]
    if len(files) > 1:
        message = f"which one is the file of {name}: {', '.join(files)}? Name it in the spec"
        raise SliceFault(Code.AMBIGUOUS_FILE, message, table=name)
    return files


def _fits(name: str, parts: Sequence[str]) -> bool:
    """Whether `name` is `parts` with anything between them. In linear time, unlike a pattern."""
    first, *middle, last = parts
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    position, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True
