"""The sheet goes out and comes back: what nobody touched is as it was, what was written counts."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mending.correction import mended_rows
from shared.mending.sheet import (
    ACTION,
    RECORD,
    BadSheet,
    MendedRow,
    Sheet,
    SheetRow,
    meant,
    read_sheet,
    shown,
    write_sheet,
)

HEADER = ("id", "", "amount", "amount")
cells = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    [
        "=1+1",
        "-5",
        "+49 30",
        "'=x",
        "''-2",
        "@sum",
        "\t=",
        "\0",
        "a;b",
        '"q"',
        "x\r\ny",
        "-1e3",
        "＝1",
    ]
)
rows = st.lists(st.lists(cells, min_size=1, max_size=6), max_size=5)


def sheet_of(*rows: list[str], header: tuple[str, ...] = HEADER) -> Sheet:
    return Sheet(
        "5c1f",
        "orders.csv",
        header,
        tuple(
            SheetRow(number, ("orders",), ("id",), ("not_an_integer",), ("is bad",), tuple(fields))
            for number, fields in enumerate(rows, 1)
        ),
    )


def edited(sheet: Sheet, edit: Any, **written: str) -> bytes:
    """The sheet as a spreadsheet saves it when `edit` has changed its lines (without header)."""
    lines = list(csv.reader(io.StringIO(write_sheet(sheet).decode("utf-8-sig"), newline="")))
    header, body = lines[0], lines[1:]
    edit(_Lines(header, body))
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=written.get("delimiter", ",")).writerows([header, *body])
    return out.getvalue().encode(written.get("encoding", "utf-8"))


class _Lines:
    def __init__(self, header: list[str], body: list[list[str]]) -> None:
        self.header, self.body = header, body

    def put(self, line: int, column: str, cell: str, *, nth: int = 0) -> None:
        places = [place for place, name in enumerate(self.header) if name == column]
        self.body[line] += [""] * (len(self.header) - len(self.body[line]))
        self.body[line][places[nth]] = cell


def came_back(sheet: Sheet, data: bytes) -> list[MendedRow]:
    return mended_rows([sheet], read_sheet("s.csv", data))


@given(rows)
def test_what_nobody_touched_counts_as_untouched(rows: list[list[str]]) -> None:
    sheet = sheet_of(*rows)
    assert came_back(sheet, write_sheet(sheet)) == []


@given(rows, st.sampled_from(",;\t"), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_whatever_delimiter_and_encoding_a_spreadsheet_saves_it_in(
    rows: list[list[str]], delimiter: str, encoding: str
) -> None:
    sheet = sheet_of(*rows)
    data = edited(sheet, lambda lines: None, delimiter=delimiter, encoding=encoding)
    assert came_back(sheet, data) == []
    data = data.decode(encoding).replace("\r\n", "\n").encode("utf-8")
    assert came_back(sheet, data) == [], "line ends within cells are the spreadsheet's"


@given(cells)
def test_no_cell_begins_like_a_formula_but_for_plain_numbers_and_each_is_meant(value: str) -> None:
    cell = shown(value)
    if cell[:1] in tuple("=+-@\t\r\n＝＋－＠"):
        float(cell.replace(",", "."))
    assert meant(cell) == value.replace("\0", "\N{SYMBOL FOR NULL}")


def test_a_mended_cell_is_what_was_written_and_the_others_stay() -> None:
    sheet = sheet_of(["x1", "=1", "-5", "b"], ["2", "", "", ""])
    data = edited(sheet, lambda lines: lines.put(0, "amount", "-7", nth=1))
    assert came_back(sheet, data) == [MendedRow("orders.csv", 1, (None, None, None, "-7"))]
    data = edited(sheet, lambda lines: lines.put(1, "id", "'=not a formula"))
    assert came_back(sheet, data) == [
        MendedRow("orders.csv", 2, ("=not a formula", None, None, None))
    ]


def test_a_row_can_be_left_out_and_one_that_is_not_on_the_sheet_stays() -> None:
    sheet = sheet_of(["1", "a", "b", "c"], ["2", "a", "b", "c"])
    data = edited(sheet, lambda lines: lines.put(0, ACTION, " Drop"))
    assert came_back(sheet, data) == [MendedRow("orders.csv", 1, None)]
    assert came_back(sheet, edited(sheet, lambda lines: lines.body.pop())) == []


def test_a_short_line_is_bad_until_it_is_filled_or_taken() -> None:
    sheet = sheet_of(["1", "a"])
    assert came_back(sheet, write_sheet(sheet)) == []
    taken = edited(sheet, lambda lines: lines.put(0, ACTION, "take"))
    assert came_back(sheet, taken) == [MendedRow("orders.csv", 1, (None, None, "", ""))]
    filled = edited(sheet, lambda lines: lines.put(0, "amount", "9"))
    assert came_back(sheet, filled) == [MendedRow("orders.csv", 1, (None, None, "9", ""))]


def test_what_a_long_line_has_too_much_can_be_taken_away() -> None:
    sheet = sheet_of(["1", "a", "b", "c", "d", ""])
    assert came_back(sheet, write_sheet(sheet)) == []

    def shift(lines: _Lines) -> None:
        lines.put(0, "", "a, b")
        lines.put(0, "amount", "c")
        lines.put(0, "amount", "d", nth=1)
        lines.put(0, "headrace_surplus_1", "")

    mended = came_back(sheet, edited(sheet, shift))
    assert mended == [MendedRow("orders.csv", 1, (None, "a, b", "c", "d"))]


def test_a_file_with_a_column_of_our_name_keeps_it() -> None:
    sheet = sheet_of(["7", "2"], header=(RECORD, "id"))
    assert came_back(sheet, write_sheet(sheet)) == []
    data = edited(sheet, lambda lines: lines.put(0, RECORD, "8", nth=1))
    assert came_back(sheet, data) == [MendedRow("orders.csv", 1, ("8", None))]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda lines: lines.put(0, RECORD, "1st"), "line 2: headrace_record is '1st'"),
        (lambda lines: lines.put(0, RECORD, "9"), "record 9 of orders.csv isn't one of"),
        (lambda lines: lines.put(1, RECORD, "1"), "line 3: record 1 .* stands in line 2 too"),
        (lambda lines: lines.put(0, ACTION, "delete"), "headrace_action is 'delete'"),
        (lambda lines: lines.header.__setitem__(8, "ID"), "the column 'id' is gone"),
        (lambda lines: lines.header.__setitem__(0, "x"), "has no column headrace_load"),
    ],
)
def test_what_must_stay_and_did_not_is_told_with_its_line(spoil: Any, said: str) -> None:
    sheet = sheet_of(["1", "a", "b", "c"], ["2", "a", "b", "c"])
    with pytest.raises(BadSheet, match=said):
        came_back(sheet, edited(sheet, spoil))


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"a,b\n1,2\n", "no sheet of"), (b"", "no sheet of"), (b"headrace_record,\xe4\n", "no UTF-8")],
)
def test_what_is_no_sheet_is_told(data: bytes, said: str) -> None:
    with pytest.raises(BadSheet, match=said):
        read_sheet("s.csv", data)
