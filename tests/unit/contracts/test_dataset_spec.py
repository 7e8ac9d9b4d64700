"""Specs: what is accepted, and that each fault is explained with its line."""

import os
from pathlib import Path

import pytest

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.spec_file import FaultySpec, find_spec, read_spec, spec_names
from shared.contracts.table_spec import Table
from shared.contracts.training_spec import Metric
from shared.errors import UnknownDataset
from tests.conftest import REPOSITORY

GOOD = """\
dataset: mine
slices:
  naming:
    pattern: "{date:%Y-%m-%d}"
tables:
  users:
    key: [user_id]
    columns:
      user_id: string
      age: {type: integer, nullable: false}
      since: date
  labels:
    key: [user_id]
    columns: {user_id: string, left: boolean}
    foreign_keys:
      - {columns: [user_id], table: users}
training:
  entity: user_id
  target: {table: labels, column: left}
  features:
    users: [age, since]
  model: {name: mine_left, kind: logistic_regression}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def spoiled(path: Path, old: str, new: str) -> FaultySpec:
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(FaultySpec) as caught:
        read_spec(path)
    return caught.value


@pytest.mark.parametrize("spec", sorted((REPOSITORY / "datasets").glob("*.yaml")))
def test_the_specs_that_ship_are_good(spec: Path) -> None:
    assert read_spec(spec).dataset == spec.stem


def test_a_good_spec_is_read_with_its_defaults(path: Path) -> None:
    path.write_text(GOOD)
    spec = read_spec(path)
    table = spec.tables["users"]
    assert (table.absence, table.duplicates, table.quarantine_budget) == ("keep", "reject", 0)
    assert not table.is_nullable("user_id"), "a key never is, whatever is declared"
    assert not table.is_nullable("age")
    assert table.is_nullable("since")
    assert spec.training is not None
    assert spec.training.metric is Metric.ROC_AUC
    assert spec.parents_first() == ["users", "labels"]


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("age: {type: integer", "age: {type: whole", 10, "whole"),
        ("      since: date\n", "      since: date\n    colour: red\n", 12, "colour: is no field"),
        ("    key: [user_id]\n    columns:\n", "    columns:\n", 6, "key: is missing"),
        ('pattern: "{date:%Y-%m-%d}"', 'pattern: "month"', 3, "one field"),
        ('pattern: "{date:%Y-%m-%d}"', 'pattern: "m_{index}"', 3, "first_as_of"),
        ("dataset: mine", "dataset: other", 1, "the two must agree"),
        ("dataset: mine", "dataset: pg_mine", 1, "kept for the system"),
        ("dataset: mine", "dataset: Mine", 1, "pattern"),
        ("key: [user_id]", "key: [id]", 6, "no column of this table"),
        ("since: date", "as_of: date", 6, "kept for Headrace itself"),
        ("since: date", "AGE: date", 6, "differ in case"),
        ("table: users}", "table: people}", 1, "not declared"),
        ("columns: [user_id], table", "columns: [left], table", 1, "is (boolean), the key of"),
        ("kind: logistic_regression", "kind: crystal_ball", 22, "crystal_ball"),
        ("users: [age, since]", "users: [age, height]", 1, "users.height is not declared"),
        ("users: [age, since]", "labels: [left]", 1, "is a feature too"),
        ("entity: user_id", "entity: age", 1, "must have the key [age]"),
    ],
)
def test_a_fault_is_explained_with_its_line(
    path: Path, old: str, new: str, line: int, said: str
) -> None:
    (fault,) = spoiled(path, old, new).faults
    assert said in str(fault)
    assert fault.line == line, str(fault)


def test_every_fault_is_named_at_once_in_the_order_of_lines(path: Path) -> None:
    path.write_text(GOOD.replace("integer", "whole").replace("boolean", "perhaps"))
    with pytest.raises(FaultySpec) as caught:
        read_spec(path)
    lines = [fault.line for fault in caught.value.faults]
    assert len(lines) == 2
    assert lines == sorted(lines)
    assert str(caught.value).count(str(path)) == 2


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"dataset: [mine\nslices: {", 2, "no YAML"),
        (b"dataset: mine\ndataset: mine\n", 2, "no YAML"),
        (b"", 1, "no mapping"),
        (b"- a\n- b\n", 1, "no mapping"),
        (b"\xff\xfe", 1, "can't be read"),
    ],
)
def test_a_file_that_is_no_spec_is_said_to_be_none(
    path: Path, content: bytes, line: int, said: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(FaultySpec) as caught:
        read_spec(path)
    assert said in str(caught.value)
    assert caught.value.faults[0].line == line


@pytest.mark.parametrize("name", ["absent", "../mine", "a/b", ""])
def test_a_dataset_without_a_spec_is_unknown_and_no_path_leads_elsewhere(
    tmp_path: Path, name: str
) -> None:
    directory = tmp_path / "specs"
    directory.mkdir()
    (tmp_path / "mine.yaml").write_text(GOOD)
    assert spec_names(directory) == []
    with pytest.raises(UnknownDataset):
        find_spec(directory, name)


@pytest.mark.parametrize(
    ("budget", "rows_in", "allowed"), [(0, 100, 0), (3, 100, 3), ("0.5%", 1000, 5), ("1%", 50, 0)]
)
def test_a_budget_is_a_count_or_a_share(budget: int | str, rows_in: int, allowed: int) -> None:
    table = Table.model_validate(
        {"key": ["k"], "columns": {"k": "string"}, "quarantine_budget": budget}
    )
    assert table.budget_rows(rows_in) == allowed


def test_the_digest_changes_with_anything_declared_and_with_nothing_else(path: Path) -> None:
    path.write_text(GOOD)
    spec = read_spec(path)
    path.write_text("# a comment\n" + GOOD)
    assert read_spec(path).digest() == spec.digest()
    path.write_text(GOOD.replace("nullable: false", "nullable: true"))
    assert read_spec(path).digest() != spec.digest()
    assert DatasetSpec.model_validate(spec.model_dump(mode="json")) == spec


def test_a_spec_is_parsed_again_only_when_it_says_something_else(path: Path) -> None:
    path.write_text(GOOD)
    before, stat = read_spec(path), path.stat()
    assert read_spec(path) is before
    path.write_text(GOOD.replace("[age, since]", "[since, age]"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size, "nothing of the file but its content tells of it"
    assert read_spec(path).training != before.training
    path.unlink()
    with pytest.raises(FaultySpec, match="can't be read"):
        read_spec(path)
