"""CSV files of every kind, as people and programs write them and as accidents leave them."""

import bz2
import codecs
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from shared.contracts.table_spec import Table

COLUMNS: dict[str, Any] = {
    "id": "integer",
    "code": "string",
    "label": "string",
    "amount": "number",
    "paid": "boolean",
    "day": "date",
    "at": {"type": "timestamp", "nullable": False},
    "note": {"type": "string", "optional": True},
}
_TRICKS = (
    *("=1+1", '=HYPERLINK("http://x")', "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3"),
    *("'; DROP TABLE headrace.loads; --", '" OR 1=1', "$$", "%s", "{}", "\\N", "\\.", "NULL"),
    *("e\u0301", "\u00e9", "\u2126", "\u03a9", "\ufb01", "\u200b", "a\u200bb", "\ufeffx"),
    *("\u202eabc\u202c", "\u05d0\u05d1", "\U0001f600", "\u2028", "\x85", "\x0b", "\x1b[31m"),
    *("\x00", "a\x00b", " ", "\u00a0", "x" * 300, '5" disk', 'say ""hi""', "../../etc/passwd"),
    *("a\nb", "a\r\nb", "a\rb", "a,b", "a;b", "a\tb", "a|b", '"', "''", "\ufffd", "k" * 2100),
)
_INTEGERS = (
    *("0", "-0", "+7", " 12 ", "007", "9223372036854775807", "9223372036854775808", "-1"),
    *("-9223372036854775808", "-9223372036854775809", "1" * 40, "1.5", "1.0", "1e3", "0x1F"),
    *("1_000", "\u0661", "twelve", "+-1", "--1", "1,5", "\u00a05", "TRUE", "-", "+"),
)
_NUMBERS = (
    *("1.5", "-.5", "1.", "1e3", " 2 ", "+3", "1,5", "1 000", "abc", "NaN", "-inf", "Infinity"),
    *("1e400", "-1e400", "1e-400", "3.1415926535897932384626433832795028841971", "9" * 40),
    *("0." + "0" * 39 + "1", "0x1p3", "1_0", ".", "e5", "1e", "1.5.2", "\u0661", "-0.0", "+-1"),
)
_BOOLEANS = ("true", "false", "True", "False", "1", "0", " True", "yes", "2", "t", "TRUE", "-1")
_DATES = (
    *("2024-02-29", "0001-01-01", "9999-12-31", "2023-02-29", "31.01.2024", "2024-1-31"),
    *("20240131", "0000-01-01", "0000-02-30", "-0044-03-15", "10000-01-01", "2024-13-01"),
    *("2024-01-31T00:00:00", "44 BC", " 2024-01-31", "infinity", "+2024-01-31", "1900-02-29"),
)
_TIMESTAMPS = (
    *("2024-01-31T10:00:00Z", "2024-01-31 10:00:00", "2024-01-31T10:00:00+02:00"),
    *("2024-01-31T10:00:00.123456789Z", "2024-01-31T10:00:00-0130", "2024-01-31"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.999999Z"),
    *("0000-06-01T00:00:00Z", "-0044-03-15T12:00:00Z", "10000-01-01T00:00:00Z", "tomorrow"),
    *("2024-01-31T24:00:00Z", "2024-01-31T23:59:60Z", "2024-02-30T00:00:00Z", "infinity"),
    *("2024-01-31T10:00", "1677-09-21T00:12:43Z", "2262-04-12T00:00:00Z", "0001-01-01T00:00:00Z"),
)
_GOOD: dict[str, st.SearchStrategy[str]] = {
    "id": st.integers(0, 30).map(str),
    "code": st.sampled_from(["a", "b", "c", "A", "\u00e9", "e\u0301"]),
    "amount": st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.just(""),
    "paid": st.sampled_from(["true", "False", "1", ""]),
    "day": st.dates().map(str),
    "at": st.datetimes().map(lambda at: at.isoformat() + "Z"),
}
_ODD: dict[str, st.SearchStrategy[str]] = {
    "id": st.sampled_from(_INTEGERS),
    "code": st.sampled_from(_TRICKS),
    "amount": st.sampled_from(_NUMBERS),
    "paid": st.sampled_from(_BOOLEANS),
    "day": st.sampled_from(_DATES),
    "at": st.sampled_from(_TIMESTAMPS),
}
_TEXT = (
    st.sampled_from(_TRICKS)
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.sampled_from(["", "NULL", "-"])
)
_HEADERS = (
    *("note", "ID", "Id", "label ", " code", "x", "x", "", "as_of", "load_id", "record_number"),
    *("'; DROP SCHEMA headrace CASCADE; --", "la\u0301bel", "label\u200b", "=A1", "a,b", "h" * 500),
)
_PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda content: pa.compress(content, "zstd", asbytes=True),
}
_ENCODINGS = (
    "utf-8",
    "utf-8",
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-be-mark",
    "utf-32",
    "cp1252",
)


