"""Text as a model reads it: without markup, case and accents. The same in training and serving."""

import html
import re
import unicodedata
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

_DECODINGS = 3
"""An entity may itself have been encoded, even twice; what is still one after that stays."""
_MARKUP = re.compile(
    r"<!\[CDATA\[|\]\]>"  # only the marks: what is between them is text
    r"|<!--[^<>]*-->"
    # A tag begins with a letter, so that "< 20" and "> 10" stay; and it holds no other "<", so
    # that the time is linear whatever the text.
    r"|<[/!?]?[A-Za-z][^<>]*>"
)
_LIGATURES = str.maketrans({"œ": "oe", "Œ": "oe", "æ": "ae", "Æ": "ae"})


def clean(text: str) -> str:
    """The text in lower case, its entities decoded, without tags and accents, its words one blank
    apart. A tag counts as a blank. Whatever else is in it (digits, emoji, other scripts) stays.
    """
    for _ in range(_DECODINGS):
        decoded = html.unescape(text) if "&" in text else text
        if decoded == text:
            break
        text = decoded
    if not text.isascii():
        apart = unicodedata.normalize("NFKD", text.translate(_LIGATURES))
        text = "".join(letter for letter in apart if not unicodedata.combining(letter))
    # After that, for a full-width "<" is one only now; and a "™" has become capitals.
    return " ".join(_MARKUP.sub(" ", text).casefold().split())


class CleanedText(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Joins the columns of each row and cleans the text; what is missing counts as empty."""

    def fit(self, inputs: pd.DataFrame, target: Any = None) -> Self:
        """Learn nothing: a row's text depends on that row alone."""
        return self

    def transform(self, inputs: pd.DataFrame) -> NDArray[np.object_]:
        """The text of each row."""
        rows = inputs.astype(object).where(inputs.notna(), "").to_numpy()
        return np.array([clean(" ".join(map(str, row))) for row in rows], dtype=object)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """The one column that comes out."""
        return np.array(["text"], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True
