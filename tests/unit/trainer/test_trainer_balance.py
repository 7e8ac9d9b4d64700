from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.accounts import imbalance_ratio
from services.trainer.balance import balanced_rows
from shared.contracts.training_spec import Balance

classes = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)


@given(classes, st.integers(0, 2**31))
def test_oversampling_gives_every_class_the_rows_of_the_largest_and_loses_none(values, seed):
    rows = balanced_rows(values, Balance(strategy="random_oversample", seed=seed))
    counts = Counter(values[rows].tolist())
    assert set(counts.values()) == {max(Counter(values.tolist()).values())}
    assert set(rows.tolist()) == set(range(len(values)))
    assert (np.diff(rows) >= 0).all()


@given(classes, st.integers(0, 2**31))
def test_the_same_seed_draws_the_same_rows(values, seed):
    balance = Balance(strategy="random_oversample", seed=seed)
    assert (balanced_rows(values, balance) == balanced_rows(values, balance)).all()


def test_another_seed_draws_other_rows():
    values = np.array([0] * 90 + [1] * 10)
    one, other = (
        balanced_rows(values, Balance(strategy="random_oversample", seed=seed)) for seed in (1, 2)
    )
    assert (one != other).any()


def test_without_a_strategy_the_rows_stay_as_they_are():
    assert balanced_rows(np.array([0, 0, 1]), Balance()).tolist() == [0, 1, 2]


def test_the_imbalance_is_that_of_the_classes_that_have_rows():
    assert imbalance_ratio({"a": 30, "b": 12, "c": 20}) == 2.5
    assert imbalance_ratio({"a": 30, "b": 0, "c": 20}) == 1.5
    assert imbalance_ratio({"a": 7, "b": 7}) == 1
