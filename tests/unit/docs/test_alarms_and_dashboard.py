"""Prometheus' and Grafana's files: every metric that they ask for is one that there is."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase
from ruamel.yaml import YAML

from infra.embedded.services import SERVICES
from shared.observability.metrics import Metrics
from shared.observability.state import AGE, OF_EVERY_SERVICE, OF_MODELS, OF_SLICES, UP
from tests.conftest import REPOSITORY

PROMETHEUS = REPOSITORY / "infra" / "prometheus"
GRAFANA = REPOSITORY / "infra" / "grafana"
ALERTS = YAML(typ="safe").load((PROMETHEUS / "alerts.yml").read_text())
DASHBOARD = json.loads((GRAFANA / "dashboards" / "headrace.json").read_text())
RULES = {rule["alert"]: rule for group in ALERTS["groups"] for rule in group["rules"]}


def known() -> dict[str, set[str]]:
    """The series that there are, with their labels."""
    found: dict[str, set[str]] = {"up": {"job", "instance", "container"}}
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
            for end in ends.get(metric._type, ("",)):
                found[metric._name + end] = {*metric._labelnames, *({"le"} & {end and "le"})}
    for state in (*OF_EVERY_SERVICE, *OF_SLICES, *OF_MODELS):
        found[state.name] = set(state.labels)
    return found | {name: {"service"} for name, _ in (UP, AGE)}


def expressions() -> list[str]:
    asked = [rule["expr"] for rule in RULES.values()]
    asked += [each["expr"] for panel in DASHBOARD["panels"] for each in panel["targets"]]
    variables = DASHBOARD["templating"]["list"]
    return asked + [variable["query"]["query"] for variable in variables]


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_asks_for_metrics_and_labels_that_there_are(expression: str) -> None:
    series = known()
    names = re.findall(r"\b(headrace_\w+|up)\b", expression)
    assert names
    assert [name for name in names if name not in series] == []
    labels = set().union(*(series[name] for name in names))
    asked = re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", expression)
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        asked += [label.strip() for label in grouped.split(",")]
    assert set(asked) <= labels


@pytest.mark.parametrize("name", [name for name in known() if name.startswith("headrace_")])
def test_what_every_replica_tells_alike_is_never_added_up(name: str) -> None:
    of_database = {state.name for state in (*OF_EVERY_SERVICE, *OF_SLICES, *OF_MODELS)}
    for expression in expressions():
        if name in of_database and re.search(rf"\b{name}\b", expression):
            assert re.search(rf"\b(max|label_values)\b[^()]*(\([^()]*\))? ?\({name}\b", expression)


def test_every_alarm_is_explained() -> None:
    text = (REPOSITORY / "docs" / "telemetry.md").read_text().split("## Alarms")[1]
    assert re.findall(r"^\| `(Headrace\w+)`", text, re.MULTILINE) == [*RULES]
    for rule in RULES.values():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]


def test_prometheus_asks_every_service() -> None:
    said = YAML(typ="safe").load((PROMETHEUS / "prometheus.yml").read_text())
    [job] = said["scrape_configs"]
    [found] = job["dns_sd_configs"]
    assert found["names"] == [spec.name for spec in SERVICES]


def test_the_dashboard_shows_each_panel_by_the_source_that_is_provided() -> None:
    said = YAML(typ="safe").load((GRAFANA / "provisioning/datasources/headrace.yml").read_text())
    sources = {source["uid"] for source in said["datasources"]}
    places = set()
    for panel in DASHBOARD["panels"]:
        assert panel["datasource"]["uid"] in sources
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        places.add((place["x"], place["y"]))
    assert len(places) == len(DASHBOARD["panels"])
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.fixture(scope="module")
def promtool() -> str:
    ours = REPOSITORY / ".tools" / "bin" / "promtool"
    found = str(ours) if ours.is_file() else shutil.which("promtool")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no promtool: .ci/run brings one")
        pytest.skip("there is no promtool: it comes with Prometheus")
    return found


def run(*command: Any, folder: Path = PROMETHEUS) -> None:
    done = subprocess.run(
        [*map(str, command)], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_accepts_its_configuration(promtool: str, tmp_path: Path) -> None:
    said = (PROMETHEUS / "prometheus.yml").read_text()
    assert "[/etc/prometheus/alerts.yml]" in said
    (tmp_path / "prometheus.yml").write_text(said.replace("/etc/prometheus/", ""))
    shutil.copy(PROMETHEUS / "alerts.yml", tmp_path)
    run(promtool, "check", "config", "prometheus.yml", folder=tmp_path)


def test_each_alarm_sounds_when_it_should_and_not_when_nothing_is_amiss(promtool: str) -> None:
    tests = YAML(typ="safe").load((PROMETHEUS / "alerts.test.yml").read_text())["tests"]
    for test in tests:
        assert [each["alertname"] for each in test["alert_rule_test"]] == [*RULES]
    run(promtool, "test", "rules", "alerts.test.yml")
