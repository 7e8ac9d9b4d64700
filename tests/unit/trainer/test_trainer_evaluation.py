"""Metrics, report and pictures, with classes that are missing somewhere."""

import csv
import io
import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import metrics as theirs
from sklearn.base import BaseEstimator, ClassifierMixin

from services.trainer.evaluation.confusion import by_confusion
from services.trainer.evaluation.curves import (
    CURVES,
    MATRIX_CLASSES,
    POINTS,
    curves,
    matrix,
    one_against_the_rest,
)
from services.trainer.evaluation.importance import Importances
from services.trainer.evaluation.measures import class_scores, evaluate
from services.trainer.evaluation.plots import class_distribution
from services.trainer.evaluation.report import class_report, model_artifacts

WEIGHTS = Importances("coefficient", (("words__livre", 2.0), ("words__jeu", -1.0)))


class Oracle(ClassifierMixin, BaseEstimator):
    """Answers with the probabilities that stand in its input."""

    def __init__(self, classes: list) -> None:
        self.classes_ = np.array(classes, dtype=object if isinstance(classes[0], str) else None)

    def predict_proba(self, inputs: pd.DataFrame) -> np.ndarray:
        return inputs.to_numpy()


def measured(classes, truth, seed=1, sureness=2.0):
    """An evaluation of random answers that lean to the truth."""
    random = np.random.default_rng(seed)
    truth = np.array(truth, dtype=object if isinstance(classes[0], str) else None)
    leaning = random.normal(size=(len(truth), len(classes)))
    leaning += sureness * (truth[:, None] == np.array(classes, dtype=truth.dtype)[None, :])
    odds = np.exp(leaning)
    inputs = pd.DataFrame(odds / odds.sum(axis=1, keepdims=True))
    return evaluate(Oracle(classes), inputs, truth)


def test_the_metrics_of_many_classes_are_those_of_scikit_learn():
    truth = np.random.default_rng(0).choice(["a", "b", "c"], 200, p=[0.7, 0.2, 0.1])
    found = measured(["a", "b", "c"], truth)
    answers = found.predicted.tolist()
    truth = truth.tolist()
    weighted = {"average": "weighted", "zero_division": 0}
    assert found.metrics == pytest.approx(
        {
            "accuracy": theirs.accuracy_score(truth, answers),
            "f1": theirs.f1_score(truth, answers, **weighted),
            "weighted_f1": theirs.f1_score(truth, answers, **weighted),
            "macro_f1": theirs.f1_score(truth, answers, average="macro"),
            "precision": theirs.precision_score(truth, answers, **weighted),
            "recall": theirs.recall_score(truth, answers, **weighted),
            "roc_auc": theirs.roc_auc_score(
                truth, found.scores, multi_class="ovr", average="weighted"
            ),
            "log_loss": theirs.log_loss(truth, found.scores),
        },
        rel=1e-12,
    )


def test_of_two_classes_f1_is_that_of_the_greater_and_weighted_f1_that_of_both():
    truth = np.random.default_rng(0).random(300) < 0.2
    found = measured([False, True], truth)
    assert found.metrics["f1"] == theirs.f1_score(truth, found.predicted)
    assert found.metrics["roc_auc"] == theirs.roc_auc_score(truth, found.scores[:, 1])
    weighted = theirs.f1_score(truth, found.predicted, average="weighted")
    assert found.metrics["weighted_f1"] == weighted != found.metrics["f1"]


def test_a_class_without_test_rows_spoils_no_metric():
    truth = ["a"] * 30 + ["b"] * 30
    with_it, without = measured(["a", "b", "z"], truth), measured(["a", "b"], truth)
    assert all(np.isfinite(value) for value in with_it.metrics.values())
    assert with_it.metrics["roc_auc"] > 0.8 < without.metrics["roc_auc"]
    assert "z" in with_it.predicted
    by_hand = [theirs.f1_score(np.array(truth) == c, with_it.predicted == c) for c in "ab"]
    assert with_it.metrics["macro_f1"] == pytest.approx(sum(by_hand) / 3)
    assert with_it.metrics["weighted_f1"] == pytest.approx(sum(by_hand) / 2)


def test_a_class_that_the_model_does_not_know_counts_as_never_answered():
    truth = ["a"] * 40 + ["b"] * 40 + ["new"] * 20
    found = measured(["a", "b"], truth)
    scores = {score.name: score for score in class_scores(found)}
    assert (scores["new"].recall, scores["new"].support) == (0.0, 20)
    assert found.metrics["accuracy"] <= 0.8
    assert found.metrics["log_loss"] > 0.2 * 36
    areas = [
        theirs.roc_auc_score(np.array(truth) == name, found.scores[:, place])
        for place, name in enumerate("ab")
    ]
    assert found.metrics["roc_auc"] == pytest.approx(0.4 * areas[0] + 0.4 * areas[1] + 0.2 * 0.5)
    assert set(model_artifacts(found, WEIGHTS)) >= {"plots/confusion_matrix.png"}


