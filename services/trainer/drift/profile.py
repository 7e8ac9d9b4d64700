"""What of a stored training dataset is compared: read a piece at a time, in bounded memory.

Of a dataset with more rows than the limit, a random part is taken, which its digest decides, so
that doing it again gives the same. Its error is small beside any threshold: of a distribution
function known by n rows about 1/sqrt(n).
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from services.trainer.modelling.cleaning import clean
from services.trainer.modelling.frame import CATEGORICAL
from services.trainer.training_dataset.ranged import open_parquet
from shared.contracts.manifest import DatasetManifest, FeatureField
from shared.object_store import ObjectStore

ROWS_AT_ONCE = 8_192
Name = TypeVar("Name")
NAMES_KEPT = 200_000
"""Of the categories or the words of a feature; of more, the rarest are forgotten."""


@dataclass
class Numbers:
    """A feature's numbers; NaN is what is missing."""

    pieces: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, values: pa.Array) -> None:
        """Take the values of some rows."""
        self.pieces.append(
            values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64)
        )

    def all(self) -> NDArray[np.float64]:
        """All of them."""
        return np.concatenate([np.empty(0), *self.pieces])


@dataclass
class Categories:
    """How many rows have each category; None is what is missing."""

    counts: Counter[str | None] = field(default_factory=Counter)

    def add(self, values: pa.Array) -> None:
        """Take the values of some rows."""
        if pa.types.is_boolean(values.type):
            values = pc.if_else(values, "true", "false")
        for each in pc.value_counts(values).to_pylist():
            self.counts[each["values"]] += each["counts"]
        forget_rarest(self.counts)


@dataclass
class Texts:
    """How many words each text has, and how often each word stands in the texts of each half."""

    coins: random.Random
    lengths: Numbers = field(default_factory=Numbers)
    halves: tuple[Counter[str], Counter[str]] = field(
        default_factory=lambda: (Counter(), Counter())
    )
    """Each text is in one or the other at random: how far they differ is what chance brings."""

    def add(self, values: pa.Array) -> None:
        """Take the texts of some rows; one that is missing has no length."""
        lengths: list[float | None] = []
        for text in values.to_pylist():
            words = [] if text is None else clean(text).split()
            lengths.append(None if text is None else float(len(words)))
            self.halves[self.coins.getrandbits(1)].update(words)
        for half in self.halves:
            forget_rarest(half)
        self.lengths.add(pa.array(lengths, pa.float64()))


Column = Numbers | Categories | Texts


@dataclass(frozen=True)
class Profile:
    """The features of a dataset as they are compared."""

    rows: int
    columns: dict[str, Column]


def profile(
    store: ObjectStore,
    manifest: DatasetManifest,
    features: Sequence[FeatureField],
    texts: frozenset[str],
    rows: int,
) -> Profile:
    """Read `features` of about `rows` of the dataset's entities; those in `texts` are texts."""
    seed = int(manifest.dataset_version[:16], 16)
    columns: dict[str, Column] = {
        each.name: Texts(random.Random(f"{seed} {each.name}"))  # noqa: S311
        if each.name in texts
        else Categories()
        if each.kind in CATEGORICAL
        else Numbers()
        for each in features
    }
    taken = 0
    for piece in _entities(store, manifest, [*columns], rows, seed):
        taken += piece.num_rows
        for name, column in columns.items():
            column.add(piece[name])
    return Profile(taken, columns)


def entities_of(manifest: DatasetManifest) -> dict[str, int]:
    """How many entities of the snapshot have each class, whatever was balanced."""
    counts = manifest.class_counts
    return {
        name: counts["train_before"].get(name, 0) + counts["test"].get(name, 0)
        for name in manifest.classes
    }


def forget_rarest(counts: Counter[Name]) -> None:
    """Keep no more than half of `NAMES_KEPT` names where there are more than `NAMES_KEPT`."""
    if len(counts) > NAMES_KEPT:
        kept = counts.most_common(NAMES_KEPT // 2)
        counts.clear()
        counts.update(dict(kept))


def _entities(
    store: ObjectStore, manifest: DatasetManifest, names: list[str], rows: int, seed: int
) -> Iterator[pa.RecordBatch]:
    """Some rows at a time of both sides, each entity once: a copy stands behind its original."""
    share = min(1.0, rows / max(1, sum(entities_of(manifest).values())))
    chance = np.random.default_rng(seed)
    for part in (manifest.train, manifest.test):
        last: pa.Scalar | None = None
        with open_parquet(store, part.uri) as file:
            for piece in file.iter_batches(
                ROWS_AT_ONCE, columns=[manifest.entity, *names], use_threads=False
            ):
                entities = piece.column(manifest.entity)
                is_first = np.ones(len(entities), dtype=bool)
                is_first[1:] = pc.not_equal(entities[1:], entities[:-1]).to_numpy(
                    zero_copy_only=False
                )
                if last is not None and len(entities):
                    is_first[0] = entities[0] != last
                if len(entities):
                    last = entities[-1]
                is_taken = is_first & (chance.random(len(entities)) < share)
                yield piece.filter(pa.array(is_taken)).select(names)