@dataclass(frozen=True)
class CsvFile:
    """A file as it arrives, its bytes before they were packed, and the spec of its table."""

    name: str
    content: bytes
    plain: bytes
    fields: dict[str, Any]
    """Of the table in the spec."""

    @property
    def table(self) -> Table:
        return Table.model_validate(self.fields)


@st.composite
def csv_files(draw: st.DrawFn) -> CsvFile:
    """A file of a table with each type of column; most lines of it are good, most files whole."""
    delimiter = draw(st.sampled_from([",", ",", ";", "\t", "|", ":"]))
    quote = draw(st.sampled_from(['"', '"', '"', "'"]))
    encoding = draw(st.sampled_from(_ENCODINGS))
    line_end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r", "mixed"]))
    nulls = draw(st.sampled_from([("",), ("",), ("", "NULL"), ("NULL",), ("-",), ()]))
    header = draw(st.permutations([name for name in COLUMNS if name != "note"]))
    for extra in draw(st.lists(st.sampled_from(_HEADERS), max_size=2)):
        header.insert(draw(st.integers(0, len(header))), extra)
    if draw(st.integers(0, 29)) == 0:
        header.pop(draw(st.integers(0, len(header) - 1)))
    if draw(st.integers(0, 29)) == 0:
        header.append(draw(st.sampled_from(header)))
    habit = draw(st.sampled_from(["needed", "needed", "always", "sometimes"]))
    is_careless = draw(st.integers(0, 9)) == 0

    def cell(text: str) -> str:
        is_needed = any(character in text for character in (delimiter, quote, "\r", "\n"))
        is_quoted = habit == "always" or (is_needed and not is_careless)
        if habit == "sometimes" and not is_needed:
            is_quoted = draw(st.booleans())
        return quote + text.replace(quote, quote * 2) + quote if is_quoted else text

    def ended() -> str:
        return draw(st.sampled_from(["\n", "\r\n", "\r"])) if line_end == "mixed" else line_end

    lines = [delimiter.join(map(cell, header)) + ended()]
    for _ in range(draw(st.integers(0, 12))):
        odd = draw(st.sampled_from([None, None, None, *_ODD]))
        kinds = {**_GOOD, odd: _ODD[odd]} if odd else _GOOD
        cells = [cell(draw(kinds.get(name, _TEXT))) for name in header]
        accident = draw(st.integers(0, 39))
        if accident == 0:
            cells.pop()
        elif accident == 1:
            cells.append("more")
        elif accident == 2:
            cells = [""]
        lines.append(delimiter.join(cells) + ended())
    text = "".join(lines)
    if draw(st.booleans()):
        text = text.rstrip("\r\n")
    plain = _encoded(text, encoding)
    if draw(st.integers(0, 14)) == 0:
        plain = _damaged(draw, plain)
    ending = draw(st.sampled_from(list(_PACKED)))
    return CsvFile(
        name="things.csv" + ending,
        content=_PACKED[ending](plain),
        plain=plain,
        fields={
            "key": draw(st.sampled_from([["id"], ["code"], ["id", "code"], ["day", "code"]])),
            "columns": COLUMNS,
            "quarantine_budget": "100%",
            "duplicates": "keep_last",
            "format": {
                "delimiter": delimiter if delimiter == ":" else "auto",
                "quote": quote,
                "null_values": list(nulls),
            },
        },
    )


def _encoded(text: str, encoding: str) -> bytes:
    if encoding == "utf-16-be-mark":
        return codecs.BOM_UTF16_BE + text.encode("utf-16-be")
    return text.encode(encoding, errors="replace")


def _damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A byte put in, changed or taken out, or the end cut off."""
    at = draw(st.integers(0, max(len(content) - 1, 0)))
    byte = bytes([draw(st.sampled_from([0, 0x22, 0x0A, 0x0D, 0x80, 0x81, 0xC3, 0xE9, 0xFF, 0x27]))])
    return draw(
        st.sampled_from(
            [
                content[:at] + byte + content[at:],
                content[:at] + byte + content[at + 1 :],
                content[:at] + content[at + 1 :],
                content[:at],
            ]
        )
    )
