"""The pictures of a slice's rows: found beside its files, and copied to the store once each."""

import csv
import hashlib
import io
import mimetypes
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy import Connection, Engine, null, text, update

from services.ingestor.staging import StagedTable
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import Images, Table
from shared.database.dataset_tables import column_list, quoted, staging_schema
from shared.database.image_rows import create_staged_images, row_key, staged_images
from shared.database.statuses import ImageState
from shared.database.tables import loads
from shared.errors import SourceNotFound
from shared.fail_points import FailPoint, reached
from shared.object_store import Bucket, ObjectStore
from shared.reading.sources import Source

ROWS_AT_ONCE = 20_000
_CHUNK_BYTES = 1 << 20
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}")
_COLUMNS = "row_key, file, state, sha256, uri, bytes"
_FORMAT = "FORMAT csv, FORCE_NOT_NULL (row_key, file)"
"""An empty text is a key like any other, and no NULL."""


@dataclass(frozen=True)
class ImageCounts:
    """How many of a table's staged rows have their picture; `bytes` is what those have in all."""

    rows: int = 0
    present: int = 0
    bytes: int = 0

    def as_json(self) -> dict[str, int]:
        """The counts as `loads.images` has them."""
        missing = self.rows - self.present
        return {"rows": self.rows, "present": self.present, "missing": missing, "bytes": self.bytes}


@dataclass(frozen=True)
class _Picture:
    """A picture that is there."""

    state: ImageState
    uri: str
    bytes: int
    sha256: str | None = None


def has_images(table: Table) -> bool:
    """Whether the table has pictures that are looked for."""
    return table.images is not None and table.images.mode != "ignore"


class ImageFinder:
    """Looks for the pictures of a load's staged rows. Memory is bounded, whatever their number."""

    def __init__(self, engine: Engine, store: ObjectStore, source: Source, *, threads: int) -> None:
        self._engine = engine
        self._store = store
        self._source = source
        self._threads = threads

    def stage(
        self, spec: DatasetSpec, load_id: str, tables: Iterable[StagedTable]
    ) -> dict[str, ImageCounts]:
        """Stage what there is of each table's pictures; their counts by table.

        A table whose pictures are ignored, or that has none, isn't among them. Pictures are copied
        under their content's hash, so doing it again changes nothing. A row without a picture is
        missing one and no more.
        """
        return {
            staged.table: self._stage(spec, load_id, staged, images)
            for staged in tables
            if has_images(spec.tables[staged.table])
            and (images := spec.tables[staged.table].images)
        }

    def _stage(
        self, spec: DatasetSpec, load_id: str, staged: StagedTable, images: Images
    ) -> ImageCounts:
        counts = ImageCounts()
        target = staged_images(spec.dataset, staged.table, load_id)
        rows = _rows(spec, staged, images)
        with (
            ThreadPoolExecutor(self._threads, thread_name_prefix="images") as pool,
            self._engine.begin() as connection,
        ):
            for statement in create_staged_images(spec.dataset, staged.table, load_id):
                connection.execute(text(statement))
            found = connection.execute(text(rows), execution_options={"stream_results": True})
            for chunk in found.partitions(ROWS_AT_ONCE):
                files = [_file_name(images, row[1:]) for row in chunk]
                pictures = self._pictures(pool, spec.dataset, images, files)
                counts = _added(counts, files, pictures)
                _copy(connection, target, _staged_rows(chunk, files, pictures, images))
            reached(FailPoint.IMAGES_STAGING)
        reached(FailPoint.IMAGES_STAGED)
        return counts

    def _pictures(
        self,
        pool: ThreadPoolExecutor,
        dataset: str,
        images: Images,
        files: Iterable[str | None],
    ) -> dict[str, _Picture]:
        """The pictures that are there, by file."""
        folders: dict[str, set[str]] = {}
        for file in files:
            if file is not None:
                folders.setdefault(file.rpartition("/")[0], set()).add(file)
        sizes = {
            file: size
            for part in pool.map(self._source.sizes, folders.values())
            for file, size in part.items()
        }
        if images.mode == "reference":
            return {
                file: _Picture(ImageState.REFERENCED, self._source.uri(file), size)
                for file, size in sizes.items()
            }
        copied = pool.map(lambda file: self._copied(dataset, file), sizes)
        return {
            file: picture
            for file, picture in zip(sizes, copied, strict=True)
            if picture is not None
        }

    def _copied(self, dataset: str, file: str) -> _Picture | None:
        """The picture in the store; None where it has gone since, or can't be read."""
        suffix = PurePosixPath(file).suffix.lower()
        suffix = suffix if _SUFFIX.fullmatch(suffix) else ""
        digest, size = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(prefix="headrace-") as spooled:
            try:
                with self._source.open(file) as stream:
                    while chunk := stream.read(_CHUNK_BYTES):
                        digest.update(chunk)
                        size += spooled.write(chunk)
            except SourceNotFound:
                return None
            spooled.flush()
            uri = self._store.uri(Bucket.IMAGES, f"{dataset}/{digest.hexdigest()}{suffix}")
            if not self._store.exists(uri):
                kind = mimetypes.guess_type(f"x{suffix}")[0] or "application/octet-stream"
                reached(FailPoint.IMAGE_STORING, dataset)
                self._store.put_file(uri, Path(spooled.name), content_type=kind)
                reached(FailPoint.IMAGE_STORED, dataset)
        return _Picture(ImageState.STORED, str(uri), size, digest.hexdigest())


