"""The measures of drift, of two rows of counts or two samples. Pure.

SciPy has the tests. The population stability index is the credit scorers' (N. Siddiqi, Credit Risk
Scorecards, 2006); docs/adr/0012 says why there is no larger library.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, ks_2samp

_PRIOR = 0.5
"""What an empty bin counts for, so that a share is never 0 and its logarithm never infinite."""

Counts = NDArray[np.int64]
Numbers = NDArray[np.float64]


def psi(baseline: Counts, current: Counts) -> float:
    """The population stability index of two rows of counts over the same bins."""
    there = (baseline + current) > 0
    expected, found = _shares(baseline[there]), _shares(current[there])
    return float(np.sum((found - expected) * np.log(found / expected)))


def chi_squared(baseline: Counts, current: Counts) -> tuple[float, float]:
    """Cramér's V of two rows of counts over the same bins, and the test's p-value.

    (0, 1) where there is nothing to tell apart.
    """
    there = (baseline + current) > 0
    if there.sum() < 2 or not baseline.sum() or not current.sum():
        return 0.0, 1.0
    table = np.vstack([baseline[there], current[there]])
    found = chi2_contingency(table, correction=False)
    return float(np.sqrt(found.statistic / table.sum())), float(found.pvalue)


def kolmogorov_smirnov(baseline: Numbers, current: Numbers) -> tuple[float, float]:
    """The largest distance of the two samples' distribution functions, and the test's p-value.

    Neither sample may be empty or have a NaN.
    """
    found = ks_2samp(baseline, current, method="asymp")
    return float(found.statistic), float(found.pvalue)


def jensen_shannon(baseline: Counts, current: Counts) -> float:
    """Jensen and Shannon's divergence of two rows of counts, in bits: 0 where the shares are the
    same, 1 where nothing is in common. 0 also where one of them is empty.
    """
    if not baseline.sum() or not current.sum():
        return 0.0
    p, q = baseline / baseline.sum(), current / current.sum()
    middle = (p + q) / 2
    return float(max(0.0, (_divergence(p, middle) + _divergence(q, middle)) / 2))


def _divergence(p: Numbers, q: Numbers) -> float:
    there = p > 0
    return float(np.sum(p[there] * np.log2(p[there] / q[there])))


def _shares(counts: Counts) -> Numbers:
    smoothed = counts + _PRIOR
    return np.asarray(smoothed / smoothed.sum(), dtype=np.float64)
