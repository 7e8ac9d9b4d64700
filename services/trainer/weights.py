"""Rows that stand in a training side more than once, as one row with a weight.

An estimator that minimizes a sum over rows has the same optimum either way; reading, cleaning and
fitting take a fraction. Those that draw rows (a forest) or count them (the leaves and bins of
gradient boosting) would become other models, so they are given the copies.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

WEIGHTED_KINDS = frozenset({"logistic_regression", "sgd_logistic"})
"""The estimators that are fitted on distinct rows, with weights."""


def distinct_rows(table: pa.Table, entity: str) -> tuple[pa.Table, NDArray[np.int64]]:
    """The first row of each entity, in the table's order, and how often each stands there."""
    codes = table[entity].combine_chunks().dictionary_encode().indices.to_numpy()
    _, first, copies = np.unique(codes, return_index=True, return_counts=True)
    order = np.argsort(first, kind="stable")
    if len(first) == table.num_rows:
        return table, copies[order].astype(np.int64)
    return table.take(pa.array(first[order])), copies[order].astype(np.int64)


def sample_weights(kind: str, copies: NDArray[Any]) -> NDArray[np.float64]:
    """The weights by which an estimator of `kind` has the optimum of the repeated rows.

    Logistic regression adds the rows' losses, stochastic descent takes their mean over the rows
    it is given: there, weights have to be 1 in the mean.
    """
    weights = np.asarray(copies, dtype=np.float64)
    return weights / weights.mean() if kind == "sgd_logistic" else weights