def record_images(connection: Connection, load_id: str, counts: Mapping[str, ImageCounts]) -> None:
    """Put the counts on the load."""
    said = {table: found.as_json() for table, found in counts.items()}
    connection.execute(
        update(loads).where(loads.c.load_id == load_id).values(images=said or null())
    )


def _rows(spec: DatasetSpec, staged: StagedTable, images: Images) -> str:
    """SQL for each row's key as text, then the columns of the file's name.

    In the order of those, so that a chunk's files lie side by side in a listing.
    """
    table: Table = spec.tables[staged.table]
    order = [f'{quoted(column)}::text COLLATE "C"' for column in images.columns]
    return f"""
        SELECT {row_key(table)}, {column_list(images.columns)}
        FROM {quoted(staging_schema(spec.dataset), staged.name)}
        ORDER BY {", ".join(order)}
    """


def _file_name(images: Images, values: Sequence[Any]) -> str | None:
    """The file of a row whose values of `images.columns` these are; None where one is NULL."""
    if None in values:
        return None
    return images.file.format(**dict(zip(images.columns, values, strict=True)))


def _added(
    counts: ImageCounts, files: Sequence[str | None], pictures: Mapping[str, _Picture]
) -> ImageCounts:
    sizes = [pictures[file].bytes for file in files if file is not None and file in pictures]
    return ImageCounts(
        rows=counts.rows + len(files),
        present=counts.present + len(sizes),
        bytes=counts.bytes + sum(sizes),
    )


def _staged_rows(
    chunk: Sequence[Any],
    files: Sequence[str | None],
    pictures: Mapping[str, _Picture],
    images: Images,
) -> Iterator[tuple[Any, ...]]:
    for row, file in zip(chunk, files, strict=True):
        if file is None:  # no name follows from the row, so the pattern is what there is to show
            yield row[0], images.file, ImageState.MISSING.value, None, None, None
        elif picture := pictures.get(file):
            state = picture.state.value
            yield row[0], file, state, picture.sha256, picture.uri, picture.bytes
        else:
            yield row[0], file, ImageState.MISSING.value, None, None, None


def _copy(connection: Connection, target: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Append `rows` to `target` by COPY."""
    written = io.StringIO(newline="")
    csv.writer(written).writerows(rows)
    written.seek(0)
    with closing(connection.connection.cursor()) as cursor:
        cursor.copy_expert(f"COPY {target} ({_COLUMNS}) FROM STDIN ({_FORMAT})", written)
