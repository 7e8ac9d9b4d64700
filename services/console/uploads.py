"""Files that come through the browser: streamed into the store, never whole in memory or on disk.

See `shared.upload_area` for where they lie.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from shared.errors import HeadraceError, PermanentError
from shared.object_store import ObjectStore, ObjectUri
from shared.object_store_writer import ObjectWriter
from shared.upload_area import upload_folder

NAME_BYTES = 200
_FIELD_BYTES = 1 << 14
_FIELDS = 20
_HEADER_BYTES = 1 << 12
_FORM_BYTES = 1 << 20
"""What a form may have beside its files."""
_ID = re.compile(r"[0-9a-f]{32}")


class BadUpload(PermanentError):
    """Files that can't be taken: its message says which, and why."""


def folder_of(store: ObjectStore, upload_id: str) -> ObjectUri:
    """Where an upload's files lie. Raises `BadUpload` for what is no upload's id."""
    if not _ID.fullmatch(upload_id):
        raise BadUpload(f"{upload_id[:60]!r} is no upload")
    return upload_folder(store, upload_id)


def check_name(name: str) -> None:
    """Raise `BadUpload` where a file can't be called so: a path, hidden, or not to be printed."""
    if not name or name.startswith(".") or "/" in name or "\\" in name or not name.isprintable():
        raise BadUpload(f"{name[:80]!r} is no file's name: a plain name without folders is")
    if len(name.encode()) > NAME_BYTES:
        raise BadUpload(f"the name {name[:40]!r}… is longer than {NAME_BYTES} bytes")


async def receive(
    request: Request,
    store: ObjectStore,
    check: Callable[[Mapping[str, str]], None],
    *,
    most_bytes: int,
    most_files: int,
) -> tuple[str, dict[str, str], dict[str, int]]:
    """Take a `multipart/form-data` request: the upload's id, its fields, and its files' sizes.

    `check` gets the fields before the first byte of a file is kept; they stand before the files.
    Of an upload that fails nothing stays. Raises `BadUpload`, and what `check` raises.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most_bytes + _FORM_BYTES:
        raise BadUpload(_too_large(most_bytes))
    form = _Form(store, secrets.token_hex(16), check, most_bytes, most_files)
    parser = form.parser(request.headers.get("content-type", ""))
    try:
        async for chunk in request.stream():
            await run_in_threadpool(parser.write, chunk)
        parser.finalize()
        form.finish()
    except MultipartParseError as error:
        await run_in_threadpool(form.abandon)
        raise BadUpload(f"the form can't be read: {error}") from error
    except BaseException:
        await run_in_threadpool(form.abandon)
        raise
    return form.upload_id, form.fields, form.files


class _Form:
    """Takes what the parser finds, part by part."""

    def __init__(
        self,
        store: ObjectStore,
        upload_id: str,
        check: Callable[[Mapping[str, str]], None],
        most_bytes: int,
        most_files: int,
    ) -> None:
        self._store, self._check = store, check
        self._most_bytes, self._most_files = most_bytes, most_files
        self._folder = folder_of(store, upload_id)
        self.upload_id = upload_id
        self.fields: dict[str, str] = {}
        self.files: dict[str, int] = {}
        self._is_checked = False
        self._is_whole = False
        self._header, self._value = b"", b""
        self._headers: dict[str, bytes] = {}
        self._field, self._text = "", bytearray()
        self._file: str | None = None
        self._writer: ObjectWriter | None = None
        self._rest = 0
        """Bytes beside the files."""

    def parser(self, content_type: str) -> MultipartParser:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise BadUpload("this is no form with files: multipart/form-data is expected")
        return MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._all,
            },
        )

    def finish(self) -> None:
        """After the last byte. Raises `BadUpload` where the form broke off."""
        if not self._is_whole:
            raise BadUpload("the form broke off before its end: send it again")
        self._ensure_checked()

    def abandon(self) -> None:
        """Leave nothing behind, as far as the store answers; the rest is pruned."""
        with suppress(HeadraceError):
            if self._writer is not None:
                self._writer.abort()
            self._store.delete([self._folder.child(name) for name in self.files])

    def _begin(self) -> None:
        self._headers, self._file, self._field = {}, None, ""
        self._text.clear()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._count(end - start)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._count(end - start)
        if len(self._value) > _HEADER_BYTES:
            raise BadUpload(f"a header of the form has more than {_HEADER_BYTES} bytes")

    def _header_end(self) -> None:
        self._headers[self._header.decode("latin-1").lower()] = self._value
        self._header, self._value = b"", b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        self._field = options.get(b"name", b"").decode(errors="replace")
        if b"filename" not in options:
            return
        try:
            self._file = options[b"filename"].decode()
        except UnicodeDecodeError as error:
            raise BadUpload(f"a file's name is no UTF-8: {options[b'filename']!r}") from error
        if self._file:  # empty: nobody chose one
            self._open(self._file)

    def _open(self, name: str) -> None:
        check_name(name)
        self._ensure_checked()
        if name in self.files:
            raise BadUpload(f"there are two files called {name!r}")
        if len(self.files) >= self._most_files:
            raise BadUpload(f"there are more than {self._most_files} files (CONSOLE_UPLOAD_FILES)")
        self.files[name] = 0
        kind = "application/octet-stream"
        self._writer = self._store.writer(self._folder.child(name), content_type=kind)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            self._count(end - start)
            self._text += data[start:end]
            if len(self._text) > _FIELD_BYTES:
                raise BadUpload(f"the field {self._field[:40]!r} is too long")
            return
        if not self._file or self._writer is None:
            return
        self.files[self._file] += end - start
        if sum(self.files.values()) > self._most_bytes:
            raise BadUpload(_too_large(self._most_bytes))
        self._writer.write(data[start:end])

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        elif self._file is None:
            if len(self.fields) >= _FIELDS:
                raise BadUpload(f"the form has more than {_FIELDS} fields")
            self.fields[self._field] = self._text.decode(errors="replace")

    def _all(self) -> None:
        self._is_whole = True

    def _ensure_checked(self) -> None:
        if not self._is_checked:
            self._check(self.fields)
            self._is_checked = True

    def _count(self, more: int) -> None:
        self._rest += more
        if self._rest > _FORM_BYTES:
            raise BadUpload("the form has too much beside its files")


def _too_large(most_bytes: int) -> str:
    return (
        f"the files have more than {most_bytes} bytes (CONSOLE_UPLOAD_BYTES): put them into a "
        "folder or a bucket that the ingestor reaches, and name that"
    )
