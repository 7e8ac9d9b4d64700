"""The pods: whose they are, what they run, what they know, how they end."""

import re

import pytest

from infra.helm.reference import OWNED
from shared.health import http_server
from shared.observability.metrics import Metrics
from shared.settings import Settings
from tests.conftest import REPOSITORY
from tests.helm.chart import (
    CASES,
    SERVICES,
    by_component,
    component,
    environment,
    of_kind,
    pod_templates,
    render,
)

pytestmark = pytest.mark.usefixtures("helm")

NO_SETTINGS = {
    "HOME",
    "SCRATCH_DIR",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "HTTPS_PROXY",
    "NODE_NAME",
}
"""Variables that others read: the image's entrypoint, libraries, and the case's own `extraEnv`."""

NEVER_CHANGES = {f"app.kubernetes.io/{label}" for label in ("name", "instance", "component")}
"""Labels that an upgrade leaves as they are, unlike the version's."""


def selects(selector, template):
    labels = template["metadata"]["labels"]
    return selector.items() <= labels.items()


@pytest.mark.parametrize("case", CASES)
def test_whatever_selects_pods_selects_those_of_its_own_service_and_no_others(case):
    documents = render(case)
    pods = pod_templates(documents)
    selecting = {
        "Deployment": lambda spec: spec["selector"]["matchLabels"],
        "Service": lambda spec: spec["selector"],
        "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
    }
    for kind, selector_of in selecting.items():
        for document in of_kind(documents, kind):
            selector = selector_of(document["spec"])
            assert selector.keys() == NEVER_CHANGES, (kind, document["metadata"]["name"])
            selected = {name for name, pod in pods.items() if selects(selector, pod)}
            assert selected == {component(document)}, (kind, document["metadata"]["name"])


def test_each_service_has_all_of_its_objects():
    documents = render("everything")
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        assert set(by_component(documents, kind)) == set(SERVICES), kind
    scaled = set(by_component(documents, "ScaledObject"))
    assert scaled == set(SERVICES) - {"console"}, "it is in no group, so nothing waits for it"
    assert set(by_component(documents, "NetworkPolicy")) == {*SERVICES, "migrate"}
    assert set(by_component(documents, "ServiceAccount")) == {*SERVICES, "migrate"}


def test_a_service_that_is_not_enabled_leaves_nothing_behind():
    components = {component(document) for document in render("identity")}
    assert components == {"validator", "health-check"}


@pytest.mark.parametrize("case", CASES)
def test_each_service_runs_its_own_image_of_the_code_s_version(case):
    for name, pod in pod_templates(render(case)).items():
        (container,) = pod["spec"]["containers"]
        image = container["image"]
        assert not image.endswith(":latest")
        if case == "everything" and name == "trainer":
            assert "@sha256:" in image
            continue
        folder = "registry.example.org/team/headrace" if case == "everything" else "headrace"
        program = name if name in SERVICES else "cli"
        assert image == f"{folder}/{program}:0.1.0"


