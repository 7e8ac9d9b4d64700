import numpy as np
import pandas as pd
import pytest

from services.trainer.evaluation.importance import importances
from services.trainer.evaluation.measures import evaluate, scores_by_class
from services.trainer.evaluation.plots import class_distribution, model_plots
from services.trainer.modelling.fit import UnfitModel, fit
from services.trainer.modelling.models import ESTIMATORS, unknown_parameters
from services.trainer.modelling.stored_model import TRUSTED_TYPES, UnreadableModel, read_model
from shared.contracts.manifest import FeatureField
from shared.contracts.table_spec import ColumnType
from shared.contracts.training_spec import Metric, ModelChoice
from shared.errors import InvalidSpec

FEATURES = tuple(
    FeatureField(name=f"t.{name}", table="t", column=name, kind=kind)
    for name, kind in (
        ("size", ColumnType.NUMBER),
        ("empty", ColumnType.NUMBER),
        ("town", ColumnType.STRING),
        ("pays", ColumnType.BOOLEAN),
        ("nothing", ColumnType.BOOLEAN),
    )
)
PARAMETERS = {
    "logistic_regression": {"C": 0.5, "max_iter": 500},
    "random_forest": {"n_estimators": 10, "n_jobs": 2},
    "gradient_boosting": {"max_iter": 10},
    "linear_svm": {"C": 0.5},
    "xgboost": {"n_estimators": 20, "max_depth": 3},
}


def data(size: int = 300, classes: int = 2) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(5)
    number = random.normal(size=size)
    number[::7] = np.nan
    target = (np.nan_to_num(number) + random.normal(scale=0.3, size=size) > 0).astype(int)
    if classes > 2:
        target += (np.nan_to_num(number) > 1).astype(int)
    inputs = pd.DataFrame(
        {
            "t.size": number,
            "t.empty": np.full(size, np.nan),
            "t.town": pd.Series(["Ulm", "Bonn", None] * (size // 3), dtype="str"),
            "t.pays": pd.Series(["true", None, "false"] * (size // 3), dtype="str"),
            "t.nothing": pd.Series([None] * size, dtype="str"),
        }
    )
    return inputs, target


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("classes", [2, 3])
def test_every_estimator_fits_twice_to_the_same_metrics_whatever_is_missing(kind, classes):
    inputs, target = data(classes=classes)
    choice = ModelChoice(name="m", kind=kind, parameters=PARAMETERS[kind], seed=3)
    found = [
        evaluate(fit(choice, FEATURES, inputs, target), inputs, target).metrics for _ in range(2)
    ]
    assert found[0] == found[1]
    without = {Metric.LOG_LOSS} if kind == "linear_svm" else set()
    assert set(found[0]) == {metric.value for metric in set(Metric) - without}
    assert found[0]["roc_auc"] > 0.85


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_every_model_is_explained_drawn_and_read_back_from_its_file(kind, tmp_path):
    import skops.io

    inputs, target = data()
    is_true = target == 1
    choice = ModelChoice(name="m", kind=kind, parameters=PARAMETERS[kind])
    model = fit(choice, FEATURES, inputs, is_true)
    evaluation = evaluate(model, inputs, is_true)
    weights = importances(model, inputs, is_true, seed=1)
    assert weights == importances(model, inputs, is_true, seed=1)
    assert weights.values[0][0] == "t.size"
    for picture in model_plots(evaluation, weights).values():
        assert picture.startswith(b"\x89PNG")
    skops.io.dump(model, tmp_path / "model.skops")
    again = evaluate(read_model(tmp_path / "model.skops"), inputs, is_true)
    assert again.metrics == evaluation.metrics
    assert set(skops.io.get_untrusted_types(file=tmp_path / "model.skops")) <= set(TRUSTED_TYPES)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_category_that_was_never_seen_is_no_fault(kind):
    inputs, target = data()
    model = fit(
        ModelChoice(name="m", kind=kind, parameters=PARAMETERS[kind]), FEATURES, inputs, target
    )
    strange = inputs.head(2).assign(**{"t.town": pd.Series(["Atlantis", None], dtype="str")})
    assert scores_by_class(model, strange).shape == (2, 2)


def test_a_parameter_that_the_estimator_lacks_is_named():
    choice = ModelChoice(
        name="m",
        kind="logistic_regression",
        parameters={"C": 1.0, "trees": 3, "random_state": 1},
    )
    assert unknown_parameters(choice) == ["random_state", "trees"]
    inputs, target = data()
    with pytest.raises(InvalidSpec, match="no parameter random_state, trees"):
        fit(choice, FEATURES, inputs, target)


def test_a_value_that_the_estimator_refuses_is_no_reason_to_try_again():
    choice = ModelChoice(name="m", kind="logistic_regression", parameters={"C": -1.0})
    inputs, target = data()
    with pytest.raises(UnfitModel, match="'C'"):
        fit(choice, FEATURES, inputs, target)


def test_a_pickle_is_not_read_as_a_model(tmp_path):
    (tmp_path / "model.skops").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(UnreadableModel):
        read_model(tmp_path / "model.skops")


def test_the_class_distribution_is_a_picture_for_few_and_for_many_classes():
    for count in (2, 40):
        counts = {str(number): number + 1 for number in range(count)}
        assert class_distribution(counts, "rows").startswith(b"\x89PNG")
