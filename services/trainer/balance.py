"""Making classes equal, on the training side only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.contracts.training_spec import Balance


def balanced_rows(classes: NDArray[Any], balance: Balance) -> NDArray[np.int64]:
    """The rows to train on, as ascending indices into `classes`.

    Every row is there at least once. With `random_oversample`, rows of the smaller classes, drawn
    with replacement, are there again until every class has as many as the largest; a copy stands
    beside its original. The same classes and seed give the same rows.
    """
    rows = np.arange(len(classes), dtype=np.int64)
    if balance.strategy == "none" or len(classes) == 0:
        return rows
    # NumPy promises that this generator's stream never changes; that of the newer ones may.
    random = np.random.RandomState(balance.seed)
    members = [np.flatnonzero(classes == value) for value in np.unique(classes)]
    largest = max(len(of_class) for of_class in members)
    drawn = [
        of_class[random.randint(0, len(of_class), size=largest - len(of_class))]
        for of_class in members
    ]
    return np.sort(np.concatenate([rows, *drawn])).astype(np.int64)
