"""The pictures of a dataset and a model, as PNG. Drawn without pyplot, whose state is global."""

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import (
    auc,
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    roc_curve,
)

from services.trainer.fit import Evaluation, Importances

_DPI = 100
_BARS = 20
_CELLS_WRITTEN = 12


def class_distribution(counts: Mapping[str, int], title: str) -> bytes:
    """Rows by class, with their shares."""
    figure, axes = _figure(5.0, 3.5)
    total = sum(counts.values()) or 1
    bars = axes.bar(range(len(counts)), list(counts.values()), color="tab:blue")
    axes.set_xticks(range(len(counts)), list(counts), rotation=90 if len(counts) > 8 else 0)
    if len(counts) <= _CELLS_WRITTEN:
        axes.bar_label(bars, [f"{rows:,}\n{rows / total:.1%}" for rows in counts.values()])
        axes.margins(y=0.2)
    axes.set(title=title, xlabel="class", ylabel="rows")
    return _png(figure)


def model_plots(evaluation: Evaluation, importances: Importances) -> dict[str, bytes]:
    """The pictures of a model on its test side, by file name."""
    return {
        "roc_curve.png": _roc(evaluation),
        "precision_recall_curve.png": _precision_recall(evaluation),
        "confusion_matrix.png": _confusion(evaluation),
        "feature_importances.png": _importances(importances),
    }


def _curves(evaluation: Evaluation) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Of each class against the rest: its name, where it is true, its probability."""
    indices = [1] if len(evaluation.classes) == 2 else range(len(evaluation.classes))
    return [
        (
            str(evaluation.classes[index]),
            evaluation.truth == evaluation.classes[index],
            evaluation.probabilities[:, index],
        )
        for index in indices
    ]


def _roc(evaluation: Evaluation) -> bytes:
    figure, axes = _figure(5.0, 4.5)
    for name, truth, probability in _curves(evaluation):
        false_rate, true_rate, _ = roc_curve(truth, probability)
        axes.plot(false_rate, true_rate, label=f"{name}: AUC {auc(false_rate, true_rate):.3f}")
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    axes.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
    _legend(axes)
    return _png(figure)


def _precision_recall(evaluation: Evaluation) -> bytes:
    figure, axes = _figure(5.0, 4.5)
    for name, truth, probability in _curves(evaluation):
        precision, recall, _ = precision_recall_curve(truth, probability)
        mean = average_precision_score(truth, probability)
        axes.plot(recall, precision, label=f"{name}: average precision {mean:.3f}")
    axes.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.05))
    _legend(axes)
    return _png(figure)


def _confusion(evaluation: Evaluation) -> bytes:
    cells = confusion_matrix(evaluation.truth, evaluation.predicted, labels=evaluation.classes)
    size = len(evaluation.classes)
    figure, axes = _figure(max(4.0, 0.4 * size), max(3.5, 0.35 * size))
    figure.colorbar(axes.imshow(cells, cmap="Blues"), ax=axes)
    names = [str(name) for name in evaluation.classes]
    axes.set_xticks(range(size), names, rotation=90 if size > 5 else 0)
    axes.set_yticks(range(size), names)
    if size <= _CELLS_WRITTEN:
        for (row, column), rows in np.ndenumerate(cells):
            is_dark = rows > cells.max() / 2
            axes.text(
                column,
                row,
                f"{rows:,}",
                ha="center",
                va="center",
                color="white" if is_dark else "black",
            )
    axes.set(title="Confusion matrix", xlabel="predicted", ylabel="true")
    return _png(figure)


def _importances(importances: Importances) -> bytes:
    shown = importances.values[:_BARS][::-1]
    labels = 0.3 + 0.08 * max((len(name) for name, _ in shown), default=0)
    figure, axes = _figure(4.5 + labels, 1.2 + 0.25 * len(shown), label_inches=labels)
    axes.barh([name for name, _ in shown], [value for _, value in shown], color="tab:blue")
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set(title="Feature importances", xlabel=importances.kind)
    return _png(figure)


def _figure(width: float, height: float, *, label_inches: float = 0.8) -> tuple[Figure, Axes]:
    # Fixed margins: a layout found by drawing draws everything twice.
    figure = Figure(figsize=(width, height), dpi=_DPI)
    left = label_inches / width
    bottom = 0.6 / height
    return figure, figure.add_axes((left, bottom, 0.96 - left, 0.92 - bottom))


def _legend(axes: Axes) -> None:
    if len(axes.lines) <= _CELLS_WRITTEN:
        axes.legend()


def _png(figure: Figure) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="png", metadata={"Software": None})
    return sink.getvalue()
