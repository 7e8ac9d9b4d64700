"""A CSV file's bytes as valid UTF-8, whatever its compression and encoding."""

import codecs
import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from shared.contracts.table_spec import Format
from shared.reading.quarantine import Code, SliceFault

_CHUNK_BYTES = 1 << 18
_COMPRESSION_OF_ENDING = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""What a file may begin with, and the codec that this tells; the longer ones first."""


class Undecodable(Exception):
    """Bytes at `position` (from 0, decompressed) are no text in `encoding`.

    `is_after_non_ascii` says whether the text before them had a character beyond ASCII.
    """

    def __init__(
        self, encoding: str, position: int, found: bytes, *, is_after_non_ascii: bool
    ) -> None:
        super().__init__(f"byte {position} (0x{found.hex()}) is no text in {encoding}")
        self.is_after_non_ascii = is_after_non_ascii


class Utf8Stream(io.RawIOBase):
    """The file as UTF-8 without byte order mark; a line end is added at the end.

    (Arrow takes a header without a line end for an empty file; a blank line it ignores.)
    `nul` is put in the place of each U+0000. Raises `Undecodable` from reads, and `OSError` where
    the compressed data are damaged.
    """

    def __init__(
        self, path: Path, compression: str | None, encoding: str, nul: bytes = b"\0"
    ) -> None:
        self._source = open_bytes(path, compression)
        self._is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
        self._encoding = encoding
        self._nul = nul
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._fed = 0
        self._seen_non_ascii = False
        self._pending = b""
        self._offset = 0
        self._at_end = False

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        """Fill `buffer` whole, except at the end."""
        target = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(target):
            if self._offset == len(self._pending):
                if self._at_end:
                    break
                self._pending, self._offset = self._next().replace(b"\0", self._nul), 0
                continue
            part = self._pending[self._offset : self._offset + len(target) - filled]
            target[filled : filled + len(part)] = part
            filled += len(part)
            self._offset += len(part)
        return filled

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._source.close()
        super().close()

    def _next(self) -> bytes:
        chunk: bytes = self._source.read(_CHUNK_BYTES)
        self._at_end = not chunk
        start = self._fed
        self._fed += len(chunk)
        # Most text is ASCII, which needs no decoding: a test of it costs next to nothing.
        if (
            chunk
            and start
            and self._is_utf8
            and chunk.isascii()
            and not self._decoder.getstate()[0]
        ):
            return chunk
        try:
            text = self._decoder.decode(chunk, final=self._at_end)
        except UnicodeDecodeError as error:
            # The decoder puts what it had kept of an earlier chunk before this one.
            position = self._fed - len(error.object) + error.start
            is_after = self._seen_non_ascii or not error.object[: error.start].isascii()
            found = error.object[error.start : error.end]
            raise Undecodable(
                self._encoding, position, found, is_after_non_ascii=is_after
            ) from error
        except UnicodeError as error:  # UTF-16 and UTF-32 without their byte order mark
            raise Undecodable(self._encoding, 0, chunk[:2], is_after_non_ascii=False) from error
        try:
            encoded = text.encode()
        except UnicodeEncodeError as error:  # some codecs, as utf-7, give half of a pair
            half = text[error.start].encode("utf-16-be", "surrogatepass")
            raise Undecodable(self._encoding, start, half, is_after_non_ascii=True) from error
        self._seen_non_ascii = self._seen_non_ascii or not text.isascii()
        return encoded + (b"\n" if self._at_end else b"")


def absent_control(path: Path, compression: str | None, encoding: str, taken: str) -> bytes | None:
    """A control character that the text has nowhere, and that isn't in `taken`; None without one.

    One of those that Postgres can store, that are one byte of UTF-8, and that end no line.
    """
    absent = [code for code in (*range(0x01, 0x09), *range(0x0E, 0x20)) if chr(code) not in taken]
    with Utf8Stream(path, compression, encoding) as stream:
        while absent and (block := stream.read(_CHUNK_BYTES)):
            absent = [code for code in absent if code not in block]
    return bytes(absent[:1]) or None


def compression_of(name: str, declared: str) -> str | None:
    """Arrow's name of the compression of the file `name`."""
    if declared == "auto":
        ending = next((e for e in _COMPRESSION_OF_ENDING if name.lower().endswith(e)), None)
        return _COMPRESSION_OF_ENDING[ending] if ending else None
    return None if declared == "none" else declared


def open_bytes(path: Path, compression: str | None) -> pa.NativeFile:
    """The file's bytes, decompressed."""
    return pa.input_stream(str(path), compression=compression)


def with_encoding(
    name: str, path: Path, declared: Format, check: Callable[[Utf8Stream], None]
) -> str:
    """The file's encoding: the declared one or the first in which the whole of it is text.

    `check` must read the stream it is given to the end; it is called once for each encoding that
    is tried. Raises `SliceFault` where the file is no text, with the position of the first byte
    at fault.
    """
    compression = compression_of(name, declared.compression)
    try:
        candidates = _candidates(path, compression, declared.encoding)
        for encoding in candidates:
            try:
                with Utf8Stream(path, compression, encoding) as stream:
                    check(stream)
                return encoding
            except Undecodable as fault:
                # A valid character beyond ASCII is hardly ever so by chance: it is UTF-8, broken.
                if encoding == candidates[-1] or fault.is_after_non_ascii:
                    raise SliceFault(Code.ENCODING, f"{name}: {fault}") from fault
    except OSError as error:
        message = f"{name}: the {compression or 'file'} data are damaged: {error}"
        raise SliceFault(Code.UNREADABLE_FILE, message) from error
    raise AssertionError("there is always a candidate")


def _candidates(path: Path, compression: str | None, declared: str) -> tuple[str, ...]:
    if declared != "auto":
        return ("utf-8-sig",) if codecs.lookup(declared).name == "utf-8" else (declared,)
    with open_bytes(path, compression) as stream:
        start = stream.read(4)
    for mark, encoding in BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return (encoding,)
    return ("utf-8", "cp1252")
