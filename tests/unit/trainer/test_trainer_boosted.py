"""XGBoost's model: classes of any type, categories by name, one file that says it all."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.main import app
from services.trainer.evaluation.importance import importances
from services.trainer.evaluation.measures import scores_by_class
from services.trainer.modelling.categories import (
    CATEGORIES_KEPT,
    MISSING,
    added,
    count_categories,
    most_frequent,
)
from services.trainer.modelling.fit import UnfitModel, fit
from services.trainer.modelling.models import text_obstacle, unknown_parameters
from services.trainer.modelling.stored_model import read_model, requirements
from shared.contracts.manifest import FeatureField
from shared.contracts.spec_file import find_spec
from shared.contracts.table_spec import ColumnType
from shared.contracts.training_spec import ModelChoice, Text
from tests.conftest import REPOSITORY

FEATURES = tuple(
    FeatureField(name=f"t.{name}", table="t", column=name, kind=kind)
    for name, kind in (("size", ColumnType.NUMBER), ("town", ColumnType.STRING))
)
CHOICE = ModelChoice(name="m", kind="xgboost", parameters={"n_estimators": 15}, seed=3)
TOWNS = ["Aachen", "Bonn", "Ulm", "Köln", None]


def data(size=400):
    random = np.random.default_rng(2)
    towns = random.integers(0, len(TOWNS), size)
    number = random.normal(size=size)
    number[::9] = np.nan
    inputs = pd.DataFrame(
        {"t.size": number, "t.town": pd.Series([TOWNS[town] for town in towns], dtype="str")}
    )
    return inputs, towns, np.nan_to_num(number) > 0


@pytest.mark.parametrize("names", [["no", "yes"], [False, True], [-3, 12], ["a", "b", "é"]])
def test_classes_of_any_type_are_answered_in_their_own_type(names, tmp_path):
    inputs, towns, is_large = data()
    places = (towns % 2) ^ is_large if len(names) == 2 else (towns + is_large) % 3
    target = np.array(names, dtype=object if isinstance(names[0], str) else None)[places]
    model = fit(CHOICE, FEATURES, inputs, target)
    assert model.classes_.tolist() == names
    assert (model.predict(inputs) == target).mean() > 0.9
    skops.io.dump(model, tmp_path / "model.skops")
    again = read_model(tmp_path / "model.skops")
    assert (scores_by_class(again, inputs) == scores_by_class(model, inputs)).all()
    assert again.predict(inputs).tolist() == model.predict(inputs).tolist()
    assert again.classes_.dtype == model.classes_.dtype


def test_the_same_seed_gives_the_same_bytes_and_another_one_another_model():
    inputs, towns, _ = data()
    drawing = CHOICE.model_copy(update={"parameters": {"n_estimators": 9, "subsample": 0.5}})
    one, same = (fit(drawing, FEATURES, inputs, towns)["estimate"].raw() for _ in range(2))
    other = fit(drawing.model_copy(update={"seed": 4}), FEATURES, inputs, towns)["estimate"].raw()
    assert one == same != other


def test_what_it_goes_by_is_named_and_its_file_says_what_it_needs():
    inputs, towns, _ = data()
    model = fit(CHOICE, FEATURES, inputs, towns % 2 == 0)
    weights = importances(model, inputs, towns % 2 == 0, seed=1)
    assert weights.kind == "share of the gain"
    assert weights.values[0][0] == "t.town"
    assert any(line.startswith("xgboost-cpu==") for line in requirements(model))


def test_a_value_that_xgboost_refuses_is_no_reason_to_try_again():
    inputs, towns, _ = data()
    wrong = CHOICE.model_copy(update={"parameters": {"max_depth": -2}})
    with pytest.raises(UnfitModel, match="max_depth"):
        fit(wrong, FEATURES, inputs, towns)


def test_it_reads_no_text_and_takes_nothing_that_headrace_sets():
    assert "choose one of linear_svm, " in str(
        text_obstacle(CHOICE, Text(features={"t": ("town",)}))
    )
    taken = {"objective": "x", "missing": 0, "early_stopping_rounds": 3, "max_depth": 3, "trees": 1}
    choice = CHOICE.model_copy(update={"parameters": taken})
    assert unknown_parameters(choice) == ["early_stopping_rounds", "missing", "objective", "trees"]


def test_headrace_check_explains_an_unknown_parameter(tmp_path):
    declared = json.loads(find_spec(REPOSITORY / "datasets", "streamflow").model_dump_json())
    declared["training"]["model"] |= {"kind": "xgboost", "parameters": {"max_depht": 4}}
    path = tmp_path / "streamflow.yaml"
    path.write_text(json.dumps(declared))
    refused = CliRunner().invoke(app, ["check", str(path)])
    assert refused.exit_code == 1
    assert "max_depht" in refused.stderr
    assert "is no parameter of xgboost" in refused.stderr
    declared["training"]["model"]["parameters"] = {"max_depth": 4}
    path.write_text(json.dumps(declared))
    assert CliRunner().invoke(app, ["check", str(path)]).exit_code == 0


towns = st.lists(st.sampled_from(["a", "b", "c", MISSING, None]), min_size=1, max_size=40)


@given(towns, st.integers(0, 40))
def test_counts_of_some_rows_each_add_up_to_those_of_all(values, cut):
    inputs = pd.DataFrame({"x": pd.Series(values, dtype="str")})
    parts = [count_categories(part, ["x"]) for part in (inputs.iloc[:cut], inputs.iloc[cut:])]
    assert added(parts) == added([count_categories(inputs, ["x"])])
    copies = np.arange(len(values)) % 3
    often = inputs.iloc[np.repeat(np.arange(len(values)), copies)]
    weighed = count_categories(inputs, ["x"], copies)["x"]
    assert {k: n for k, n in weighed.items() if n} == count_categories(often, ["x"])["x"]


def test_of_more_categories_than_are_kept_the_most_frequent_are_known_and_the_rest_is_one():
    random = np.random.default_rng(1)
    names = [f"c{number:03d}" for number in range(CATEGORIES_KEPT + 50)]
    values = names + names[: CATEGORIES_KEPT - 1] + ["c140"]
    inputs = pd.DataFrame(
        {"t.size": random.normal(size=len(values)), "t.town": pd.Series(values, dtype="str")}
    )
    known = most_frequent(count_categories(inputs, ["t.town"]))["t.town"]
    assert known == sorted([*names[: CATEGORIES_KEPT - 1], "c140"])
    model = fit(CHOICE, FEATURES, inputs, np.arange(len(values)) % 2 == 0)
    coded = model[:-1].transform(inputs)[:, 1]
    assert set(coded[[names.index("c120"), names.index("c149")]]) == {CATEGORIES_KEPT}
    assert sorted(set(coded)) == list(range(CATEGORIES_KEPT + 1))


def test_neither_the_trainer_nor_a_check_pays_for_what_is_not_used():
    for code in (
        "import services.trainer.app",
        "import services.trainer.modelling.models",
        "import services.trainer.cluster.versions",
    ):
        # Of Dask itself a part comes in with skops, which imports all that scikit-learn could.
        heavy = "[m for m in ('distributed', 'xgboost') if m in sys.modules]"
        found = subprocess.run(
            [sys.executable, "-c", f"{code}\nimport sys\nprint({heavy})"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.strip() == "[]"
