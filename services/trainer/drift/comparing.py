"""One dataset against another, feature by feature. Pure but for the reading of the files."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from services.trainer.drift import bins, measures
from services.trainer.drift.bins import Bins
from services.trainer.drift.profile import (
    Categories,
    Column,
    Numbers,
    Profile,
    Texts,
    entities_of,
    profile,
)
from shared.contracts.drift_spec import Drift, Measure
from shared.contracts.manifest import DatasetManifest, FeatureField
from shared.contracts.training_spec import Training
from shared.object_store import ObjectStore

logger = logging.getLogger(__name__)

WORDS_COMPARED = 500
"""The most frequent words of either side; the rest counts as one."""
WORDS_DRAWN = 20


@dataclass(frozen=True)
class Difference:
    """How far a feature or the target is from what it was, by one measure."""

    feature: str
    is_target: bool
    measure: Measure
    value: float
    p_value: float | None
    """How probable so large a difference is by chance; None where the value allows for it."""
    threshold: float
    is_drifted: bool
    bins: Bins
    """What is drawn of it."""

    @property
    def weight(self) -> float:
        """The value in thresholds, by which differences are ranked."""
        return self.value / self.threshold


@dataclass(frozen=True)
class Comparison:
    """All differences, those with the most weight first, and how many rows they were found in."""

    differences: tuple[Difference, ...]
    baseline_rows: int
    current_rows: int

    @property
    def features(self) -> int:
        """How many features were compared, the target included."""
        return len({each.feature for each in self.differences})

    def drifted(self) -> list[Difference]:
        """Of each feature that has drifted the weightiest difference, in order."""
        first: dict[str, Difference] = {}
        for each in self.differences:
            if each.is_drifted:
                first.setdefault(each.feature, each)
        return list(first.values())


def compare(
    store: ObjectStore,
    training: Training,
    drift: Drift,
    baseline: DatasetManifest,
    current: DatasetManifest,
    *,
    rows: int,
) -> Comparison:
    """Compare what both datasets have, in about `rows` of each one's entities.

    The rows are the snapshot's: those of both sides, without the copies that balance classes. A
    feature that one of them lacks, or has as another type, is passed over.
    """
    features = _in_both(drift, baseline, current)
    texts = frozenset(training.text.feature_names if training.text else ())
    before, now = (
        profile(store, manifest, features, texts, rows) for manifest in (baseline, current)
    )
    found = [*_features(drift, before, now), *_target(drift, baseline, current)]
    ranked = sorted(found, key=lambda each: (-each.weight, each.feature, each.measure))
    return Comparison(tuple(ranked), before.rows, now.rows)


def _in_both(
    drift: Drift, baseline: DatasetManifest, current: DatasetManifest
) -> list[FeatureField]:
    known = {each.name: each.kind for each in baseline.features}
    found = []
    for each in current.features:
        if each.name in drift.ignore:
            continue
        if known.get(each.name) is each.kind:
            found.append(each)
        else:
            logger.info("%s is new since the champion's dataset: not compared", each.name)
    return found


def _features(drift: Drift, before: Profile, now: Profile) -> Iterator[Difference]:
    for name, column in now.columns.items():
        for measure, (value, p_value, over) in _measured(drift, before.columns[name], column):
            yield _judged(drift, name, measure, value, p_value, over)


def _target(
    drift: Drift, baseline: DatasetManifest, current: DatasetManifest
) -> Iterator[Difference]:
    """The target's classes, which the manifests count: of all rows, whatever the limit."""
    if baseline.target != current.target or current.target in drift.ignore:
        return
    counts = (entities_of(baseline), entities_of(current))
    for measure, (value, p_value, over) in _of_counts(drift, *counts):
        yield _judged(drift, current.target, measure, value, p_value, over, is_target=True)


_Found = tuple[float, float | None, Bins]


def _measured(drift: Drift, before: Column, now: Column) -> Iterator[tuple[Measure, _Found]]:
    if isinstance(before, Numbers) and isinstance(now, Numbers):
        yield from _of_numbers(drift, before, now, Measure.PSI, Measure.KS)
    elif isinstance(before, Categories) and isinstance(now, Categories):
        yield from _of_counts(drift, _named(before.counts), _named(now.counts))
    elif isinstance(before, Texts) and isinstance(now, Texts):
        lengths = (before.lengths, now.lengths)
        yield from _of_numbers(drift, *lengths, Measure.LENGTH_PSI, Measure.LENGTH_KS)
        yield Measure.VOCABULARY, _vocabulary(before, now)


def _of_numbers(
    drift: Drift, before: Numbers, now: Numbers, psi: Measure, ks: Measure
) -> Iterator[tuple[Measure, _Found]]:
    baseline, current = before.all(), now.all()
    over = bins.of_numbers(baseline, current, drift.bins)
    yield psi, _psi(over)
    baseline, current = (values[~np.isnan(values)] for values in (baseline, current))
    if len(baseline) and len(current):
        yield ks, (*measures.kolmogorov_smirnov(baseline, current), over)


def _of_counts(
    drift: Drift, before: Mapping[str, int], now: Mapping[str, int]
) -> Iterator[tuple[Measure, _Found]]:
    over = bins.of_categories(before, now, drift.categories)
    yield Measure.PSI, _psi(over)
    yield Measure.CHI_SQUARED, (*measures.chi_squared(over.baseline, over.current), over)


def _psi(over: Bins) -> _Found:
    _, p_value = measures.chi_squared(over.baseline, over.current)
    return measures.psi(over.baseline, over.current), p_value, over


def _vocabulary(before: Texts, now: Texts) -> _Found:
    """The divergence of the words, less what it would be by chance: the two halves of the baseline
    differ by chance alone, and the smaller two samples are, the more they do.
    """
    baseline, current = (texts.halves[0] + texts.halves[1] for texts in (before, now))
    names = bins.largest(baseline, current, WORDS_COMPARED)
    halves = [bins.tally(half, names) for half in before.halves]
    whole = [bins.tally(words, names) for words in (baseline, current)]
    value = measures.jensen_shannon(*whole)
    if all(counts.sum() for counts in (*halves, *whole)):
        first, second, old, new = (1.0 / float(counts.sum()) for counts in (*halves, *whole))
        chance = measures.jensen_shannon(*halves) * (old + new) / (first + second)
        value = max(0.0, value - chance)
    return value, None, bins.of_categories(baseline, current, WORDS_DRAWN)


def _named(counts: Mapping[str | None, int]) -> dict[str, int]:
    """With a name for what is missing that no value has."""
    name = bins.MISSING
    while name in counts:
        name = f"({name})"
    return {name if value is None else value: rows for value, rows in counts.items()}


def _judged(
    drift: Drift,
    feature: str,
    measure: Measure,
    value: float,
    p_value: float | None,
    over: Bins,
    *,
    is_target: bool = False,
) -> Difference:
    threshold = drift.threshold(feature, measure)
    is_chance = p_value is not None and p_value >= drift.significance
    is_drifted = value >= threshold and not is_chance
    return Difference(feature, is_target, measure, value, p_value, threshold, is_drifted, over)
