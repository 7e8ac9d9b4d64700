"""Making classes equal, on the training side only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.contracts.training_spec import Balance

DRAWN_AT_ONCE = 1_000_000
"""So that drawing takes no memory that grows with what is drawn. The rows don't depend on it."""

Times = NDArray[np.int32]


def times_drawn(sizes: Sequence[int], balance: Balance) -> list[Times | None]:
    """How often each row of each class trains, of classes with so many rows, in the classes' order.

    None for a class whose rows train once each. With `random_oversample`, rows of the smaller
    classes, drawn with replacement, are there again until every class has as many as the largest.
    The same sizes and seed give the same numbers. A class may have no row.
    """
    if balance.strategy == "none":
        return [None] * len(sizes)
    # NumPy promises that this generator's stream never changes; that of the newer ones may.
    random = np.random.RandomState(balance.seed)
    largest = max(sizes, default=0)
    return [_drawn(random, size, largest - size) if size else None for size in sizes]


def repeated_rows(classes: NDArray[Any], times: Sequence[Times | None]) -> NDArray[np.int64]:
    """The rows to train on, as ascending indices into `classes`, which has each row's place in
    `times`. A copy stands beside its original.
    """
    number = np.ones(len(classes), dtype=np.int64)
    for place, of_class in enumerate(times):
        if of_class is not None:
            number[classes == place] = of_class
    return np.repeat(np.arange(len(classes), dtype=np.int64), number)


def balanced_rows(classes: NDArray[Any], balance: Balance) -> NDArray[np.int64]:
    """The rows to train on, as ascending indices into `classes`. Every row is there at least once.

    The same classes and seed give the same rows.
    """
    values, places = np.unique(classes, return_inverse=True)
    sizes = np.bincount(places, minlength=len(values)).tolist()
    return repeated_rows(places, times_drawn(sizes, balance))


def _drawn(random: np.random.RandomState, size: int, missing: int) -> Times | None:
    if missing == 0:
        return None
    times = np.ones(size, dtype=np.int32)
    for start in range(0, missing, DRAWN_AT_ONCE):
        rows = random.randint(0, size, size=min(DRAWN_AT_ONCE, missing - start))
        np.add.at(times, rows, 1)
    return times
