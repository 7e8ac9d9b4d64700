import math
import re
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.table_spec import ColumnType
from shared.reading.casting import typed_column
from shared.reading.quarantine import Code
from tests.unit.ingestor.conftest import ReadFile, table_of


def cast_one(text: str, declared: ColumnType) -> Any:
    """The value of `text`, or the code of its fault."""
    typed = typed_column(pa.array([text]), declared, may_have_nul=True)
    codes = [code for code, rows in typed.faults.items() if rows[0].as_py()]
    return codes[0] if codes else typed.values[0].as_py()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", 12),
        ("-0", 0),
        ("+7", 7),
        (" 12 ", 12),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", Code.OUT_OF_RANGE),
        ("-9223372036854775809", Code.OUT_OF_RANGE),
        ("1.5", Code.NOT_AN_INTEGER),
        ("1.0", Code.NOT_AN_INTEGER),
        ("1e3", Code.NOT_AN_INTEGER),
        ("0x1F", Code.NOT_AN_INTEGER),
        ("+0x1F", Code.NOT_AN_INTEGER),
        ("1_000", Code.NOT_AN_INTEGER),
        ("١", Code.NOT_AN_INTEGER),
        ("twelve", Code.NOT_AN_INTEGER),
        (" ", Code.NOT_AN_INTEGER),
        ("+-1", Code.NOT_AN_INTEGER),
    ],
)
def test_integer(text: str, expected: object) -> None:
    assert cast_one(text, ColumnType.INTEGER) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("1e3", 1000.0),
        (" 2 ", 2.0),
        ("+3", 3.0),
        ("1,5", Code.NOT_A_NUMBER),
        ("1 000", Code.NOT_A_NUMBER),
        ("abc", Code.NOT_A_NUMBER),
        ("NaN", Code.NOT_FINITE),
        ("-inf", Code.NOT_FINITE),
        ("1e400", Code.NOT_FINITE),
    ],
)
def test_number(text: str, expected: object) -> None:
    assert cast_one(text, ColumnType.NUMBER) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("False", False),
        ("1", True),
        ("0", False),
        (" True", True),
        ("yes", Code.NOT_A_BOOLEAN),
        ("2", Code.NOT_A_BOOLEAN),
        ("t", Code.NOT_A_BOOLEAN),
    ],
)
def test_boolean(text: str, expected: object) -> None:
    assert cast_one(text, ColumnType.BOOLEAN) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-02-29", date(2024, 2, 29)),
        ("0001-01-01", date(1, 1, 1)),
        ("9999-12-31", date(9999, 12, 31)),
        ("2023-02-29", Code.NOT_A_DATE),
        ("31.01.2024", Code.NOT_A_DATE),
        ("2024-1-31", Code.NOT_A_DATE),
        ("20240131", Code.NOT_A_DATE),
        ("2024-01-31T00:00:00", Code.NOT_A_DATE),
        ("0000-01-01", Code.OUT_OF_RANGE),
    ],
)
def test_date(text: str, expected: object) -> None:
    assert cast_one(text, ColumnType.DATE) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-31T10:00:00Z", datetime(2024, 1, 31, 10, tzinfo=UTC)),
        ("2024-01-31T10:00:00+02:00", datetime(2024, 1, 31, 8, tzinfo=UTC)),
        ("2024-01-31 10:00:00-0130", datetime(2024, 1, 31, 11, 30, tzinfo=UTC)),
        ("2024-01-31T10:00:00.25", datetime(2024, 1, 31, 10, 0, 0, 250_000, tzinfo=UTC)),
        ("2024-01-31T10:00:00.1234569Z", datetime(2024, 1, 31, 10, 0, 0, 123_456, tzinfo=UTC)),
        ("2024-01-31 10:00", datetime(2024, 1, 31, 10, tzinfo=UTC)),
        ("2024-01-31", datetime(2024, 1, 31, tzinfo=UTC)),
        (" 2024-01-31 ", datetime(2024, 1, 31, tzinfo=UTC)),
        ("2024-01-31T25:00:00", Code.NOT_A_TIMESTAMP),
        ("2024-02-30T10:00:00", Code.NOT_A_TIMESTAMP),
        ("yesterday", Code.NOT_A_TIMESTAMP),
        ("1706695200", Code.NOT_A_TIMESTAMP),
        ("0001-01-01T00:00:00+01:00", Code.OUT_OF_RANGE),
    ],
)
def test_timestamp(text: str, expected: object) -> None:
    assert cast_one(text, ColumnType.TIMESTAMP) == expected


