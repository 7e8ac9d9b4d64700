"""The measures of drift: nothing where nothing has changed, and more the more has."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.trainer.drift import bins, measures
from services.trainer.drift.profile import NAMES_KEPT, forget_rarest
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.drift_spec import Drift, Measure
from shared.contracts.spec_file import find_spec
from tests.conftest import REPOSITORY

counts = st.lists(st.integers(0, 1000), min_size=2, max_size=20).map(
    lambda values: np.array(values, np.int64)
)
numbers = st.lists(
    st.one_of(st.floats(-1e9, 1e9), st.just(float("nan"))), min_size=1, max_size=300
).map(np.array)


@given(counts)
def test_the_same_counts_have_no_distance(found):
    assert measures.psi(found, found) == pytest.approx(0)
    assert measures.jensen_shannon(found, found) == pytest.approx(0)
    assert measures.chi_squared(found, found)[0] == pytest.approx(0, abs=1e-6)


@given(counts, st.randoms())
def test_no_distance_depends_on_the_order_of_the_bins(found, random):
    other, order = np.roll(found, 1), list(range(len(found)))
    random.shuffle(order)
    for measure in (
        measures.psi,
        measures.jensen_shannon,
        lambda a, b: measures.chi_squared(a, b)[0],
    ):
        assert measure(found, other) == pytest.approx(measure(found[order], other[order]))


def test_psi_is_what_it_is_by_hand():
    """As the formula has it, with half a row more in each bin."""
    before, now = np.array([100, 300]), np.array([200, 200])
    expected, found = (np.array([100.5, 300.5]) / 401), (np.array([200.5, 200.5]) / 401)
    by_hand = sum((f - e) * np.log(f / e) for e, f in zip(expected, found, strict=True))
    assert measures.psi(before, now) == pytest.approx(by_hand)


def test_categories_that_have_nothing_in_common_are_as_far_apart_as_can_be():
    before, now = np.array([100, 0]), np.array([0, 100])
    assert measures.chi_squared(before, now)[0] == pytest.approx(1)
    assert measures.jensen_shannon(before, now) == pytest.approx(1)


@given(numbers, numbers, st.integers(2, 50))
def test_every_number_falls_into_one_bin(before, now, number):
    found = bins.of_numbers(before, now, number)
    assert found.baseline.sum() == len(before)
    assert found.current.sum() == len(now)
    assert len(found.labels) == len(found.baseline) == len(found.current)
    assert len(found.labels) <= number + 3


def test_a_number_that_is_nearly_always_the_same_has_a_bin_of_its_own():
    before = np.array([0.0] * 95 + [1.0, 2.0, 3.0, 4.0, 5.0])
    found = bins.of_numbers(before, np.array([0.0, -1.0, 9.0, np.nan]), 10)
    assert found.labels[0] == "< 0"
    assert found.drawn()[1] == {"label": "0", "baseline": 95, "current": 1}
    assert [each["current"] for each in found.drawn() if each["label"] == "> 5"] == [1]
    assert found.drawn()[-1] == {"label": "missing", "baseline": 0, "current": 1}


def test_a_category_that_is_new_has_a_bin_and_rare_ones_share_one():
    before = {f"c{number:02}": 100 - number for number in range(50)}
    found = bins.of_categories(before, {"new": 10, "c00": 90}, 10)
    assert len(found.labels) == 11
    assert "new" in found.labels
    assert found.labels[-1] == bins.OTHERS
    assert found.baseline.sum() == sum(before.values())
    assert found.current.sum() == 100


def test_names_without_end_take_no_memory_without_end():
    found = Counter({f"word{number}": 1 + (number < 10) for number in range(NAMES_KEPT + 1)})
    forget_rarest(found)
    assert len(found) == NAMES_KEPT // 2
    assert all(found[f"word{number}"] == 2 for number in range(10))


def with_drift(**drift):
    declared = find_spec(REPOSITORY / "datasets", "streamflow").model_dump(mode="json")
    return DatasetSpec.model_validate({**declared, "drift": drift})


def test_a_feature_has_its_own_threshold_else_that_of_the_measure():
    drift = with_drift(thresholds={"psi": 0.3}, features={"users.signup_date": {"psi": 2}}).drift
    assert drift.threshold("users.signup_date", Measure.PSI) == 2
    assert drift.threshold("users.signup_date", Measure.KS) == Drift().thresholds.ks
    assert drift.threshold("users.has_family", Measure.PSI) == 0.3


@pytest.mark.parametrize(
    ("drift", "said"),
    [
        ({"ignore": ["users.shoe_size"]}, "users.shoe_size is neither a feature"),
        ({"features": {"users.has_family": {"ks": 0.1}}}, "users.has_family has no measure ks"),
        ({"features": {"labels.churn_label": {"vocabulary": 0.1}}}, "but psi, chi_squared"),
        ({"thresholds": {"psi": 0}}, "greater than 0"),
        ({"thresholds": {"kl": 1}}, "Extra inputs"),
    ],
)
def test_a_drift_that_says_what_cannot_be_is_refused(drift, said):
    with pytest.raises(ValidationError, match=said):
        with_drift(**drift)


def test_a_dataset_without_a_training_has_no_drift():
    declared = find_spec(REPOSITORY / "datasets", "streamflow").model_dump(mode="json")
    with pytest.raises(ValidationError, match="there is no training"):
        DatasetSpec.model_validate({**declared, "training": None, "drift": {}})
