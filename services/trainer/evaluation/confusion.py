"""The confusion matrix as a picture that can be read with two classes and with thirty."""

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import confusion_matrix

from services.trainer.evaluation.measures import Evaluation
from services.trainer.training_dataset.classes import class_text

_COUNTED = 6
"""Up to so many classes the cells say the rows, too, and the classes keep their own order."""
_NUMBERED = 45
"""Above so many, no cell has a number: it would be too small."""
_SMALLEST_SHARE = 0.01
_GAMMA = 0.5
"""Of the colours: a confusion of a few per cent is to be seen."""


def confusion_plot(evaluation: Evaluation) -> Figure:
    """Of the rows of each class, the share given to each. Of many classes, those that are taken
    for one another stand side by side, so that confusion shows as blocks along the diagonal.
    """
    classes = evaluation.all_classes
    cells = confusion_matrix(evaluation.truth, evaluation.predicted, labels=classes)
    rows = cells.sum(axis=1)
    shares = cells / np.maximum(rows, 1)[:, np.newaxis]
    if len(classes) > _COUNTED:
        order = by_confusion(shares)
        classes, cells, rows = classes[order], cells[np.ix_(order, order)], rows[order]
        shares = shares[np.ix_(order, order)]
    names = [class_text(name) for name in classes.tolist()]
    return _drawn(
        shares, cells, names, [f"{name} ({n:,})" for name, n in zip(names, rows, strict=True)]
    )


def by_confusion(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """An order of the classes in which those that are taken for one another are neighbours."""
    likeness = (shares + shares.T) / 2
    distance = 1 - np.clip(likeness, 0, 1)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), method="average", optimal_ordering=True)
    return np.asarray(leaves_list(tree), dtype=np.int64)


def _drawn(
    shares: NDArray[np.float64], cells: NDArray[np.int64], names: list[str], counted: list[str]
) -> Figure:
    size = len(names)
    cell = 0.8 if size <= _COUNTED else 0.36 if size <= _NUMBERED else 0.2
    left, bottom = (0.6 + 0.08 * max(map(len, labels)) for labels in (counted, names))
    width, height = left + cell * size + 0.9, bottom + cell * size + 0.5
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes(
        (left / width, bottom / height, cell * size / width, cell * size / height)
    )
    scale = figure.add_axes((1 - 0.7 / width, bottom / height, 0.15 / width, cell * size / height))
    figure.colorbar(axes.imshow(shares, cmap="Blues", norm=PowerNorm(_GAMMA, 0, 1)), cax=scale)
    axes.set_xticks(range(size), names, rotation=90 if size > _COUNTED else 0)
    axes.set_yticks(range(size), counted)
    axes.tick_params(labelsize=8 if size <= _NUMBERED else 6)
    if size <= _NUMBERED:
        for (row, column), share in np.ndenumerate(shares):
            if size > _COUNTED and share < _SMALLEST_SHARE:
                continue
            axes.text(
                column,
                row,
                f"{share:.0%}\n{cells[row, column]:,}"
                if size <= _COUNTED
                else f"{100 * share:.0f}",
                ha="center",
                va="center",
                fontsize=9 if size <= _COUNTED else 7,
                color="white" if share**_GAMMA > 0.5 else "black",
            )
    unit = "" if size <= _COUNTED else ", in %" if size <= _NUMBERED else ""
    axes.set(
        title=f"Confusion matrix: share of each class{unit}",
        xlabel="predicted",
        ylabel="true (rows)",
    )
    return figure
