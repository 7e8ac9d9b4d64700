"""XGBoost's classifier with classes of any type, stored in XGBoost's own stable format."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from xgboost import Booster, XGBClassifier

SET_BY_US = frozenset(
    {
        # They follow from the data, and from rows being read some at a time.
        "booster",
        "device",
        "enable_categorical",
        "feature_types",
        "missing",
        "multi_strategy",
        "objective",
        "tree_method",
        # These need rows beside the training side, or code.
        "callbacks",
        "early_stopping_rounds",
        "eval_metric",
        "feature_weights",
    }
)
"""Parameters that a spec can't choose, beside `random_state`."""


class BoostedTrees(XGBClassifier):
    """XGBoost's classifier. Its rows are numbers and, as codes, categories; NaN is missing."""

    importance_kind = "share of the gain"

    def fit(self, rows: NDArray[np.float64], target: NDArray[Any]) -> Self:
        """Fit on rows in memory."""
        self.__dict__.pop("labels_", None)
        labels, codes = np.unique(target, return_inverse=True)
        super().fit(rows, codes)
        self.labels_ = labels
        return self

    def native_parameters(self, classes: int) -> dict[str, Any]:
        """What `xgboost.train` is told for so many classes, as `fit` tells it."""
        parameters = dict(self.get_xgb_params())
        if classes > 2:
            parameters |= {"objective": "multi:softprob", "num_class": classes}
        return parameters

    def take(self, trees: bytes, classes: NDArray[Any]) -> Self:
        """Become the model that was fitted elsewhere on rows of these classes, as `raw` gave it."""
        self.n_classes_, self.labels_ = len(classes), classes
        self.objective = self.native_parameters(len(classes))["objective"]
        self._Booster = Booster(model_file=bytearray(trees))
        return self

    def raw(self) -> bytearray:
        """The trees in XGBoost's UBJSON, which later versions of it read too."""
        return self.get_booster().save_raw("ubj")

    @property
    def classes_(self) -> NDArray[Any]:
        """The classes in their own type, in order."""
        known = self.__dict__.get("labels_")
        return np.arange(self.n_classes_) if known is None else known

    def predict(self, rows: NDArray[np.float64]) -> NDArray[Any]:
        """The likeliest class of each row."""
        return np.asarray(self.labels_[self.predict_proba(rows).argmax(axis=1)])

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if "_Booster" in state:
            del state["_Booster"]
            state["trees"] = bytes(self.raw())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        trees = state.pop("trees", None)
        self.__dict__.update(state)
        if trees is not None:
            self._Booster = Booster(model_file=bytearray(trees))
