"""Expectations that can't be evaluated are found before any data is there."""

import pytest

from services.validator.spec_check import expectation_faults
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.spec_file import read_spec
from tests.conftest import REPOSITORY


def spec_with(*expectations):
    return DatasetSpec.model_validate(
        {
            "dataset": "shop",
            "slices": {"naming": {"pattern": "{date:%Y-%m-%d}"}},
            "tables": {
                "orders": {
                    "key": ["order_id"],
                    "columns": {"order_id": "integer", "amount": "number"},
                    "expectations": [{"type": t, "kwargs": k} for t, k in expectations],
                }
            },
        }
    )


@pytest.mark.parametrize(
    ("name", "kwargs", "told"),
    [
        ("expect_magic", {}, "is no expectation of Great Expectations 1."),
        (
            "expect_column_values_to_be_betwen",
            {"column": "amount"},
            "is it expect_column_values_to_be_between?",
        ),
        (
            "expect_column_values_to_be_between",
            {"column": "amount", "min": 0, "max_value": 1},
            "min: extra fields not permitted",
        ),
        ("expect_column_values_to_not_be_null", {}, "column: field required"),
        (
            "expect_column_values_to_be_between",
            {"column": "amount"},
            "min_value and max_value cannot both be None",
        ),
        (
            "expect_column_values_to_be_in_set",
            {"column": "amount", "value_set": 3},
            "value_set: value is not a valid list",
        ),
        (
            "expect_column_values_to_not_be_null",
            {"column": "amonut"},
            "names the column 'amonut', which the table doesn't have",
        ),
        (
            "expect_column_pair_values_to_be_equal",
            {"column_A": "amount", "column_B": "price"},
            "names the column 'price'",
        ),
        (
            "expect_compound_columns_to_be_unique",
            {"column_list": ["order_id", "line"]},
            "names the column 'line'",
        ),
        (
            "expect_column_values_to_be_increasing",
            {"column": "amount"},
            "can't be evaluated in SQL",
        ),
        (
            "expect_table_columns_to_match_set",
            {"column_set": ["order_id"]},
            "a staged table has the columns of the spec",
        ),
    ],
)
def test_a_faulty_expectation_is_named_with_what_is_wrong(name, kwargs, told):
    good = ("expect_column_values_to_not_be_null", {"column": "amount"})
    [fault] = expectation_faults(spec_with(good, (name, kwargs)))
    assert fault.path == "tables.orders.expectations.1"
    assert told in fault.message
    assert str(fault) == f"tables.orders.expectations.1: {name}: {fault.message}"


def test_all_faults_are_named_in_their_order():
    faults = expectation_faults(spec_with(("expect_a", {}), ("expect_b", {})))
    assert [fault.type for fault in faults] == ["expect_a", "expect_b"]


@pytest.mark.parametrize("path", sorted((REPOSITORY / "datasets").glob("*.yaml")), ids=str)
def test_our_own_datasets_have_no_faults(path):
    assert expectation_faults(read_spec(path)) == []
