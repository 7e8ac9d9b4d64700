"""What a model version's run shows of it: curves, confusion, scores by class; drawn from its files.

Of a run from before these files were there, the pictures that it has stand in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.console.charts import HEIGHT, WIDTH, Chart, Line
from services.console.mlflow import Runs
from services.console.wording import score
from shared.errors import ServerUnavailable

CURVES, MATRIX, REPORT = "curves.json", "confusion_matrix.json", "class_report.json"
IMPORTANCES = "feature_importances.json"
PICTURES = ("roc_curve.png", "precision_recall_curve.png", "confusion_matrix.png")
KINDS = {
    "roc": ("ROC", "false positive rate", "true positive rate"),
    "precision_recall": ("Precision and recall", "recall", "precision"),
}
FEATURES_SHOWN = 15
NUMBERED_CLASSES = 12
"""Of a matrix with more classes the cells have no room for numbers."""


@dataclass(frozen=True)
class Cell:
    """Of a confusion matrix: test rows of one class that were taken for another or itself."""

    rows: int
    share: float
    """Of the class's test rows."""
    tone: int
    """From 0 to 5, by the share."""
    title: str


@dataclass(frozen=True)
class Evidence:
    """Of a version. `fault` says why there is none; `pictures` are those to show instead."""

    version: str
    curves: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    classes: Sequence[str] = ()
    matrix: Sequence[Sequence[Cell]] = ()
    report: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    importances: Sequence[tuple[str, float]] = ()
    importance_kind: str = ""
    pictures: Sequence[str] = ()
    fault: str | None = None

    @property
    def is_numbered(self) -> bool:
        """Whether the cells of the matrix have room for numbers."""
        return len(self.classes) <= NUMBERED_CLASSES


def gather(runs: Runs, version: str, run_id: str) -> Evidence:
    """What the version's run shows. Raises nothing: MLflow may be away."""
    try:
        curves = runs.json(run_id, CURVES) or {}
        matrix = runs.json(run_id, MATRIX) or {}
        report = runs.json(run_id, REPORT) or {}
        importances = runs.json(run_id, IMPORTANCES) or {}
        pictures: list[str] = []
        if not curves:
            pictures = [name for name in PICTURES if runs.file(run_id, f"plots/{name}")]
    except ServerUnavailable as error:
        return Evidence(version, fault=str(error))
    classes = matrix.get("classes", [])
    features = importances.get("features", {})
    largest = sorted(features.items(), key=lambda item: -abs(item[1]))[:FEATURES_SHOWN]
    return Evidence(
        version,
        curves,
        classes,
        _cells(classes, matrix.get("rows", [])),
        report,
        largest,
        importances.get("kind", ""),
        pictures,
    )


def overlaid(kind: str, shown: Sequence[Evidence]) -> Chart | None:
    """The curves of a kind of all these versions over one another; None where none has any.

    Each version has a colour. Of many classes every version's worst is drawn.
    """
    title, across, up = KINDS[kind]
    lines = []
    for number, evidence in enumerate(shown):
        found = evidence.curves.get(kind, {})
        for curve in found.get("curves", [])[:1]:
            of = (
                f", {curve['class']}, the worst of {found['classes']}"
                if found["classes"] > 1
                else ""
            )
            name = f"version {evidence.version}{of}: area {score(curve['area'])}"
            lines.append(Line(name, f"c{number + 1}", _path(curve["points"]), ()))
    if not lines:
        return None
    return Chart(
        f"{title}: {up} by {across}. " + "; ".join(line.name for line in lines),
        low="0",
        high="1",
        first=f"0 {across}",
        last="1",
        lines=lines,
        legend=[(line.name, line.colour) for line in lines],
    )


def _path(points: Sequence[Sequence[float]]) -> str:
    parts = [f"{WIDTH * x:.1f} {HEIGHT * (1 - y):.2f}" for x, y in points]
    return f"M{'L'.join(parts)}" if parts else ""


def _cells(classes: Sequence[str], rows: Sequence[Sequence[int]]) -> list[list[Cell]]:
    found = []
    for name, row in zip(classes, rows, strict=True):
        total = sum(row)
        found.append(
            [
                Cell(
                    count,
                    count / total if total else 0.0,
                    _tone(count / total if total else 0.0),
                    f"{name} taken for {other}: {count} of {total}",
                )
                for other, count in zip(classes, row, strict=True)
            ]
        )
    return found


def _tone(share: float) -> int:
    """So that a few per cent are seen."""
    return 0 if share == 0 else min(1 + int(share**0.5 * 5), 5)
