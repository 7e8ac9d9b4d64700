"""Values of any kind become JSON, and failures become reasons."""

import json
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.validator.results import SAMPLE_IN_EVENT, TEXT_KEPT, ValidationResult, json_safe


@pytest.mark.parametrize(
    ("value", "safe"),
    [
        (Decimal("12.50"), 12.5),
        (Decimal("7043"), 7043),
        (Decimal("NaN"), "NaN"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (date(2024, 1, 31), "2024-01-31"),
        (datetime(2024, 1, 31, 12, tzinfo=UTC), "2024-01-31T12:00:00+00:00"),
        (time(1, 2), "01:02:00"),
        (True, True),
        (None, None),
        ({1: {date(2024, 1, 1)}}, {"1": ["2024-01-01"]}),
        ((1, Decimal("2")), [1, 2]),
        ("a\x00b", "a\\x00b"),
    ],
)
def test_a_value_is_written_as_json_can_hold_it(value, safe):
    assert json_safe(value) == safe
    assert type(json_safe(value)) is type(safe)


def test_a_long_text_is_cut():
    assert json_safe("x" * 1000) == "x" * (TEXT_KEPT - 1) + "…"
    assert json_safe("x" * TEXT_KEPT) == "x" * TEXT_KEPT


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.dates()
    | st.datetimes()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


@given(_values)
def test_every_value_survives_strict_json(value):
    safe = json_safe(value)
    assert json.loads(json.dumps(safe, allow_nan=False)) == safe
    # The escape of a NUL, which Postgres takes in no text, and not that of a backslash before "u".
    assert "\\u0000" not in json.dumps(safe).replace("\\\\", "")


def failed(**changes):
    facts = {
        "table": "orders",
        "expectation": "expect_column_values_to_be_between",
        "success": False,
        "columns": ("amount",),
        "unexpected_count": 3,
        "message": "three are wrong",
    }
    return ValidationResult(**{**facts, **changes})


def test_a_reason_says_what_where_how_often_and_which():
    rows = ({"order_id": 7, "amount": -5.0}, {"order_id": 9, "amount": -1.0})
    reason = failed(failing_keys=rows).reason(("order_id",))
    assert reason.model_dump() == {
        "code": "expect_column_values_to_be_between",
        "message": "three are wrong",
        "table": "orders",
        "column": "amount",
        "count": 3,
        "sample": ("7", "9"),
    }


def test_a_composite_key_is_named_column_by_column():
    rows = ({"amount": -5.0, "order_id": 7, "line": 2},)
    assert failed(failing_keys=rows).reason(("order_id", "line")).sample == ("order_id=7, line=2",)


def test_where_the_key_is_not_known_the_values_are_the_sample():
    assert failed(failing_keys=({"amount": -5.0},)).reason(("order_id",)).sample == ("amount=-5.0",)


def test_an_event_carries_a_bounded_sample():
    rows = tuple({"order_id": n} for n in range(1000))
    assert len(failed(failing_keys=rows).reason(("order_id",)).sample) == SAMPLE_IN_EVENT
