"""A model as a file: skops' format, in which, unlike in a pickle, a file can't run code."""

from importlib.metadata import version
from pathlib import Path

import skops.io  # type: ignore[import-untyped]
from sklearn.pipeline import Pipeline

_REQUIREMENTS = ("scikit-learn", "pandas", "numpy", "scipy", "skops")
TRUSTED_TYPES = (
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "services.trainer.modelling.boosted.BoostedTrees",
    "services.trainer.modelling.cleaning.CleanedText",
    "services.trainer.modelling.ngrams.StorableCounts",
    "services.trainer.modelling.ngrams.single_precision",
)
"""What a stored model may hold beside skops' own list. A champion with anything else isn't read,

so a class of ours that moves keeps its old name here, with a module that still has it.
"""
MODEL_FILE = "model.skops"
"""As MLflow names it within a model."""


class UnreadableModel(Exception):
    """A stored model can't be loaded; the message says why. For `decide`, no error of an event."""


def requirements(model: Pipeline) -> list[str]:
    """What a model needs to be loaded, in the versions of this process."""
    boosted = ("xgboost-cpu",) if hasattr(model[-1], "get_booster") else ()
    return [f"{name}=={version(name)}" for name in (*_REQUIREMENTS, *boosted)]


def read_model(path: Path) -> Pipeline:
    """The pipeline in a file. Raises `UnreadableModel` for anything but a model of ours."""
    try:
        loaded = skops.io.load(path, trusted=list(TRUSTED_TYPES))
    except Exception as error:
        # Whatever is wrong with a stored file, it means the same: this model can't be asked.
        raise UnreadableModel(f"the stored model can't be read: {error}") from error
    if not isinstance(loaded, Pipeline):
        raise UnreadableModel("the stored model is no pipeline")
    return loaded
