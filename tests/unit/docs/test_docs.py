"""The documentation names everything that there is, with its true defaults."""

import json
import re
from datetime import date
from enum import Enum

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined
from ruamel.yaml import YAML

from infra.embedded.services import SERVICES
from services.trainer.modelling.models import unknown_parameters
from services.validator.changes import NULL_SHARE_CHANGE, ROW_CHANGE, VALUE_SHARE_CHANGE
from services.validator.images import IMAGE_SHARE, IMAGE_SHARE_CHANGE
from services.validator.integrity import FOREIGN_KEY
from services.validator.spec_check import expectation_faults
from shared.contracts import dataset_spec, drift_spec, schedule_spec, table_spec, training_spec
from shared.contracts.increment import Increment
from shared.contracts.slice_naming import SliceNaming
from shared.contracts.spec_file import read_spec
from shared.contracts.spec_part import SpecPart
from shared.contracts.table_spec import ColumnType
from shared.contracts.topics import Topic
from shared.database.statuses import LoadStatus
from shared.database.tables import metadata
from shared.object_store import Bucket
from shared.observability.logs import _FIELDS
from shared.observability.metrics import Metrics
from shared.observability.state import AGE, OF_EVERY_SERVICE, OF_MODELS, OF_SLICES, UP
from shared.reading.quarantine import Code
from shared.settings import Settings
from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
HEADINGS = {
    dataset_spec.DatasetSpec: "The spec",
    dataset_spec.Slices: "Slices",
    SliceNaming: "Naming",
    Increment: "Increment",
    schedule_spec.Schedule: "Schedule",
    table_spec.Table: "A table",
    table_spec.Column: "A column",
    table_spec.Format: "A format",
    table_spec.ForeignKey: "A foreign key",
    table_spec.Expectation: "An expectation",
    table_spec.Stability: "Stability",
    table_spec.Images: "Images",
    drift_spec.Drift: "Drift",
    drift_spec.Thresholds: "Thresholds",
    training_spec.Training: "Training fields",
    training_spec.Text: "Text",
    training_spec.Target: "Target",
    training_spec.Split: "Split",
    training_spec.Balance: "Balance",
    training_spec.ModelChoice: "Model",
}
"""The section of docs/datasets.md that describes each part of a spec."""


def read(name):
    return (DOCS / name).read_text(encoding="utf-8")


def section(text, heading):
    """The text between a heading of the third level and the next heading."""
    found = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^##|\Z)", text, re.M | re.S)
    assert found, f"there is no section {heading!r}"
    return found.group(1)


def rows(text):
    """The cells of the tables in `text`, by the name in each first cell."""
    cells = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in cells}


def told(default):
    """A default value as the documentation writes it."""
    if default is None or default in ((), {}):
        return "none"
    if default == "":
        return "empty"
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, Enum):
        default = default.value
    if isinstance(default, bool | tuple):
        default = json.dumps(default)
    return f"`{default}`"


def test_every_part_of_a_spec_has_its_section():
    parts = {
        part
        for module in (dataset_spec, drift_spec, schedule_spec, table_spec, training_spec)
        for part in vars(module).values()
        if isinstance(part, type) and issubclass(part, SpecPart) and part is not SpecPart
    }
    assert parts | {SliceNaming} == HEADINGS.keys()


@pytest.mark.parametrize("part", HEADINGS, ids=lambda part: part.__name__)
def test_every_field_of_a_spec_is_described_with_its_default(part):
    described = rows(section(read("datasets.md"), HEADINGS[part]))
    for name, field in part.model_fields.items():
        assert name in described, f"{part.__name__}.{name} is not described"
        default, meaning = described[name]
        assert len(meaning) > 5
        value = field.get_default(call_default_factory=True)
        if value is PydanticUndefined or isinstance(value, BaseModel):
            assert default == ""
        elif part is table_spec.Table and name == "file":
            assert default == "`<name>.csv`"
        else:
            assert default == told(value), f"{part.__name__}.{name}"
    only_fields = {name for name in described if re.fullmatch(r"[a-z_]+", name)}
    assert only_fields - {kind.value for kind in ColumnType} == part.model_fields.keys() - {
        kind.value for kind in ColumnType
    }


def examples(name):
    return re.findall(r"```yaml\n(.*?)```", read(name), re.S)


def test_the_example_of_a_spec_is_a_good_one(tmp_path):
    path = tmp_path / "bakery.yaml"
    path.write_text(examples("datasets.md")[0], encoding="utf-8")
    spec = read_spec(path)
    assert list(spec.tables) == ["shops", "sales"]
    assert spec.slices.naming.next_after([]) == "2024-03-01"
    assert spec.slices.as_of("2024-03-02") == date(2024, 3, 2)
    assert expectation_faults(spec) == []


def test_the_example_of_a_growing_catalogue_is_a_good_one(tmp_path):
    path = tmp_path / "parts.yaml"
    path.write_text(examples("datasets.md")[1], encoding="utf-8")
    spec = read_spec(path)
    assert spec.slices.next_after(["50%"]) == "55%"
    assert expectation_faults(spec) == []
    assert unknown_parameters(spec.training.model) == []


