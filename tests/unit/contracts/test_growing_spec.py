"""Specs of catalogues that grow by shares: what is accepted, and how faults are explained."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.spec_file import FaultySpec, read_spec

GOOD = """\
dataset: parts
slices:
  increment: {initial: 50, step: 12.5}
schedule: {cron: 0 6 * * MON, time_zone: Europe/Copenhagen}
tables:
  parts:
    key: [sku]
    columns: {sku: string, name: string, weight: number}
    images: {file: "photos/{sku}.jpg"}
  classes:
    key: [sku]
    columns:
      sku: {type: string, file: parts.csv}
      class: string
    stability: {max_value_share_change: {class: 0.05}}
training:
  entity: sku
  target: {table: classes, column: class}
  features: {parts: [name, weight]}
  text: {features: {parts: [name]}}
  model: {name: parts, kind: logistic_regression}
"""


def read(path: Path, content: str) -> DatasetSpec:
    (path / "parts.yaml").write_text(content)
    return read_spec(path / "parts.yaml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "slices:\n",
            'slices:\n  naming: {pattern: "{date}"}\n',
            "either a naming or an increment",
        ),
        ("increment: {initial: 50, step: 12.5}", "source: here", "either a naming or an increment"),
        ("increment: {initial: 50, step: 12.5}", 'naming: {pattern: "{date}"}', "only slices that"),
        ("initial: 50", "initial: 0", "greater than 0"),
        ("initial: 50", "initial: 101", "less than or equal to 100"),
        ("step: 12.5", "step: -3", "greater than 0"),
        ("cron: 0 6 * * MON", "cron: every monday", "match pattern"),
        ("Europe/Copenhagen", "Europe/Atlantis", "no time zone"),
        ('"photos/{sku}.jpg"', '"photos/{id}.jpg"', "images.file names 'id'"),
        ('"photos/{sku}.jpg"', '"../{sku}.jpg"', "lies in the slice's folder"),
        ('"photos/{sku}.jpg"', '"/photos/{sku}.jpg"', "lies in the slice's folder"),
        ('"photos/{sku}.jpg"', '"photos/all.jpg"', "columns in braces"),
        ('"photos/{sku}.jpg"', '"photos/{sku.jpg"', "can't be read"),
        ("{class: 0.05}", "{colour: 0.05}", "stability names 'colour'"),
        ("text: {features: {parts: [name]}}", "text: {features: {parts: [sku]}}", "is no feature"),
        ("text: {features: {parts: [name]}}", "text: {features: {parts: [weight]}}", "no string"),
        (
            "text: {features: {parts: [name]}}",
            "text: {features: {parts: [name]}, word_ngrams: [3, 1]}",
            "shortest, longest",
        ),
        (
            "kind: logistic_regression}",
            "kind: linear_svm}\n  metric: log_loss",
            "no log_loss of it",
        ),
        ("    images:", "    absence: delete\n    images:", "has only its own rows"),
        ("    images:", '    file: "*.csv"\n    images:', "an increment is taken of one file"),
        (
            "  parts:\n    key",
            "  data_loads: {key: [a], columns: {a: string}}\n  parts:\n    key",
            "kept",
        ),
    ],
)
def test_a_fault_of_a_growing_catalogue_is_explained(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in GOOD
    with pytest.raises(FaultySpec) as caught:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert said in str(caught.value)


def test_slices_are_shares_up_to_the_whole_and_then_there_is_none(tmp_path: Path) -> None:
    slices = read(tmp_path, GOOD).slices
    names: list[str] = []
    while (following := slices.next_after(names)) is not None:
        names.append(following)
    assert names == ["50%", "62.5%", "75%", "87.5%", "100%"]


@pytest.mark.parametrize("name", ["0%", "101%", "50", "50.0%", "050%", "-3%", "5e1%", "month_000"])
def test_a_name_that_is_no_share_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no share like '50%'"):
        read(tmp_path, GOOD).slices.as_of(name)


def test_a_share_is_of_the_day_when_it_was_asked_for_in_the_schedules_zone(tmp_path: Path) -> None:
    spec = read(tmp_path, GOOD)
    sunday_evening = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)  # Monday in Copenhagen
    assert spec.as_of("50%", sunday_evening) == date(2026, 11, 23)


def test_the_digest_survives_being_stored(tmp_path: Path) -> None:
    spec = read(tmp_path, GOOD)
    again = DatasetSpec.model_validate(spec.model_dump(mode="json"))
    assert again == spec
    assert again.digest() == spec.digest()
