"""Shares of values are compared class by class with those of the slice before."""

import pytest

from services.validator.changes import VALUE_SHARE_CHANGE, changes
from services.validator.profiles import Profile
from shared.contracts.table_spec import Stability

LIMIT = Stability(max_value_share_change={"code": 0.05})


def of(shares, rows=1_000_000):
    return Profile(rows, {}, {"code": shares})


def compared(now, before):
    [result] = changes("labels", LIMIT, now, before)
    assert (result.expectation, result.columns) == (VALUE_SHARE_CHANGE, ("code",))
    return result


def test_classes_that_moved_by_more_than_the_limit_are_named_with_both_shares():
    before = of({"10": 0.5, "40": 0.3, "50": 0.2})
    result = compared(of({"10": 0.58, "40": 0.26, "50": 0.16}), before)
    assert not result.success
    assert result.observed_value == {"10": {"share_before": 0.5, "share": 0.58}}
    assert result.unexpected_count == 1
    assert result.message == (
        "labels.code: the share of 1 value changed by more than 5.0% and chance: "
        "10 from 50.0% to 58.0%"
    )


def test_a_class_that_is_new_and_one_that_is_gone_count_with_their_whole_share():
    result = compared(of({"10": 0.9, "60": 0.1}), of({"10": 0.92, "40": 0.08}))
    assert result.message == (
        "labels.code: the shares of 2 values changed by more than 5.0% and chance: "
        "60 from 0.0% to 10.0%; 40 from 8.0% to 0.0%"
    )


@pytest.mark.parametrize("share", [0.45, 0.55])
def test_a_change_up_to_the_limit_holds_and_says_how_large_it_was(share):
    result = compared(of({"10": share, "40": 1 - share}), of({"10": 0.5, "40": 0.5}))
    assert result.success
    assert result.observed_value == {"largest_change": pytest.approx(0.05)}


@pytest.mark.parametrize(
    ("now", "before"),
    [
        (of({"10": 1.0}), None),
        (of({"10": 1.0}), Profile(5, {})),
        (of({}, rows=0), of({"10": 1.0})),
        (of({"10": 1.0}), of({}, rows=0)),
    ],
    ids=["no slice", "not asked for then", "empty now", "empty then"],
)
def test_where_there_is_nothing_to_compare_the_check_holds_and_says_why(now, before):
    result = compared(now, before)
    assert result.success
    assert "to compare" in result.message


@pytest.mark.parametrize(("rows", "is_met"), [(250, True), (2_500, False)])
def test_what_chance_may_bring_in_a_small_slice_is_no_change(rows, is_met):
    before = of({"10": 0.2, "40": 0.8}, rows=34_000)
    assert compared(of({"10": 0.28, "40": 0.72}, rows=rows), before).success is is_met


def test_only_the_first_few_of_many_classes_are_told():
    before = of({str(n): 0.1 for n in range(10)})
    result = compared(of({"new": 1.0}), before)
    assert result.unexpected_count == 11
    assert "new from 0.0% to 100.0%; 0 from" in result.message
    assert result.message.endswith("; and 6 more")
    assert len(result.observed_value) == 11