def test_the_example_of_a_training_is_a_good_one(tmp_path):
    tables = """
dataset: churn
slices: {naming: {pattern: "{date}"}}
tables:
  users: {key: [user_id], columns: {user_id: string, signup_date: date, has_family: boolean}}
  usage: {key: [user_id], columns: {user_id: string, watch_hours_30d: number}}
  labels: {key: [user_id], columns: {user_id: string, churn_label: boolean}}
"""
    path = tmp_path / "churn.yaml"
    path.write_text(tables + examples("datasets.md")[2], encoding="utf-8")
    assert read_spec(path).training.model.name == "churn"


def test_every_type_of_a_column_and_every_code_of_a_fault_is_described():
    text = read("datasets.md")
    assert {kind.value for kind in ColumnType} <= rows(section(text, "A column")).keys()
    codes = {
        code
        for line in text.splitlines()
        if line.startswith("| `")
        for code in re.findall(r"`([a-z_]+)`", line.split("|")[1])
    }
    assert {code.value for code in Code} <= codes


def test_every_setting_is_described_with_its_default():
    described = rows(read("operations.md").split("## Settings")[1].split("\n## ")[0])
    assert list(described) == [name.upper() for name in Settings.model_fields]
    for name, field in Settings.model_fields.items():
        default, unit, meaning = described[name.upper()]
        assert default == told(field.default), name
        assert len(meaning) > 5
        named_unit = re.search(r"_(seconds|bytes|rows|threads)(_|$)", name)
        if named_unit:
            assert unit == named_unit.group(1)


def test_every_metric_is_described():
    described = rows(section(read("telemetry.md"), "Counted by each process"))
    assert {name: cells[0] for name, cells in described.items()} == {
        metric._name + ("_total" if metric._type == "counter" else ""): ", ".join(
            metric._labelnames
        )
        for metric in vars(Metrics()).values()
        if isinstance(metric, MetricWrapperBase)
    }


def test_nothing_is_counted_but_what_is_described():
    metrics = Metrics()
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            metric.labels(*metric._labelnames)
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    names = {
        re.sub("_(bucket|count|sum)$", "", sample.name)
        if family.type == "histogram"
        else sample.name
        for family in families
        for sample in family.samples
    }
    assert names == rows(section(read("telemetry.md"), "Counted by each process")).keys()


def test_every_gauge_of_the_database_is_described():
    described = rows(section(read("telemetry.md"), "Read from the database"))
    known = {
        metric.name: ", ".join(metric.labels)
        for metric in (*OF_EVERY_SERVICE, *OF_SLICES, *OF_MODELS)
    } | {name: "service" for name, _ in (UP, AGE)}
    assert {name: cells[0] for name, cells in described.items()} == known


def test_no_label_of_a_metric_has_values_without_end():
    """Each load, slice or event would be another time series."""
    labels = {
        label
        for name in ("Counted by each process", "Read from the database")
        for cells in rows(section(read("telemetry.md"), name)).values()
        for label in cells[0].split(", ")
    }
    assert not [
        label for label in labels if re.search("slice|load|event|trace|version_|_id", label)
    ]


def test_every_field_of_a_log_line_is_described_in_its_order():
    described = rows(read("telemetry.md").split("## Logs")[1].split("\n## ")[0])
    assert tuple(described) == (*_FIELDS, "exception")


@pytest.mark.parametrize(
    "names",
    [
        [topic.value for topic in Topic],
        [bucket.value for bucket in Bucket],
        [table.name for table in metadata.tables.values()],
        [status.value for status in LoadStatus],
        [
            FOREIGN_KEY,
            ROW_CHANGE,
            NULL_SHARE_CHANGE,
            VALUE_SHARE_CHANGE,
            IMAGE_SHARE,
            IMAGE_SHARE_CHANGE,
        ],
    ],
    ids=["topics", "buckets", "tables", "statuses", "checks"],
)
def test_the_architecture_names_every(names):
    text = read("architecture.md")
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_container_is_described():
    services = YAML(typ="safe").load(REPOSITORY / "docker-compose.yml")["services"]
    containers = read("operations.md").split("## Containers")[1].split("\n### ")[0]
    named = [line.split("|")[1] for line in containers.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([a-z]+)`", " ".join(named))) == set(services)


def test_every_service_and_every_bucket_is_named_where_they_run_on_servers_of_yours():
    text = read("operations.md").split("## Real servers")[1].split("\n### ")[0]
    assert re.findall(r"python -m services\.(\w+)\.app", text) == [spec.name for spec in SERVICES]
    buckets = text.split("**S3**")[1].split("\n- ")[0]
    assert [each.value for each in Bucket if f"`{each.value}`" not in buckets] == []


def _anchor(heading):
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_the_tests_that_hold_the_promises_are_there():
    text = (DOCS / "reliability.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:tests/|test_)[\w/]*(?:\.py|/))`", text))
    assert len(named) > 15
    tests = DOCS.parent / "tests"
    there = {path.name for path in tests.rglob("test_*.py")}
    for name in named:
        assert (DOCS.parent / name).exists() or name in there, name


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.name)
def test_every_link_within_the_docs_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.M)
            assert anchor in map(_anchor, headings), target


def test_the_diagram_is_well_formed_and_stands_alone():
    picture = read("architecture.svg")
    assert "<script" not in picture
    assert "http://www.w3.org/2000/svg" in picture
    assert "href" not in picture
    for name in (*Topic, "ingestor", "validator", "snapshotter", "trainer", "notifier", "console"):
        assert f">{name}</text>" in picture
