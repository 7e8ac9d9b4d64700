"""The slices from one to another, by name or by date."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.dataset_spec import Slices
from shared.contracts.slice_range import slices_between

MONTHS = Slices.model_validate(
    {"naming": {"pattern": "month_{index:03d}", "first_as_of": "2024-01-31", "every": "month"}}
)
DAYS = Slices.model_validate({"naming": {"pattern": "{date:%Y-%m-%d}", "every": "day"}})
SHARES = Slices.model_validate({"increment": {"initial": 40, "step": 3}})


def test_between_two_names_are_all_that_lie_there_in_order() -> None:
    assert slices_between(MONTHS, "month_001", "month_003") == [
        "month_001",
        "month_002",
        "month_003",
    ]
    assert slices_between(DAYS, "2024-02-28", "2024-03-01") == [
        "2024-02-28",
        "2024-02-29",
        "2024-03-01",
    ]
    assert slices_between(SHARES, "40%", "46%") == ["40%", "43%", "46%"]
    assert slices_between(SHARES, "97%", "100%") == ["97%", "100%"]


def test_a_date_is_the_first_slice_at_or_after_it_and_the_last_at_or_before() -> None:
    assert slices_between(MONTHS, "2024-02-01", "2024-04-29") == ["month_001", "month_002"]
    assert slices_between(MONTHS, "2020-01-01", "2024-01-31") == ["month_000"]
    assert slices_between(MONTHS, "month_001", "2024-03-31") == ["month_001", "month_002"]


@given(st.integers(0, 60), st.integers(0, 60))
def test_dates_and_names_of_the_same_slices_mean_the_same(first: int, count: int) -> None:
    names = [f"month_{n:03d}" for n in range(first, first + count + 1)]
    dates = [MONTHS.as_of(name) for name in (names[0], names[-1])]
    assert slices_between(MONTHS, names[0], names[-1]) == names
    assert slices_between(MONTHS, *(str(day) for day in dates)) == names


@pytest.mark.parametrize(
    ("slices", "first", "last", "said"),
    [
        (MONTHS, "month_003", "month_001", "no slice lies between"),
        (MONTHS, "2024-02-01", "2024-02-10", "no slice lies between"),
        (MONTHS, "tuesday", "month_001", "neither a date nor a slice"),
        (DAYS, "2024-13-01", "2024-12-01", "neither a date nor a slice"),
        (SHARES, "40%", "45%", "doesn't come to 45%"),
        (SHARES, "2024-01-31", "45%", "no share"),
    ],
)
def test_what_names_no_range_is_told(slices: Slices, first: str, last: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        slices_between(slices, first, last)


def test_the_last_of_all_days_ends_a_range() -> None:
    last = str(date.max)
    assert slices_between(DAYS, last, last) == [last]