def test_the_images_are_made_as_the_chart_runs_them():
    dockerfile = (REPOSITORY / "infra" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    targets = dict(
        re.findall(r"^FROM runtime AS (\S+)\n(.*?)(?=^FROM |\Z)", dockerfile, re.M | re.S)
    )
    assert {*SERVICES, "cli"} <= targets.keys()
    for name in (*SERVICES, "cli"):
        assert "USER 10001:10001" in targets[name]
    for name in SERVICES:
        assert "EXPOSE 8000" in targets[name]
    entrypoint = (REPOSITORY / "infra" / "docker" / "entrypoint.sh").read_text(encoding="utf-8")
    assert "SCRATCH_DIR" in entrypoint
    for pod in pod_templates(render("everything")).values():
        assert environment(pod)["SCRATCH_DIR"]["value"] == "/tmp"  # noqa: S108


@pytest.mark.parametrize("case", CASES)
def test_no_pod_has_rights_that_it_does_not_need(case):
    for pod in pod_templates(render(case)).values():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("case", CASES)
def test_every_pod_has_room_for_temporary_files_within_a_limit(case):
    for name, pod in pod_templates(render(case)).items():
        (container,) = pod["spec"]["containers"]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert mounted.keys() == volumes.keys()
        assert mounted["tmp"] == "/tmp"  # noqa: S108
        if case == "everything" and name == "trainer":
            assert "ephemeral" in volumes["tmp"]
        else:
            assert volumes["tmp"]["emptyDir"]["sizeLimit"]


@pytest.mark.parametrize("case", CASES)
def test_probes_ask_endpoints_that_there_are_and_wait_for_their_answer(case):
    server = http_server("any", None, Settings(), None, None, Metrics())
    paths = set(server._server.config.app.openapi()["paths"])
    for deployment in of_kind(render(case), "Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        (port,) = container["ports"]
        assert environment(deployment["spec"]["template"])["HTTP_PORT"]["value"] == str(
            port["containerPort"]
        )
        asked = {
            kind: container[f"{kind}Probe"]["httpGet"]
            for kind in ("startup", "liveness", "readiness")
        }
        assert {kind: at["path"] for kind, at in asked.items()} == {
            "startup": "/healthz",
            "liveness": "/healthz",
            # Its pages say which server is away, so that must not turn people away from them.
            "readiness": "/healthz" if component(deployment) == "console" else "/readyz",
        }
        assert {at["path"] for at in asked.values()} <= paths
        assert {at["port"] for at in asked.values()} == {port["name"]}
        assert container["readinessProbe"]["timeoutSeconds"] > 6


@pytest.mark.parametrize("case", CASES)
def test_every_variable_is_a_setting_or_known_to_be_another_s(case):
    settings = {name.upper() for name in Settings.model_fields}
    for pod in pod_templates(render(case)).values():
        assert environment(pod).keys() - NO_SETTINGS <= settings


def test_each_setting_that_has_a_value_of_its_own_reaches_the_pods_that_read_it():
    pods = pod_templates(render("everything"))
    pods.pop("health-check")
    has = {name: set(environment(pod)) for name, pod in pods.items()}
    only = {
        "API_TOKEN": {"ingestor", "console"},
        "NOTIFY_URLS": {"notifier"},
        "CONSOLE_DATABASE_URL": {"console", "migrate"},
        "CONSOLE_PASSWORD": {"console"},
        "MLFLOW_TRACKING_URI": {"trainer", "console"},
        "DASK_SCHEDULER_ADDRESS": {"trainer"},
        "ADMIN_DATABASE_URL": {"migrate"},
        "MLFLOW_DATABASE_URL": {"migrate"},
    }
    for setting in OWNED:
        assert {name for name, known in has.items() if setting in known} == only.get(
            setting, set(pods)
        ), setting


def test_settings_arrive_as_they_were_written():
    variables = environment(pod_templates(render("everything"))["ingestor"])
    value = {name: variable.get("value") for name, variable in variables.items()}
    assert value["CSV_BLOCK_BYTES"] == "10485760"
    assert float(value["RETRY_FLOOR_SECONDS"]) == 0.00001
    assert value["TOPIC_PREFIX"] == "live."
    assert value["KAFKA_BOOTSTRAP_SERVERS"] == "kafka-1.example.org:9093,kafka-2.example.org:9094"
    read = Settings.model_validate({name.lower(): text for name, text in value.items() if text})
    assert read.csv_block_bytes == 10485760
    given = environment(
        pod_templates(render("minimal", "--set", "services.notifier.env.CSV_BLOCK_BYTES=20000000"))[
            "notifier"
        ]
    )
    assert given["CSV_BLOCK_BYTES"]["value"] == "20000000"


def test_the_service_s_own_setting_counts_more_than_everybody_s():
    pods = pod_templates(
        render("minimal", "--set", "env.HANDLER_THREADS=3,services.trainer.env.HANDLER_THREADS=1")
    )
    threads = {
        name: environment(pod)["HANDLER_THREADS"]["value"]
        for name, pod in pods.items()
        if name in SERVICES
    }
    assert threads == dict.fromkeys(SERVICES, "3") | {"trainer": "1"}


@pytest.mark.parametrize("grace", [None, "0.5", "90"])
def test_a_pod_is_killed_only_after_the_grace_that_its_service_has(grace):
    options = (
        ("--set-json", f"services.validator.env.SHUTDOWN_GRACE_SECONDS={grace}") if grace else ()
    )
    for name, deployment in by_component(render("minimal", *options), "Deployment").items():
        spec = deployment["spec"]["template"]["spec"]
        variable = environment(deployment["spec"]["template"]).get("SHUTDOWN_GRACE_SECONDS")
        own = float(variable["value"]) if variable else Settings().shutdown_grace_seconds
        (container,) = spec["containers"]
        waits = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        least = own + waits.get("seconds", 0) + 20
        assert least <= spec["terminationGracePeriodSeconds"] <= least + 5, name


def test_what_is_trusted_is_mounted_where_the_settings_say():
    for name, pod in pod_templates(render("everything")).items():
        if name == "health-check":
            continue
        (container,) = pod["spec"]["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        files = {
            f"{mounts[volume['name']]}/{item['path']}"
            for volume in pod["spec"]["volumes"]
            if "secret" in volume
            for item in volume["secret"]["items"]
        }
        named = {
            variable["value"]
            for setting, variable in environment(pod).items()
            if setting.endswith(("_FILE", "_CERT_PATH"))
        }
        assert named == files - {"/etc/headrace/tls/postgres/ca.crt"}
        assert "/etc/headrace/tls/postgres/ca.crt" in files


def test_specs_come_from_the_values_or_from_a_volume_of_the_user_s():
    def source(documents):
        return {
            name: next(v for v in pod["spec"]["volumes"] if v["name"] == "datasets")
            for name, pod in pod_templates(documents).items()
            if name != "health-check"
        }

    mounted = source(render("everything"))
    maps = {m["metadata"]["name"]: m["data"] for m in of_kind(render("everything"), "ConfigMap")}
    for name, volume in mounted.items():
        assert maps[volume["configMap"]["name"]].keys() == {"bakery.yaml"}
        assert volume["configMap"]["optional"] is False
        assert ("migrate" in volume["configMap"]["name"]) == (name == "migrate")
    claimed = source(render("identity"))
    assert claimed["validator"]["persistentVolumeClaim"] == {"claimName": "specs", "readOnly": True}
    own = source(render("minimal", "--set", "datasets.existingConfigMap=mine"))
    assert {volume["configMap"]["name"] for volume in own.values()} == {"mine"}
