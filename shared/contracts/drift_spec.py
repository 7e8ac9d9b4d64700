"""The part of a spec that says when a training dataset has drifted from the champion's."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from shared.contracts.spec_part import SpecPart

FeatureName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}\.[A-Za-z][A-Za-z0-9_]{0,59}$")]
"""`<table>.<column>`, of a feature or of the target."""
_Threshold = Annotated[float, Field(gt=0.0)]


class Measure(StrEnum):
    """How far two distributions are apart. Each is 0 where they are the same."""

    PSI = "psi"
    """Population stability index over the bins of numbers, categories or classes."""
    KS = "ks"
    """Kolmogorov and Smirnov's: the largest distance of two distribution functions of numbers."""
    CHI_SQUARED = "chi_squared"
    """Cramér's V of the chi-squared test on categories or classes, from 0 to 1."""
    LENGTH_PSI = "length_psi"
    """As `psi`, of the number of words of a text."""
    LENGTH_KS = "length_ks"
    """As `ks`, of the number of words of a text."""
    VOCABULARY = "vocabulary"
    """Jensen and Shannon's divergence of the words' shares, in bits from 0 to 1, less what chance
    brings."""


OF_NUMBERS = (Measure.PSI, Measure.KS)
"""What numbers, dates and times are compared by; a date is its age in days."""
OF_CATEGORIES = (Measure.PSI, Measure.CHI_SQUARED)
"""What texts that are categories, booleans and classes are compared by."""
OF_TEXTS = (Measure.LENGTH_PSI, Measure.LENGTH_KS, Measure.VOCABULARY)
"""What features that are read as text are compared by."""


class Thresholds(SpecPart):
    """From which value on a measure says that there is drift."""

    psi: _Threshold = 0.2
    ks: _Threshold = 0.1
    chi_squared: _Threshold = 0.1
    length_psi: _Threshold = 0.2
    length_ks: _Threshold = 0.1
    vocabulary: _Threshold = 0.05


class Drift(SpecPart):
    """When a feature or the target counts as drifted, and which are not looked at."""

    thresholds: Thresholds = Thresholds()
    features: Mapping[FeatureName, Mapping[Measure, _Threshold]] = Field(default_factory=dict)
    """Other thresholds for a feature or the target, by measure."""
    ignore: tuple[FeatureName, ...] = ()
    """Features that are not compared."""
    bins: int = Field(default=10, ge=2, le=50)
    """Into how many parts the baseline's numbers are cut, equally many in each."""
    categories: int = Field(default=30, ge=2, le=1000)
    """How many categories or classes are told apart; the rarer ones count as one."""
    significance: float = Field(default=0.01, gt=0.0, lt=1.0)
    """How improbable a difference must be by chance alone, for it to count."""

    def threshold(self, feature: str, measure: Measure) -> float:
        """The threshold for a measure of a feature."""
        own = self.features.get(feature, {}).get(measure)
        return float(getattr(self.thresholds, measure.value)) if own is None else own