def test_rows_of_one_class_can_not_be_measured():
    with pytest.raises(ValueError, match="one class only"):
        measured(["a", "b"], ["a"] * 5)


def test_the_report_says_each_class_with_its_scores_as_json_and_as_csv():
    truth = [10] * 50 + [40] * 30 + [2583] * 20
    found = measured([10, 40, 2583], truth)
    files = class_report(found)
    scores = json.loads(files["class_report.json"])
    expected = theirs.classification_report(truth, found.predicted, output_dict=True)
    for name in ("10", "40", "2583"):
        assert scores[name]["f1"] == pytest.approx(expected[name]["f1-score"])
        assert scores[name]["precision"] == pytest.approx(expected[name]["precision"])
        assert scores[name]["recall"] == pytest.approx(expected[name]["recall"])
        assert scores[name]["support"] == expected[name]["support"]
    lines = list(csv.DictReader(io.StringIO(files["class_report.csv"].decode())))
    assert [line["class"] for line in lines] == ["10", "40", "2583"]
    assert float(lines[1]["recall"]) == pytest.approx(scores["40"]["recall"], abs=1e-4)


def test_classes_taken_for_one_another_stand_side_by_side():
    shares = np.eye(6) * 0.7 + 0.01
    for one, other in ((0, 5), (1, 3), (2, 4)):
        shares[one, other] = shares[other, one] = 0.25
    order = by_confusion(shares).tolist()
    assert sorted(order) == list(range(6))
    neighbours = {frozenset(pair) for pair in pairwise(order)}
    assert {frozenset(pair) for pair in ((0, 5), (1, 3), (2, 4))} <= neighbours


@pytest.mark.parametrize("size", [2, 3, 27, 60])
def test_every_picture_grows_with_the_number_of_classes(size):
    classes = [f"{number:04d}" for number in range(size)]
    found = measured(classes, classes * 8)
    pictures = {
        name: Image.open(io.BytesIO(data))
        for name, data in model_artifacts(found, WEIGHTS).items()
        if name.endswith(".png")
    }
    assert len(pictures) == 4
    width, height = pictures["plots/confusion_matrix.png"].size
    cell = 80 if size <= 6 else 36 if size <= 45 else 20
    assert width > cell * size < height
    counts = dict(zip(classes, range(1, size + 1), strict=True))
    distribution = Image.open(io.BytesIO(class_distribution(counts, "rows")))
    assert distribution.size[1] >= (20 * size if size > 8 else 300)


@pytest.mark.parametrize("size", [2, 3, 27])
def test_curves_as_numbers_have_the_areas_and_ends_of_the_real_ones(size):
    classes = [f"{number:04d}" for number in range(size)]
    found = measured(classes, classes * 40)
    said = curves(found)
    count = 1 if size == 2 else size
    assert (said["roc"]["classes"], len(said["roc"]["curves"])) == (count, min(count, CURVES))
    areas = []
    for name, truth, scores in one_against_the_rest(found):
        areas.append(theirs.roc_auc_score(truth, scores))
        for curve in said["roc"]["curves"]:
            if curve["class"] == name:
                assert curve["area"] == pytest.approx(areas[-1], abs=1e-5)
                assert (curve["points"][0], curve["points"][-1]) == ([0, 0], [1, 1])
                across, up = zip(*curve["points"], strict=True)
                assert theirs.auc(across, up) == pytest.approx(areas[-1], abs=0.02)
                assert list(across) == sorted(across)
                assert len(across) <= POINTS
    assert said["roc"]["mean"] == pytest.approx(np.mean(areas))
    shown = [curve["area"] for curve in said["roc"]["curves"]]
    assert shown == pytest.approx(sorted(areas)[:CURVES], abs=1e-5), "the worst ones"
    for curve in said["precision_recall"]["curves"]:
        across = [point[0] for point in curve["points"]]
        assert across == sorted(across)


def test_the_matrix_counts_every_test_row_and_merges_what_is_rare():
    classes = [f"{number:04d}" for number in range(MATRIX_CLASSES + 20)]
    truth = classes * 3 + classes[:10] * 5
    found = measured(classes, truth)
    said = matrix(found)
    assert len(said["classes"]) == len(said["rows"]) == MATRIX_CLASSES
    assert said["classes"][:10] == classes[:10], "those with the most rows are kept"
    assert said["classes"][-1] == "others"
    assert sum(map(sum, said["rows"])) == len(truth)
    assert sum(said["rows"][0]) == truth.count(classes[0])
    small = matrix(measured(["a", "b"], ["a"] * 30 + ["b"] * 20))
    assert [sum(row) for row in small["rows"]] == [30, 20]
