"""Counting runs of words and of characters."""

from typing import Any

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer


class StorableCounts(CountVectorizer):  # type: ignore[misc]
    """scikit-learn's vectorizer, of single precision, that can be stored quickly.

    It expects clean text. Its vocabulary is stored as one text, a line for each n-gram: as a dict
    of a hundred thousand entries skops takes minutes to write it. No n-gram has a line end: of
    those of words none is of a word, those of characters have blanks in their place.
    """

    def __init__(
        self,
        *,
        analyzer: str = "word",
        ngram_range: tuple[int, int] = (1, 1),
        max_features: int | None = None,
        min_df: int = 1,
    ) -> None:
        super().__init__(
            analyzer=analyzer,
            ngram_range=ngram_range,
            max_features=max_features,
            min_df=min_df,
            lowercase=False,
            dtype=np.float32,
        )

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        vocabulary = state.pop("vocabulary_", None)
        if vocabulary is not None:
            state["ngrams"] = "\n".join(sorted(vocabulary, key=vocabulary.__getitem__))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        ngrams = state.pop("ngrams", None)
        if ngrams is not None:
            places = enumerate(ngrams.split("\n"))
            state["vocabulary_"] = {ngram: place for place, ngram in places}
        super().__setstate__(state)


def single_precision(values: Any) -> Any:
    """The values as 32-bit floats: beside n-grams, wider ones would widen those too."""
    return values.astype(np.float32)
