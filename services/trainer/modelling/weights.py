"""Rows that stand in a training side more than once, as one row with a weight.

An estimator that minimizes a sum over rows has the same optimum either way; reading, cleaning and
fitting take a fraction. Those that draw rows (a forest) or count them (the leaves and bins of
gradient boosting) would become other models, so they are given the copies.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

WEIGHTED_KINDS = frozenset({"logistic_regression", "linear_svm"})
"""The estimators that are fitted on distinct rows, with weights."""


def distinct_rows(table: pa.Table, entity: str) -> tuple[pa.Table, NDArray[np.int64]]:
    """The first row of each entity, in the table's order, and how often each stands there."""
    codes = table[entity].combine_chunks().dictionary_encode().indices.to_numpy()
    _, first, copies = np.unique(codes, return_index=True, return_counts=True)
    order = np.argsort(first, kind="stable")
    if len(first) == table.num_rows:
        return table, copies[order].astype(np.int64)
    return table.take(pa.array(first[order])), copies[order].astype(np.int64)
