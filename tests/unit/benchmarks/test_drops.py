"""The generated drops."""

import hashlib
from itertools import pairwise

import pyarrow.csv as arrow_csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.dataset import COLUMNS, DATASET, KEY, SPEC, TABLE
from benchmarks.drops import rows_in, user_ids, write_drop
from shared.contracts.spec_file import read_spec
from shared.database.dataset_tables import POSTGRES_TYPES


@pytest.fixture
def drop(tmp_path):
    path = tmp_path / "users.csv"
    write_drop(path, 3_000)
    return path


def test_a_drop_has_as_many_rows_as_asked_for_also_beyond_one_chunk(tmp_path):
    for rows in (0, 1, 100_000, 100_001):
        write_drop(tmp_path / "users.csv", rows)
        assert rows_in(tmp_path / "users.csv") == rows


def test_the_same_number_of_rows_gives_the_same_bytes(tmp_path, drop):
    write_drop(tmp_path / "again.csv", 3_000)
    digests = {hashlib.sha256(p.read_bytes()).digest() for p in tmp_path.glob("*.csv")}
    assert len(digests) == 1


def test_a_drop_fits_its_spec_and_the_peers_columns(tmp_path, drop):
    (tmp_path / f"{DATASET}.yaml").write_text(SPEC)
    table = read_spec(tmp_path / f"{DATASET}.yaml").tables[TABLE]
    assert table.key == (KEY,)
    declared = {name: POSTGRES_TYPES[column.type] for name, column in table.columns.items()}
    assert declared == COLUMNS
    assert drop.read_text().splitlines()[0].split(",") == list(COLUMNS)


def test_some_values_are_absent_but_no_key(drop):
    options = arrow_csv.ConvertOptions(strings_can_be_null=True)
    rows = arrow_csv.read_csv(drop, convert_options=options)
    assert 0 < rows["total_paid"].null_count < 100
    assert rows[KEY].null_count == 0


@given(st.integers(0, 10_000_000), st.integers(1, 500))
def test_a_users_id_follows_from_its_row_alone(start, rows):
    ids = user_ids(start, rows).to_pylist()
    assert ids[-1] == user_ids(start + rows - 1, 1)[0].as_py()
    assert len(set(ids)) == rows
    assert all(len(one) == 10 and one[4] == "-" for one in ids)


def test_no_key_comes_twice_and_they_come_in_no_order():
    ids = user_ids(0, 1_000_000)
    assert len(ids.unique()) == 1_000_000
    rises = sum(a < b for a, b in pairwise(ids[:1_000].to_pylist()))
    assert 300 < rises < 700
