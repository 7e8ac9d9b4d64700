"""The curves and the confusion matrix of a model as numbers, for who draws them elsewhere.

The pictures beside them in the run say the same; these are small, and two versions can be drawn
over one another.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    auc,
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    roc_curve,
)

from services.trainer.evaluation.measures import Evaluation
from services.trainer.training_dataset.classes import class_text

POINTS = 80
"""Of a curve: as many as a screen shows."""
CURVES = 8
"""Of many classes, those with the smallest areas."""
MATRIX_CLASSES = 60
"""Of more classes, those with the most test rows; the others count as one."""
OTHERS = "others"


def curves(evaluation: Evaluation) -> dict[str, Any]:
    """ROC and precision-recall, of each class against the rest: area and points (x, y).

    Of two classes it is the greater one's. Of many the worst `CURVES` are there, and `mean` is of
    all that the test side has.
    """
    roc, precision_recall = [], []
    for name, truth, scores in one_against_the_rest(evaluation):
        false_rate, true_rate, _ = roc_curve(truth, scores)
        roc.append((float(auc(false_rate, true_rate)), name, thinned(false_rate, true_rate)))
        precision, recall, _ = precision_recall_curve(truth, scores)
        area = float(average_precision_score(truth, scores))
        precision_recall.append((area, name, thinned(recall[::-1], precision[::-1])))
    return {"roc": _worst(roc), "precision_recall": _worst(precision_recall)}


def matrix(evaluation: Evaluation) -> dict[str, Any]:
    """The confusion matrix: `rows[i][j]` counts the test rows of class i that were taken for j."""
    classes = evaluation.all_classes
    cells = confusion_matrix(evaluation.truth, evaluation.predicted, labels=classes)
    names = [class_text(name) for name in classes.tolist()]
    if len(names) > MATRIX_CLASSES:
        kept = np.sort(np.argsort(-cells.sum(axis=1), kind="stable")[: MATRIX_CLASSES - 1])
        rest = np.setdiff1d(np.arange(len(names)), kept)
        cells = _merged(_merged(cells, kept, rest).T, kept, rest).T
        names = [*(names[place] for place in kept), OTHERS]
    return {"classes": names, "rows": cells.tolist()}


def one_against_the_rest(
    evaluation: Evaluation,
) -> list[tuple[str, NDArray[np.bool_], NDArray[np.float64]]]:
    """Of each class: its name, where it is true, its score. A class that no test row has, or that
    all have, has no curve; of two classes there is one curve.
    """
    places = [1] if len(evaluation.classes) == 2 else range(len(evaluation.classes))
    found = [
        (
            str(evaluation.classes[place]),
            evaluation.truth == evaluation.classes[place],
            evaluation.scores[:, place],
        )
        for place in places
    ]
    return [curve for curve in found if curve[1].any() and not curve[1].all()]


def thinned(across: NDArray[np.float64], up: NDArray[np.float64]) -> list[list[float]]:
    """At most `POINTS` of the points, the first and the last among them, evenly along the curve."""
    if len(across) > POINTS:
        steps = np.hypot(np.diff(across), np.diff(up))
        along = np.concatenate([[0.0], np.cumsum(steps)])
        wanted = np.linspace(0.0, along[-1], POINTS)
        kept = np.unique(np.searchsorted(along, wanted).clip(0, len(across) - 1))
        kept = np.unique(np.concatenate([[0], kept, [len(across) - 1]]))
        if len(kept) > POINTS:
            kept = np.concatenate([kept[: POINTS - 1], kept[-1:]])
        across, up = across[kept], up[kept]
    return [[round(float(x), 4), round(float(y), 4)] for x, y in zip(across, up, strict=True)]


def _worst(drawn: list[tuple[float, str, list[list[float]]]]) -> dict[str, Any]:
    found = sorted(drawn, key=lambda curve: (curve[0], curve[1]))
    mean = sum(curve[0] for curve in found) / len(found) if found else None
    shown = [
        {"class": name, "area": round(area, 6), "points": points}
        for area, name, points in found[:CURVES]
    ]
    return {"classes": len(found), "mean": mean, "curves": shown}


def _merged(
    cells: NDArray[np.int64], kept: NDArray[np.int64], rest: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The kept rows, and the others as one."""
    return np.vstack([cells[kept], cells[rest].sum(axis=0, keepdims=True)])
