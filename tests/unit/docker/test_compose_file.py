"""The compose file, the Dockerfile and the example beside what they have to agree with."""

import re
import tomllib
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from ruamel.yaml import YAML

from infra.docker.env_file import variables
from infra.embedded.postgres import CONFIGURATION
from infra.embedded.services import SERVICES
from shared.settings import Settings
from tests.compose.system import SERVERS
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE = (REPOSITORY / "infra/docker/Dockerfile").read_text(encoding="utf-8")
EXAMPLE = variables((REPOSITORY / ".env.example").read_text(encoding="utf-8"))
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
OURS = ("migrate", "mlflow", *(spec.name for spec in SERVICES), "cli")
THIRD_PARTY = {
    "KAFKA_IMAGE": "kafka",
    "POSTGRES_IMAGE": "postgres",
    "MINIO_IMAGE": "minio",
    "PROMETHEUS_IMAGE": "prometheus",
    "GRAFANA_IMAGE": "grafana",
    "JAEGER_IMAGE": "jaeger",
}
# In a container these are what they are: where the servers inside are found, and by the image.
FIXED = {"DATASETS_DIR", "HTTP_HOST", "HTTP_PORT", "GIT_COMMIT"}
FOR_TESTS = {"FAIL_POINT"}
# Variables that are passed on to a library, which has this default: uvicorn.
OF_LIBRARIES = {"FORWARDED_ALLOW_IPS": "127.0.0.1"}
# The servers inside speak plain on a network of their own.
TO_SERVERS_ELSEWHERE = re.compile(r"KAFKA_(?!BOOTSTRAP)|S3_CA_FILE")
# Docker's name for a container is its own, and each has another.
OF_A_REPLICA = {"REPLICA_NAME", "CONSUMER_INSTANCE_ID"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return YAML(typ="safe").load(TEXT)["services"]


def used() -> dict[str, set[str]]:
    """The variables of the compose file with their defaults; those without one have `:?`."""
    found: dict[str, set[str]] = {}
    for name, default in re.findall(r"\$\{([A-Z0-9_]+)(:[-?][^}]*)?\}", TEXT):
        found.setdefault(name, set()).add(default)
    return found


def test_the_example_has_every_variable_with_its_default(services: dict[str, Any]) -> None:
    passed = {
        name
        for service in services.values()
        for name, value in (service.get("environment") or {}).items()
        if value is None
    }
    explained = {variable.name: variable for variable in EXAMPLE}
    assert explained.keys() == used().keys() | passed | {"COMPOSE_PROJECT_NAME"}
    for name, defaults in used().items():
        if explained[name].is_secret:
            assert all(default.startswith(f":?{name} is not set") for default in defaults)
        else:
            assert defaults == {f":-{explained[name].value}"}, name
    for name in passed:
        default = OF_LIBRARIES.get(name) or Settings.model_fields[name.lower()].default
        assert explained[name].value == ("" if default is None else str(default)), name
        assert not explained[name].is_on, name


def test_every_setting_reaches_a_service_or_has_a_reason_not_to(services: dict[str, Any]) -> None:
    given = {name for each in OURS for name in services[each]["environment"]}
    wanted = {name.upper() for name in Settings.model_fields} - FIXED - OF_A_REPLICA - FOR_TESTS
    assert {name for name in wanted - given if not TO_SERVERS_ELSEWHERE.match(name)} == set()


def test_no_container_has_a_secret_that_is_not_for_it(services: dict[str, Any]) -> None:
    for name, service in services.items():
        text = str(service["environment"])
        assert ("${POSTGRES_PASSWORD" in text) == (name in ("postgres", "migrate")), name
        assert ("${MLFLOW_DB_PASSWORD" in text) == (name in ("mlflow", "migrate")), name
        assert ("${CONSOLE_DB_PASSWORD" in text) == (name in ("console", "migrate")), name
        assert ("${GRAFANA_PASSWORD" in text) == (name == "grafana"), name
        assert ("${API_TOKEN" in text) == (name in ("ingestor", "console")), name
        assert ("${CONSOLE_PASSWORD" in text) == (name == "console"), name
        assert ("NOTIFY_URLS" in text) == (name in ("notifier", "cli")), name


def test_mlflows_own_commands_are_told_of_the_driver_that_their_image_has(
    services: dict[str, Any],
) -> None:
    made = services["migrate"]["environment"]["MLFLOW_DATABASE_URL"]
    used = services["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]
    assert used == made.replace("postgresql://", "postgresql+psycopg2://", 1) != made


def test_no_container_of_ours_goes_to_a_server_inside_by_a_proxy(services: dict[str, Any]) -> None:
    for name in OURS:
        environment = services[name]["environment"]
        for variable in ("NO_PROXY", "no_proxy"):
            around = set(environment[variable].split(","))
            assert around >= {*SERVERS, "jaeger", "localhost", "127.0.0.1"}, (name, variable)


def test_every_container_of_ours_is_held_as_tightly_as_the_others(
    services: dict[str, Any],
) -> None:
    for name in OURS:
        service = services[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["stop_grace_period"], name


def test_whatever_is_published_is_published_to_this_machine_alone(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        if service.get("ports"):
            assert "published" in service["networks"], name
        assert "container_name" not in service, "it could not be scaled"


@pytest.mark.parametrize("variable", THIRD_PARTY)
def test_a_third_partys_image_is_pinned_and_can_be_another(
    services: dict[str, Any], variable: str
) -> None:
    image = services[THIRD_PARTY[variable]]["image"]
    found = re.fullmatch(rf"\$\{{{variable}:-[\w./-]+:(?P<tag>[\w.-]+)\}}", image)
    assert found, image
    assert "." in found["tag"] or "-" in found["tag"], "a tag that moves is no pin"


def test_images_have_the_version_of_the_code() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert used()["HEADRACE_VERSION"] == {f":-{project['project']['version']}"}


def test_the_broker_is_of_the_version_that_is_tested_without_docker() -> None:
    pom = ET.parse(REPOSITORY / "infra/kafka/pom.xml")  # noqa: S314 - ours
    version = pom.findtext(".//{*}kafka.version")
    assert f"${{KAFKA_IMAGE:-apache/kafka:{version}}}" in TEXT


def test_the_database_is_tuned_like_the_embedded_one(services: dict[str, Any]) -> None:
    said = dict(option[2:].split("=", 1) for option in services["postgres"]["command"][1:])
    variable = re.compile(r"\$\{[A-Z_]+:-([^}]*)\}")
    for name, value in said.items():
        if name not in ("max_connections", "effective_cache_size"):
            assert variable.sub(r"\1", value) == CONFIGURATION[name], name
    assert CONFIGURATION.keys() - said.keys() == {
        *("listen_addresses", "unix_socket_directories"),
        *("fsync", "full_page_writes", "synchronous_commit"),  # on by default
    }


def test_the_images_are_built_with_the_uv_that_made_the_lock() -> None:
    (version,) = re.findall(r"^UV_VERSION := (.+)$", MAKEFILE, re.MULTILINE)
    assert f"ARG UV_VERSION={version}\n" in DOCKERFILE
    assert "${PYTHON_IMAGE:-" + re.findall(r"^ARG PYTHON_IMAGE=(.+)$", DOCKERFILE, re.M)[0] in TEXT


def test_each_image_has_its_own_services_code_and_no_others() -> None:
    images = dict(
        re.findall(r"^FROM runtime AS (\S+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S)
    )
    names = [spec.name for spec in SERVICES]
    assert images.keys() == {*names, "cli", "cli-full", "mlflow"}
    for name in names:
        assert re.findall(r"^COPY services/(\w+) ", images[name], re.MULTILINE) == [name]
        assert f'"services.{name}.app"' in images[name]


def test_the_dockerfile_needs_no_buildkit() -> None:
    assert "--mount" not in DOCKERFILE
    assert "<<" not in DOCKERFILE
    assert not DOCKERFILE.startswith("# syntax=")
