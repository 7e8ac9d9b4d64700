"""What helm renders is what Kubernetes, KEDA and the Prometheus operator accept."""

import subprocess
import sys
import tomllib

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.helm.chart import CASES, CHART, VALUES, Refused, of_kind, render, run_helm

pytestmark = pytest.mark.usefixtures("helm")

OLDEST, NEWEST = "1.30", "1.37"


def closed(schema):
    """The schema with what it doesn't name refused, as an API server's strict check does."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: closed(part) for key, part in schema.items()}
    if (
        isinstance(copy.get("properties"), dict)
        and "additionalProperties" not in copy
        and not copy.get("x-kubernetes-preserve-unknown-fields")
    ):
        copy["additionalProperties"] = False
    return copy


def custom_schemas(definitions):
    """The schema of each custom object, by (apiVersion, kind)."""
    found = {}
    for path in definitions:
        definition = yaml.safe_load(path.read_text(encoding="utf-8"))
        for version in definition["spec"]["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            schema["properties"]["metadata"] = {"type": "object", "properties": {}}
            schema = closed(schema)
            schema["properties"]["metadata"] = {"type": "object"}
            at = f"{definition['spec']['group']}/{version['name']}"
            found[at, definition["spec"]["names"]["kind"]] = schema
    return found


@pytest.mark.parametrize("case", CASES)
def test_helm_finds_nothing_to_complain_about(case):
    run_helm("lint", "--strict", str(CHART), "--values", str(VALUES / f"{case}.yaml"))


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("case", CASES)
def test_every_object_is_one_that_kubernetes_takes(case, version, definitions):
    custom = custom_schemas(definitions)
    for document in render(case, "--kube-version", f"{version}.0"):
        at = document["apiVersion"], document["kind"]
        if at in custom:
            jsonschema.validate(document, custom[at])
        else:
            kubernetes_validate.validate(document, version, strict=True)


def test_a_field_that_no_object_has_is_found(definitions):
    (scaled, *_) = of_kind(render("everything"), "ScaledObject")
    wrong = scaled | {"spec": scaled["spec"] | {"maxReplicas": 3}}
    with pytest.raises(jsonschema.ValidationError, match="maxReplicas"):
        jsonschema.validate(wrong, custom_schemas(definitions)[wrong["apiVersion"], wrong["kind"]])


def test_an_older_kubernetes_is_refused():
    with pytest.raises(Refused, match=r"incompatible with Kubernetes v1\.29"):
        render("minimal", "--kube-version", "1.29.0")


@pytest.mark.parametrize("case", CASES)
def test_no_two_objects_have_one_name_and_all_are_in_the_release_s_namespace(case):
    documents = render(case)
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(names) == len(set(names))
    assert {document["metadata"]["namespace"] for document in documents} == {"pipelines"}
    assert all(len(name) <= 63 for _, name in names)


def test_long_names_of_releases_are_cut_to_what_a_label_takes():
    name = "a-release-with-a-name-as-long-as-helm-allows-it-to-be"
    documents = render("everything", release=name)
    assert all(len(document["metadata"]["name"]) <= 63 for document in documents)
    for document in documents:
        if document["kind"] not in ("ScaledObject", "TriggerAuthentication", "ServiceMonitor"):
            kubernetes_validate.validate(document, NEWEST, strict=True)


def test_every_kind_of_object_is_made_where_everything_is_on():
    kinds = {document["kind"] for document in render("everything")}
    assert kinds == {
        "ConfigMap",
        "Deployment",
        "Ingress",
        "Job",
        "NetworkPolicy",
        "Pod",
        "PodDisruptionBudget",
        "ScaledObject",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
        "TriggerAuthentication",
    }


def test_no_secret_is_made_and_nothing_that_looks_like_one_is_written():
    for case in CASES:
        documents = render(case)
        assert of_kind(documents, "Secret") == []
        for variable in (
            variable
            for document in of_kind(documents, "Deployment") + of_kind(documents, "Job")
            for container in document["spec"]["template"]["spec"]["containers"]
            for variable in container["env"]
        ):
            if any(word in variable["name"] for word in ("PASSWORD", "SECRET", "TOKEN", "_URLS")):
                assert "value" not in variable, variable["name"]


def test_the_chart_s_app_version_is_the_code_s():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == project["project"]["version"]


def test_the_chart_packs(tmp_path):
    said = run_helm("package", str(CHART), "--destination", str(tmp_path))
    (archive,) = tmp_path.glob("*.tgz")
    assert archive.name in said
    listed = subprocess.run(
        [sys.executable, "-m", "tarfile", "--list", archive],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "headrace/files/services.yaml" in listed
    assert run_helm("template", "packed", str(archive), "-f", str(VALUES / "minimal.yaml"))
