"""Which categories of a column a boosted model knows: the most frequent ones, by counts that add
up, so that they can be taken of some rows at a time.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

CATEGORIES_KEPT = 100
"""Of one column; the rarer ones count as one, so a free text can't make a million of them."""
MISSING = "missing"
"""The category of what is missing."""

Counts = Mapping[str, Mapping[str, int]]
"""How often each category stands in the rows, by column."""


def count_categories(
    inputs: pd.DataFrame, names: Iterable[str], copies: NDArray[np.int64] | None = None
) -> dict[str, dict[str, int]]:
    """The counts in `inputs`, whose rows stand there `copies` times each, or once."""
    counts = {}
    for name in names:
        codes, values = pd.factorize(inputs[name].fillna(MISSING))
        rows = np.bincount(codes, weights=copies, minlength=len(values)).astype(np.int64)
        counts[name] = dict(zip(values.tolist(), rows.tolist(), strict=True))
    return counts


def added(counts: Iterable[Counts]) -> dict[str, dict[str, int]]:
    """The counts of all rows, of those of some each."""
    whole: dict[str, dict[str, int]] = {}
    for some in counts:
        for name, of_column in some.items():
            sums = whole.setdefault(name, {})
            for value, rows in of_column.items():
                sums[value] = sums.get(value, 0) + rows
    return whole


def most_frequent(counts: Counts) -> dict[str, list[str]]:
    """The categories to be known, sorted; of equally frequent ones the first by name."""
    return {
        name: sorted(sorted(of_column, key=lambda v: (-of_column[v], v))[:CATEGORIES_KEPT])
        for name, of_column in counts.items()
    }
