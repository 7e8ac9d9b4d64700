"""Failures are told in plain words."""

import pytest

from services.validator.results import ValidationResult
from services.validator.wording import in_words


def failed(expectation, kwargs, **facts):
    column = kwargs.get("column")
    return ValidationResult(
        table="usage",
        expectation=expectation,
        success=False,
        kwargs=kwargs,
        columns=(column,) if column else (),
        **facts,
    )


@pytest.mark.parametrize(
    ("expectation", "kwargs", "told"),
    [
        ("expect_column_values_to_not_be_null", {}, "missing"),
        (
            "expect_column_values_to_be_between",
            {"min_value": 0, "max_value": 720},
            "not at least 0 and at most 720",
        ),
        (
            "expect_column_values_to_be_between",
            {"max_value": 1.5, "strict_max": True},
            "not less than 1.5",
        ),
        ("expect_column_values_to_be_in_set", {"value_set": ["a", 1]}, "none of 'a', 1"),
        ("expect_column_values_to_match_regex", {"regex": "^{x}$"}, "not like the pattern '^{x}$'"),
        (
            "expect_column_values_to_not_match_regex_list",
            {"regex_list": ["a", "b"]},
            "against expect_column_values_to_not_match_regex_list"
            "(column='hours', regex_list=['a', 'b'])",
        ),
    ],
)
def test_values_at_fault_are_counted_and_shown_with_their_keys(expectation, kwargs, told):
    rows = tuple({"user_id": f"U{n}", "hours": -float(n)} for n in range(1, 5))
    result = failed(
        expectation,
        {"column": "hours", **kwargs},
        element_count=7043,
        unexpected_count=1200,
        failing_keys=rows,
    )
    assert in_words(result, ("user_id",)) == (
        f"usage.hours: 1,200 of 7,043 values are {told}: -1 at U1; -2 at U2; -3 at U3; "
        "and 1,197 more"
    )


def test_one_value_is_told_in_the_singular_without_more():
    result = failed(
        "expect_column_values_to_be_unique",
        {"column": "user_id"},
        element_count=3,
        unexpected_count=1,
        failing_keys=({"user_id": "U1"},),
    )
    assert in_words(result, ("user_id",)) == (
        "usage.user_id: 1 of 3 values is found more than once: U1"
    )


def test_an_expectation_about_a_whole_column_tells_what_was_found():
    result = failed(
        "expect_column_mean_to_be_between",
        {"column": "hours", "max_value": 4},
        observed_value=29.62639814,
    )
    assert in_words(result, ("user_id",)) == (
        "usage.hours: expect_column_mean_to_be_between(column='hours', max_value=4) does not hold, "
        "found 29.6264"
    )
