"""What a training's run shows of its model: scores, terms and pictures, as files."""

import csv
import io
import json
from dataclasses import asdict

from services.trainer.evaluation.curves import curves, matrix
from services.trainer.evaluation.importance import Importances
from services.trainer.evaluation.measures import Evaluation, class_scores
from services.trainer.evaluation.plots import model_plots
from services.trainer.training_dataset.classes import class_text


def model_artifacts(evaluation: Evaluation, weights: Importances) -> dict[str, bytes]:
    """The files by path: scores of each class, what the model goes by, and the pictures."""
    importances = {"kind": weights.kind, "features": dict(weights.values)}
    return {
        **class_report(evaluation),
        "feature_importances.json": _json(importances),
        "curves.json": _json(curves(evaluation)),
        "confusion_matrix.json": _json(matrix(evaluation)),
        **({"top_terms.json": _json(dict(weights.terms))} if weights.terms else {}),
        **{f"plots/{name}": data for name, data in model_plots(evaluation, weights).items()},
    }


def class_report(evaluation: Evaluation) -> dict[str, bytes]:
    """Precision, recall, F1 and test rows of each class: as JSON, and as CSV for people."""
    rows = [{**asdict(score), "name": class_text(score.name)} for score in class_scores(evaluation)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "precision", "recall", "f1", "support"])
    for row in rows:
        scores = [f"{row[name]:.4f}" for name in ("precision", "recall", "f1")]
        writer.writerow([row["name"], *scores, row["support"]])
    by_class = {row.pop("name"): row for row in rows}
    return {"class_report.json": _json(by_class), "class_report.csv": text.getvalue().encode()}


def _json(content: object) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode()
