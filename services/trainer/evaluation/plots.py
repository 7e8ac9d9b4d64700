"""The pictures of a dataset and a model, as PNG. Drawn without pyplot, whose state is global."""

import io
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from services.trainer.evaluation.confusion import confusion_plot
from services.trainer.evaluation.curves import one_against_the_rest
from services.trainer.evaluation.importance import Importances
from services.trainer.evaluation.measures import Evaluation

_DPI = 100
_BARS = 20
_UPRIGHT_BARS = 8
_CURVES_NAMED = 6
"""With more classes, the worst so many are named and the others are thin lines behind them."""


def class_distribution(counts: Mapping[str, int], title: str) -> bytes:
    """Rows by class, with their shares; many classes lie below one another, the largest on top."""
    total = sum(counts.values()) or 1
    if len(counts) <= _UPRIGHT_BARS:
        figure, axes = _figure(5.0, 3.5)
        bars = axes.bar(range(len(counts)), list(counts.values()), color="tab:blue")
        axes.set_xticks(range(len(counts)), list(counts))
        axes.bar_label(bars, [f"{rows:,}\n{rows / total:.1%}" for rows in counts.values()])
        axes.margins(y=0.2)
        axes.set(title=title, xlabel="class", ylabel="rows")
        return _png(figure)
    ordered = dict(sorted(counts.items(), key=lambda item: -item[1]))
    labels = 0.5 + 0.08 * max(map(len, ordered))
    figure, axes = _figure(6.0 + labels, 1.2 + 0.22 * len(ordered), label_inches=labels)
    bars = axes.barh(range(len(ordered)), list(ordered.values()), color="tab:blue")
    axes.set_yticks(range(len(ordered)), list(ordered), fontsize=8)
    marks = [f"{rows:,}  {rows / total:.1%}" for rows in ordered.values()]
    axes.bar_label(bars, marks, padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.2, y=0.01)
    axes.set(title=f"{title}: {total:,} rows", xlabel="rows", ylabel="class")
    return _png(figure)


def model_plots(evaluation: Evaluation, importances: Importances) -> dict[str, bytes]:
    """The pictures of a model on its test side, by file name."""
    return {
        "roc_curve.png": _roc(evaluation),
        "precision_recall_curve.png": _precision_recall(evaluation),
        "confusion_matrix.png": _png(confusion_plot(evaluation)),
        "feature_importances.png": _importances(importances),
    }


_Drawn = tuple[float, str, NDArray[Any], NDArray[Any]]


def _roc(evaluation: Evaluation) -> bytes:
    drawn: list[_Drawn] = []
    for name, truth, score in one_against_the_rest(evaluation):
        false_rate, true_rate, _ = roc_curve(truth, score)
        drawn.append((float(auc(false_rate, true_rate)), name, false_rate, true_rate))
    figure, axes = _figure(5.0, 4.5)
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    _draw(axes, drawn, "AUC")
    axes.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
    return _png(figure)


def _precision_recall(evaluation: Evaluation) -> bytes:
    drawn: list[_Drawn] = []
    for name, truth, score in one_against_the_rest(evaluation):
        precision, recall, _ = precision_recall_curve(truth, score)
        drawn.append((average_precision_score(truth, score), name, recall, precision))
    figure, axes = _figure(5.0, 4.5)
    _draw(axes, drawn, "average precision")
    axes.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.05))
    return _png(figure)


def _draw(axes: Axes, curves: list[_Drawn], measure: str) -> None:
    """The curves with their measure. Of many, only the worst are told apart."""
    curves = sorted(curves, key=lambda curve: curve[0])
    is_many = len(curves) > _CURVES_NAMED
    named = curves[:_CURVES_NAMED] if is_many else sorted(curves, key=lambda curve: curve[1])
    for _, _, across, up in curves[len(named) :]:
        axes.plot(across, up, color="lightgrey", linewidth=0.7)
    for value, name, across, up in named:
        axes.plot(across, up, label=f"{name}: {measure} {value:.3f}")
    if curves:
        mean = sum(curve[0] for curve in curves) / len(curves)
        title = f"worst of {len(curves)} classes, mean {mean:.3f}" if is_many else None
        axes.legend(title=title, fontsize=8, title_fontsize=8)


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
    return figure, figure.add_axes((left, bottom, 0.96 - left, 1 - bottom - 0.4 / height))


def _png(figure: Figure) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=_DPI, metadata={"Software": None})
    return sink.getvalue()
