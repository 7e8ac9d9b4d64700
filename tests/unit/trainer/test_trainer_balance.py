from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.accounts import imbalance_ratio
from services.trainer.training_dataset import balance as balancing
from services.trainer.training_dataset.balance import balanced_rows, repeated_rows, times_drawn
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


def drawn_at_once(classes, seed):
    """How the first datasets were balanced: their digests must not change."""
    random = np.random.RandomState(seed)
    members = [np.flatnonzero(classes == value) for value in np.unique(classes)]
    largest = max(map(len, members))
    drawn = [of[random.randint(0, len(of), size=largest - len(of))] for of in members]
    return np.sort(np.concatenate([np.arange(len(classes)), *drawn]))


@given(classes, st.integers(0, 2**31), st.integers(1, 7))
def test_what_is_drawn_does_not_depend_on_how_much_is_drawn_at_once(values, seed, at_once):
    expected = drawn_at_once(values, seed)
    whole, balancing.DRAWN_AT_ONCE = balancing.DRAWN_AT_ONCE, at_once
    try:
        found = balanced_rows(values, Balance(strategy="random_oversample", seed=seed))
    finally:
        balancing.DRAWN_AT_ONCE = whole
    assert found.tolist() == expected.tolist()


@given(classes, st.integers(0, 2**31), st.lists(st.integers(0, 60), max_size=4))
def test_rows_balanced_range_by_range_are_those_balanced_as_a_whole(values, seed, cuts):
    balance = Balance(strategy="random_oversample", seed=seed)
    sizes = np.bincount(values, minlength=5).tolist()
    times = times_drawn(sizes, balance)
    places, begun, found = [0, *sorted(cut % len(values) for cut in cuts), len(values)], [0] * 5, []
    for start, stop in pairwise(places):
        part = values[start:stop]
        of_part = np.bincount(part, minlength=5)
        share = [
            None if of is None else of[begun[c] : begun[c] + of_part[c]]
            for c, of in enumerate(times)
        ]
        found += (repeated_rows(part, share) + start).tolist()
        begun = [a + b for a, b in zip(begun, of_part.tolist(), strict=True)]
    assert found == balanced_rows(values, balance).tolist()
