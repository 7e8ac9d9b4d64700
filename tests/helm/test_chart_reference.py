"""What is written from the code: the schema's settings, the page's tables. Needs no helm."""

import json
import re

import pytest
import yaml
from pydantic import SecretStr

from infra.helm.reference import CHART, FOR_TESTS, OWNED, PAGE, SCHEMA, page_text, schema_text
from shared.settings import Settings
from tests.helm.chart import SERVICES

AGAIN = "run `make chart-reference` and look at what it changed"


def test_every_setting_can_be_set_and_no_other():
    known = json.loads(schema_text())["$defs"]["settings"]["properties"].keys()
    assert known | OWNED.keys() | FOR_TESTS == {name.upper() for name in Settings.model_fields}
    assert not known & OWNED.keys()


def test_the_schema_has_the_settings_with_their_limits():
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), AGAIN


def test_the_page_has_the_values_with_their_defaults():
    assert PAGE.read_text(encoding="utf-8") == page_text(), AGAIN


def test_a_secret_is_never_a_plain_value():
    secret = {
        name.upper()
        for name, field in Settings.model_fields.items()
        if SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ()))
    }
    assert secret <= OWNED.keys()
    for setting in secret:
        assert OWNED[setting].endswith(("existingSecret", "ExistingSecret", "Key"))


def values():
    return yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


def test_each_value_that_stands_for_a_setting_exists():
    for path in OWNED.values():
        found = values()
        for part in path.split("."):
            found = found[part]


def test_the_page_builds_every_image_that_the_chart_runs():
    (names,) = re.findall(r"^\$ for name in (.+); do$", PAGE.read_text(encoding="utf-8"), re.M)
    assert names.split() == [*SERVICES, "cli"]


def test_every_value_has_its_comment():
    described = set(
        re.findall(r"^\| `([A-Za-z0-9._]+)` \|", PAGE.read_text(encoding="utf-8"), re.M)
    )

    def leaves(node, path):
        for name, child in node.items():
            at = f"{path}.{name}".lstrip(".")
            if at in described:
                continue
            if isinstance(child, dict) and child and not at.startswith("services."):
                yield from leaves(child, at)
            elif not at.startswith("services."):
                yield at

    assert list(leaves(values(), "")) == []


def test_every_default_of_a_setting_in_the_values_is_a_setting():
    for env in (values()["env"], *(s.get("env", {}) for s in values()["services"].values())):
        Settings.model_validate({name.lower(): value for name, value in env.items()})
        assert {name.lower() for name in env} <= Settings.model_fields.keys()


@pytest.mark.usefixtures("helm")
def test_every_key_of_a_secret_is_described_beside_the_value_that_names_it():
    from tests.helm.chart import environment, of_kind, pod_templates, render

    secrets = PAGE.read_text(encoding="utf-8").split("## Secrets")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \| (.*?) \|$", secrets, re.M)
    described = {value: set(re.findall(r"`([\w.-]+)`", keys)) for value, keys, _ in rows}
    named = {
        (
            variable["valueFrom"]["secretKeyRef"]["name"],
            variable["valueFrom"]["secretKeyRef"]["key"],
        )
        for pod in pod_templates(render("everything")).values()
        for variable in environment(pod).values()
        if "secretKeyRef" in variable.get("valueFrom", {})
    } | {
        (volume["secret"]["secretName"], item["key"])
        for pod in pod_templates(render("everything")).values()
        for volume in pod["spec"]["volumes"]
        if "secret" in volume
        for item in volume["secret"]["items"]
    }
    for ingress in of_kind(render("everything"), "Ingress"):
        named |= {(tls["secretName"], "tls.crt") for tls in ingress["spec"]["tls"]}
    given = {
        "kafka.existingSecret": "headrace-kafka",
        "kafka.tls.existingSecret": "headrace-kafka-tls",
        "postgres.existingSecret": "headrace-postgres",
        "postgres.tls.existingSecret": "headrace-postgres-tls",
        "s3.existingSecret": "headrace-s3",
        "s3.tls.existingSecret": "headrace-s3-tls",
        "mlflow.existingSecret": "headrace-mlflow",
        "mlflow.tls.existingSecret": "headrace-mlflow-tls",
        "api.existingSecret": "headrace-api",
        "console.existingSecret": "headrace-console",
        "console.passwordExistingSecret": "headrace-console-password",
        "notifications.existingSecret": "headrace-notify",
        "migrations.adminExistingSecret": "headrace-admin",
        "ingress.tlsSecret": "headrace-host-tls",
    }
    for name, key in named:
        (value,) = [value for value, secret in given.items() if secret == name]
        assert key in described[value], f"{key} of {value} is not described"
    assert described.keys() == given.keys()
    assert {name for name, _ in named} == set(given.values())