@given(st.lists(st.datetimes(timezones=st.sampled_from([UTC, None]))))
def test_timestamps_with_and_without_a_zone_stand_together(moments: list[datetime]) -> None:
    texts = [moment.isoformat() for moment in moments]
    typed = typed_column(pa.array(texts, pa.string()), ColumnType.TIMESTAMP, may_have_nul=False)
    assert not typed.faults
    assert typed.values.to_pylist() == [moment.replace(tzinfo=UTC) for moment in moments]


@given(st.lists(st.one_of(st.integers().map(str), st.text(max_size=4), st.none()), max_size=60))
def test_neighbours_never_decide_about_a_value(texts: list[str | None]) -> None:
    typed = typed_column(pa.array(texts, pa.string()), ColumnType.INTEGER, may_have_nul=True)
    for row, text in enumerate(texts):
        codes = [code for code, rows in typed.faults.items() if rows[row].as_py()]
        expected = None if text is None else cast_one(text, ColumnType.INTEGER)
        assert (codes or [typed.values[row].as_py()]) == [expected]
        if text is not None and re.fullmatch(r"-?[0-9]+", text) and abs(int(text)) < 2**63:
            assert typed.values[row].as_py() == int(text)


@given(st.floats())
def test_a_number_is_read_to_the_last_bit(number: float) -> None:
    value = cast_one(repr(number), ColumnType.NUMBER)
    assert value == (number if math.isfinite(number) else Code.NOT_FINITE)


EVERYTHING = table_of(
    {
        "id": "string",
        "i": "integer",
        "n": "number",
        "b": {"type": "boolean", "nullable": False},
        "s": "string",
    }
)


def test_each_bad_row_is_quarantined_with_column_code_reason_and_raw_text(read: ReadFile) -> None:
    lines = [
        "id,n,i,b,s",
        "a,1.5,1,true,ok",
        'b,1.5,one,true,"x,y"',
        "c,nan,1,true,ok",
        ",1.5,1,true,ok",
        "e,1.5,1,,ok",
        "f,1.5,1,true,n\0l",
        "g,x,y,z,ok",
        "h,,,1,",
    ]
    found = read(EVERYTHING, "\n".join(lines).encode())
    assert found.rows.keys() == {1, 8}
    assert found.rows[8] == {"id": "h", "i": None, "n": None, "b": True, "s": None}
    assert found.bad == [
        (2, "i", "not_an_integer"),
        (3, "n", "not_finite"),
        (4, "id", "null_in_key"),
        (5, "b", "null_not_allowed"),
        (6, "s", "nul_character"),
        (7, "i", "not_an_integer"),
    ]
    by_number = {row.record_number: row for row in found.quarantine.rows}
    assert by_number[2].reason == "i 'one' is not an integer"
    assert by_number[2].raw == 'b,1.5,one,true,"x,y"'
    assert by_number[4].reason == "id is NULL, but part of the key"
    assert by_number[6].raw == "f,1.5,1,true,n\N{SYMBOL FOR NULL}l"


def test_counts_are_exact_beyond_what_is_kept_and_grouped_with_a_sample(read: ReadFile) -> None:
    lines = [f"{i},{'x' if i % 2 else i},1.5,1,s" for i in range(10_000)]
    found = read(EVERYTHING, ("id,i,n,b,s\n" + "\n".join(lines)).encode(), "t.csv", 4096, 50)
    assert (found.quarantine.count, len(found.quarantine.rows)) == (5000, 50)
    (reason,) = found.quarantine.reasons()
    assert (reason.code, reason.column, reason.count) == ("not_an_integer", "i", 5000)
    assert reason.sample[0] == "1,x,1.5,1,s"
    assert reason.message == "5000 rows, first t.csv, record 2: i 'x' is not an integer"
