"""Counting runs of words and of characters, as scikit-learn's vectorizers do, but fast.

The same n-grams and counts as `CountVectorizer` with its analyzers `word` and `char_wb`; the tests
hold both side by side. Two things are other:

- **Time.** Words repeat, and the characters of a word are the same each time: they are counted once
  for each distinct word, and a product of sparse matrices gives the rows'. Of runs of words only
  those kept are ever made a string.
- **Form.** The vocabulary is one array of bytes. As a dict of a hundred thousand entries, skops
  takes minutes to write it.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.base import BaseEstimator, TransformerMixin

Unit = Literal["word", "character"]
_WORD = re.compile(r"\b\w\w+\b")


class NgramCounts(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """How often each n-gram is in each text, as a sparse matrix of single precision.

    `unit` is `word` (of two letters or more) or `character` (within a word between blanks, its ends
    padded by a blank); `lengths` are the shortest and the longest run counted. Kept are those in at
    least `min_rows` texts, of them the `max_features` most frequent, in alphabetical order.
    """

    def __init__(
        self,
        unit: Unit = "word",
        lengths: tuple[int, int] = (1, 1),
        max_features: int = 100_000,
        min_rows: int = 1,
    ) -> None:
        self.unit = unit
        self.lengths = lengths
        self.max_features = max_features
        self.min_rows = min_rows

    def fit(self, texts: Sequence[str], target: Any = None) -> Self:
        """Learn which n-grams are kept."""
        self.fit_transform(texts)
        return self

    def fit_transform(self, texts: Sequence[str], target: Any = None, **_: Any) -> csr_matrix:
        """Learn which n-grams are kept, and count them. `ValueError` where there are none."""
        found = self._counted(texts)
        in_rows = np.bincount(found.counts.indices, minlength=found.counts.shape[1])
        often = np.flatnonzero(in_rows >= self.min_rows)
        if not len(often):
            raise ValueError(
                f"no {self.unit} n-gram is in {self.min_rows} texts or more, of {len(texts)}"
            )
        names = np.array(found.names(often), dtype=object)
        # By name first, so that among equally frequent ones the order of rows doesn't decide.
        by_name = np.argsort(names, kind="stable")
        total = np.asarray(found.counts.sum(axis=0)).ravel()[often[by_name]]
        kept = by_name[np.sort(np.argsort(-total, kind="stable")[: self.max_features])]
        self.vocabulary_ = np.frombuffer("\n".join(names[kept]).encode(), dtype=np.uint8)
        return _columns(found.counts, often[kept], np.arange(len(kept)), len(kept))

    def transform(self, texts: Sequence[str]) -> csr_matrix:
        """Count the kept n-grams; others are passed over."""
        ngrams = self.get_feature_names_out()
        known = {ngram: column for column, ngram in enumerate(ngrams)}
        found = self._counted(texts)
        every = found.names(np.arange(found.counts.shape[1]))
        places = np.array([known.get(name, -1) for name in every], dtype=np.int64)
        chosen = np.flatnonzero(places >= 0)
        return _columns(found.counts, chosen, places[chosen], len(ngrams))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """The n-grams, in the order of the columns."""
        return np.array(bytes(self.vocabulary_).decode().split("\n"), dtype=object)

    def _counted(self, texts: Sequence[str]) -> "_Counted":
        if self.unit == "word":
            return _words(texts, *self.lengths)
        return _characters(texts, *self.lengths)


def single_precision(values: Any) -> Any:
    """The values as 32-bit floats: beside n-grams, wider ones would widen those too."""
    return values.astype(np.float32)


class _Counted(NamedTuple):
    counts: csr_matrix
    """A column for each n-gram that is in the texts."""
    names: Callable[[NDArray[np.int64]], list[str]]
    """The n-grams of the columns asked for."""


def _words(texts: Iterable[str], shortest: int, longest: int) -> _Counted:
    tokens, starts, words = _numbered(_WORD.findall(text) for text in texts)
    row = np.repeat(np.arange(len(starts) - 1, dtype=np.int32), np.diff(starts))
    ids, first = tokens, np.empty(0, dtype=np.int64)
    blocks, firsts, lengths = [], [], []
    for length in range(1, longest + 1):
        if length > 1:
            # What begins at a word is what began there before, with one word more.
            last = length - 1
            inside = np.flatnonzero(row[:-last] == row[last:])
            longer = ids[inside].astype(np.int64) * len(words) + tokens[inside + last]
            _, at, number = np.unique(longer, return_index=True, return_inverse=True)
            first = inside[at]
            ids = np.zeros(len(tokens), dtype=np.int64)
            ids[inside] = number
        else:
            inside = np.arange(len(tokens))
            _, first = np.unique(tokens, return_index=True)
        if length >= shortest:
            blocks.append(_matrix(row[inside], ids[inside], (len(starts) - 1, len(first))))
            firsts.append(first)
            lengths.append(np.full(len(first), length))
    where, runs = np.concatenate(firsts), np.concatenate(lengths)

    def names(columns: NDArray[np.int64]) -> list[str]:
        return [
            " ".join([words[token] for token in tokens[start : start + length]])
            for start, length in zip(where[columns], runs[columns], strict=True)
        ]

    return _Counted(hstack(blocks, format="csr", dtype=np.float32), names)


def _characters(texts: Iterable[str], shortest: int, longest: int) -> _Counted:
    tokens, starts, words = _numbered(text.split() for text in texts)
    row = np.repeat(np.arange(len(starts) - 1, dtype=np.int32), np.diff(starts))
    by_text = _matrix(row, tokens, (len(starts) - 1, len(words)))
    grams, starts, names = _numbered(_within(f" {word} ", shortest, longest) for word in words)
    word = np.repeat(np.arange(len(words), dtype=np.int32), np.diff(starts))
    by_word = _matrix(word, grams, (len(words), len(names)))
    return _Counted(by_text @ by_word, lambda columns: [names[column] for column in columns])


def _within(word: str, shortest: int, longest: int) -> list[str]:
    """The runs of a padded word. One that is no longer than a run is a run itself, once."""
    found: list[str] = []
    for length in range(shortest, longest + 1):
        if length >= len(word):
            return [*found, word]
        found += [word[at : at + length] for at in range(len(word) - length + 1)]
    return found


def _numbered(
    lists: Iterable[list[str]],
) -> tuple[NDArray[np.int32], NDArray[np.int64], list[str]]:
    """All items as numbers, where each list begins (and the last one ends), and the items."""
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    flat, starts = [], [0]
    for items in lists:
        flat.append(np.array([numbers[item] for item in items], dtype=np.int32))
        starts.append(starts[-1] + len(items))
    joined = np.concatenate(flat) if flat else np.empty(0, dtype=np.int32)
    return joined, np.array(starts, dtype=np.int64), list(numbers)


def _matrix(row: NDArray[Any], column: NDArray[Any], shape: tuple[int, int]) -> csr_matrix:
    """How often each pair is there."""
    starts = np.searchsorted(row, np.arange(shape[0] + 1)).astype(np.int32)
    ones = np.ones(len(column), dtype=np.float32)
    matrix = csr_matrix((ones, column.astype(np.int32), starts), shape=shape)
    matrix.sum_duplicates()
    return matrix


def _columns(
    counts: csr_matrix, chosen: NDArray[Any], places: NDArray[Any], width: int
) -> csr_matrix:
    """The `chosen` columns of `counts`, put at `places` of a matrix so wide."""
    matrix = counts[:, chosen]
    columns = places.astype(np.int32)[matrix.indices]
    placed = csr_matrix((matrix.data, columns, matrix.indptr), shape=(counts.shape[0], width))
    placed.sort_indices()
    return placed
