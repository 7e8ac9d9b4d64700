"""The sheet: quarantined rows as a CSV that a person mends in a spreadsheet, and reads back.

It has the columns of the file that the rows came in, as they came, behind some of our own. A cell
that a spreadsheet would take for a formula has an apostrophe before it; it is taken off again, and
a cell that is as it was exported counts as untouched, whatever the way out made of it. So what
nobody has changed comes back exactly as it was.
"""

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shared.errors import PermanentError

LOAD, TABLE, FILE, RECORD = "headrace_load", "headrace_table", "headrace_file", "headrace_record"
COLUMN, CODE, REASON = "headrace_column", "headrace_code", "headrace_reason"
ACTION = "headrace_action"
OWN = (LOAD, TABLE, FILE, RECORD, COLUMN, CODE, REASON, ACTION)
SURPLUS = "headrace_surplus"
"""Columns for what a ragged line has more than its header."""
DROP, TAKE = "drop", "take"
"""What may stand in `ACTION`: leave the row out, or take it as it is in the sheet."""

# What a spreadsheet may run. A plain number begins with a sign and is none.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
_NUL = "\N{SYMBOL FOR NULL}"
_MARK = "\ufeff"


class BadSheet(PermanentError):
    """A file is no sheet, or somebody has changed what must stay: its message says where."""


@dataclass(frozen=True)
class SheetRow:
    """A quarantined record. `fields` are as in its file, of a ragged line as many as it has."""

    record: int
    tables: tuple[str, ...]
    columns: tuple[str, ...]
    codes: tuple[str, ...]
    reasons: tuple[str, ...]
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Sheet:
    """The quarantined records of one file of a load."""

    load_id: str
    file: str
    header: tuple[str, ...]
    rows: tuple[SheetRow, ...]

    @property
    def width(self) -> int:
        """How many fields the header has, or the longest of the rows."""
        return max([len(self.header), *(len(row.fields) for row in self.rows)])


@dataclass(frozen=True)
class MendedRow:
    """A record as it is to be. Of `fields` None is a field that stays as it was.

    Without `fields` the record is left out.
    """

    file: str
    record: int
    fields: tuple[str | None, ...] | None


@dataclass(frozen=True)
class ReadRow:
    """A row of a sheet as a person left it; `line` is where it stands, the header is line 1."""

    line: int
    load_id: str
    file: str
    record: int
    action: str
    cells: Mapping[tuple[str, int], str]
    """By column name, and which of several of that name it is."""


def write_sheet(sheet: Sheet) -> bytes:
    """The sheet as CSV in UTF-8 with a byte order mark, by which spreadsheets know it."""
    out = io.StringIO(newline="")
    lines = csv.writer(out, lineterminator="\r\n")
    surplus = [f"{SURPLUS}_{n}" for n in range(1, sheet.width - len(sheet.header) + 1)]
    lines.writerow([*OWN, *sheet.header, *surplus])
    for row in sheet.rows:
        said = (row.tables, row.columns, row.codes, row.reasons)
        table, column, code, reason = ("; ".join(dict.fromkeys(each)) for each in said)
        own = [sheet.load_id, table, sheet.file, str(row.record), column, code, reason, ""]
        cells = [shown(field) for field in row.fields]
        lines.writerow([shown(cell) for cell in own] + cells)
    return (_MARK + out.getvalue()).encode()


def read_sheet(name: str, data: bytes) -> list[ReadRow]:
    """The rows of the sheet `name`, whichever delimiter a spreadsheet has given it.

    Raises `BadSheet` where it isn't one.
    """
    csv.field_size_limit(sys.maxsize)
    text = _decoded(name, data)
    delimiter = _delimiter(name, text)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = next(lines)
    missing = [column for column in (LOAD, FILE, RECORD) if column not in header]
    if missing:
        raise BadSheet(
            f"{name} has no column {', '.join(missing)}: it must keep those of the export"
        )
    rows = []
    for fields in lines:
        if any(fields):
            rows.append(_row(name, header, fields, lines.line_num))
    return rows


def mended_row(sheet: Sheet, row: SheetRow, read: ReadRow) -> MendedRow | None:
    """What a person did to a record; None where it is as it was exported.

    Raises `BadSheet` where a column of the file is gone from the sheet.
    """
    if read.action == DROP:
        return MendedRow(sheet.file, row.record, None)
    fields: list[str | None] = []
    seen = Counter(OWN)  # the file itself may have a column of that name
    for place in range(sheet.width):
        is_own = place < len(sheet.header)
        column = sheet.header[place] if is_own else f"{SURPLUS}_{place - len(sheet.header) + 1}"
        cell = read.cells.get((column, seen[column]))
        seen[column] += 1
        if cell is None and is_own:
            raise BadSheet(f"line {read.line}: the column {column!r} is gone")
        was = row.fields[place] if place < len(row.fields) else ""
        same = _plain(cell or "") == _plain(shown(was))
        is_there = place < len(row.fields)
        fields.append(None if same and is_there else "" if same else meant(cell or ""))
    if read.action != TAKE and _is_untouched(fields, row):
        return None
    while len(fields) > len(sheet.header) and not fields[-1] and _is_blank(fields, row):
        fields.pop()
    return MendedRow(sheet.file, row.record, tuple(fields))


def _is_untouched(fields: Sequence[str | None], row: SheetRow) -> bool:
    return all(not field for field in fields[len(row.fields) :]) and all(
        field is None for field in fields[: len(row.fields)]
    )


def _is_blank(fields: Sequence[str | None], row: SheetRow) -> bool:
    """Whether the last field is empty, as it was or as it is now."""
    return fields[-1] == "" or not row.fields[len(fields) - 1]


def shown(value: str) -> str:
    """A value as it stands in the sheet, where no spreadsheet takes it for a formula."""
    value = value.replace("\0", _NUL)
    if _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return "'" + value
    return value


def meant(cell: str) -> str:
    """The value of a cell that a person has written."""
    return cell[1:] if _ESCAPED.match(cell) else cell


def _plain(cell: str) -> str:
    """A cell but for the line ends in it, which spreadsheets change."""
    return cell.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(name: str, data: bytes) -> str:
    try:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadSheet(f'{name} is no UTF-8 ({error}): save it as "CSV UTF-8"') from error


def _delimiter(name: str, text: str) -> str:
    first = text.split("\n", 1)[0]
    found = max(",;\t", key=first.count)
    if RECORD not in first or not first.count(found):
        raise BadSheet(f"{name} is no sheet of `headrace rejects export`: it has no {RECORD}")
    return found


def _row(name: str, header: Sequence[str], fields: Sequence[str], line: int) -> ReadRow:
    seen: Counter[str] = Counter()
    cells = {}
    for column, cell in zip(header, _padded(fields, len(header)), strict=False):
        cells[column, seen[column]] = cell
        seen[column] += 1
    record = cells[RECORD, 0].strip()
    action = cells.get((ACTION, 0), "").strip().lower()
    if not record.isdecimal():
        raise BadSheet(f"{name}, line {line}: {RECORD} is {record!r} and no number")
    if action not in ("", DROP, TAKE):
        raise BadSheet(f"{name}, line {line}: {ACTION} is {action!r}; it may be {DROP} or {TAKE}")
    load, file = meant(cells[LOAD, 0].strip()), meant(cells[FILE, 0])
    return ReadRow(line, load, file, int(record), action, cells)


def _padded(fields: Sequence[str], width: int) -> Iterable[str]:
    return [*fields, *[""] * (width - len(fields))]
