"""A row that stands ten times and a row of weight ten give the same model."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import vstack
from sklearn.base import clone

from services.trainer.evaluation.measures import scores_by_class
from services.trainer.modelling.fit import fit
from services.trainer.modelling.models import ESTIMATORS
from services.trainer.modelling.weights import WEIGHTED_KINDS, distinct_rows
from shared.contracts.manifest import FeatureField
from shared.contracts.table_spec import ColumnType
from shared.contracts.training_spec import ModelChoice, Text

SIZE = 600
FIELDS = {
    name: FeatureField(name=f"t.{name}", table="t", column=name, kind=kind)
    for name, kind in (
        ("body", ColumnType.STRING),
        ("size", ColumnType.NUMBER),
        ("town", ColumnType.STRING),
    )
}
TEXT = Text(features={"t": ("body",)}, character_ngrams=(3, 3))
# As near to the optimum as the solver gets, so that two ways to it can be compared.
PARAMETERS = {
    "logistic_regression": {"C": 1.0, "tol": 1e-7, "max_iter": 5_000},
    "linear_svm": {"C": 1.0, "tol": 1e-8, "max_iter": 50_000},
}


def data() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Rows of three classes that overlap, of which one is rare and stands often."""
    random = np.random.default_rng(8)
    target = random.choice(3, SIZE, p=[0.6, 0.3, 0.1])
    words = np.array([f"mot{number:02d}" for number in range(40)])
    shares = random.dirichlet(np.full(40, 0.5), 3) * 0.6 + 0.05
    bodies = [" ".join(random.choice(words, 12, p=shares[c] / shares[c].sum())) for c in target]
    inputs = pd.DataFrame(
        {
            "t.body": pd.Series(bodies, dtype="str"),
            "t.size": np.where(
                random.random(SIZE) < 0.1, np.nan, target + random.normal(size=SIZE)
            ),
            "t.town": pd.Series(random.choice(["Ulm", "Bonn"], SIZE), dtype="str"),
        }
    )
    copies = np.array([1, 2, 6])[target] + random.integers(0, 2, SIZE)
    return inputs, target, copies


def both_ways(kind: str) -> tuple:
    """The same estimator on the same matrix: weighted rows, and rows as often as they stand."""
    inputs, target, copies = data()
    choice = ModelChoice(name="m", kind=kind, parameters=PARAMETERS[kind], seed=4)
    weighted = fit(choice, list(FIELDS.values()), inputs, target, text=TEXT, copies=copies)
    prepared = weighted[:-1].transform(inputs)
    rows = np.repeat(np.arange(SIZE), copies)
    repeated = clone(weighted[-1]).fit(prepared[rows], target[rows])
    return weighted[-1], repeated, prepared, target


@pytest.mark.parametrize("kind", sorted(WEIGHTED_KINDS))
def test_the_coefficients_and_answers_are_the_same_either_way(kind):
    weighted, repeated, prepared, _ = both_ways(kind)
    assert np.abs(weighted.coef_ - repeated.coef_).max() < 2e-3 * np.abs(repeated.coef_).max()
    one, other = weighted.decision_function(prepared), repeated.decision_function(prepared)
    assert np.abs(one - other).max() < 5e-3
    assert (weighted.predict(prepared) == repeated.predict(prepared)).all()


@pytest.mark.parametrize("kind", sorted(WEIGHTED_KINDS))
def test_a_class_that_stands_more_often_is_answered_more_often(kind):
    inputs, target, _ = data()
    inputs, fields = inputs[["t.size"]], [FIELDS["size"]]  # little to go by: the classes overlap
    choice = ModelChoice(name="m", kind=kind, parameters=PARAMETERS[kind], seed=4)
    weighted = fit(choice, fields, inputs, target, copies=np.where(target == 2, 12, 1))
    plain = fit(choice, fields, inputs, target)
    rare, was_rare = ((model.predict(inputs) == 2).mean() for model in (weighted, plain))
    assert rare > was_rare + 0.1


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_numbers_and_categories_are_learned_from_the_rows_as_often_as_they_stand(kind):
    inputs, target, copies = data()
    inputs, fields = inputs[["t.size", "t.town"]], [FIELDS["size"], FIELDS["town"]]
    given = PARAMETERS.get(kind, {"max_iter": 5} if "boosting" in kind else {"n_estimators": 5})
    choice = ModelChoice(name="m", kind=kind, parameters=given, seed=4)
    once = fit(choice, fields, inputs, target, copies=copies)
    rows = np.repeat(np.arange(SIZE), copies)
    often = fit(choice, fields, inputs.iloc[rows], target[rows])
    one, other = (model[:-1].transform(inputs) for model in (once, often))
    assert np.allclose(one, other, rtol=1e-12, atol=0, equal_nan=True)
    tolerance = {"logistic_regression": 1e-5, "linear_svm": 1e-5}.get(kind, 0.0)
    difference = np.abs(scores_by_class(once, inputs) - scores_by_class(often, inputs))
    assert difference.max() <= tolerance


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 4)), unique_by=lambda pair: pair[0]))
def test_distinct_rows_repeated_are_the_rows_again(pairs):
    keys = [key for key, often in pairs for _ in range(often)]
    table = pa.table({"id": pa.array(keys, pa.int64()), "x": [str(key) for key in keys]})
    distinct, copies = distinct_rows(table, "id")
    assert distinct["id"].to_pylist() == [key for key, _ in pairs]
    again = distinct.take(pa.array(np.repeat(np.arange(distinct.num_rows), copies)))
    assert again.equals(table)


def test_a_sparse_matrix_of_copies_is_the_stack_of_its_rows():
    """What `fit` relies on, to repeat rows for the kinds that take no weights."""
    inputs, target, _ = data()
    choice = ModelChoice(name="m", kind="random_forest", parameters={"n_estimators": 2})
    model = fit(choice, list(FIELDS.values()), inputs, target, text=TEXT)
    prepared = model[:-1].transform(inputs.head(2))
    assert (prepared[[0, 0, 1]] != vstack([prepared[[0]], prepared])).nnz == 0
