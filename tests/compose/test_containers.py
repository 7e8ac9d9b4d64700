"""What runs: healthy, without rights, from images that hold what they need and no more."""

import json

import pytest

from shared import __version__
from tests.compose.environment import IMAGE_TAG
from tests.compose.project import inspect, run
from tests.compose.system import SERVERS, SERVICES, System

OURS = (*SERVICES, "mlflow")
PUBLISHED = {
    "kafka": 1,
    "postgres": 1,
    "minio": 2,
    "mlflow": 1,
    "ingestor": 1,
    "console": 1,
}
"""How many ports of each service this host can reach."""
OF_THE_TRAINER = {"scikit-learn", "mlflow", "mlflow-skinny", "matplotlib", "skops", "scipy", "dask"}
BUILD_TOOLS = ("gcc", "cc", "make", "pip", "uv", "git", "curl", "wget")
MEBIBYTE = 2**20


def test_every_container_is_healthy_and_every_service_ready(system: System) -> None:
    for service in (*SERVERS, *SERVICES):
        assert system.project.health(system.project.container(service)) == "healthy", service
    for service in SERVICES:
        container = system.project.container(service)
        assert system.ask(container, "/readyz").body == {"status": "ready", "down": {}}, service
        assert system.ask(container, "/healthz").status == 200, service
        info = system.ask(container, "/info").body
        assert info["service"] == service
        assert info["version"] == __version__


def test_migrate_has_ended_well_and_again_changes_nothing(system: System) -> None:
    state = system.project.inspect("migrate")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema !~ '^pg_'"
    before = system.scalar(tables)
    system.project.compose("run", "-T", "--rm", "--no-deps", "migrate")
    assert system.scalar(tables) == before


@pytest.mark.parametrize("service", OURS)
def test_a_container_of_ours_has_no_rights_and_can_write_nothing_but_its_scratch(
    system: System, service: str
) -> None:
    container = system.project.container(service)
    facts = inspect(container)
    limits = facts["HostConfig"]
    assert limits["ReadonlyRootfs"]
    assert limits["CapDrop"] == ["ALL"]
    assert not limits["CapAdd"]
    assert not limits["Privileged"]
    assert "no-new-privileges:true" in limits["SecurityOpt"]
    assert limits["Memory"] > 0
    code = """
import json, os, pathlib
def can_write(folder):
    try:
        (pathlib.Path(folder) / "probe").touch()
        return True
    except OSError:
        return False
status = dict(l.split(":", 1) for l in pathlib.Path("/proc/self/status").read_text().splitlines())
print(json.dumps({
    "uid": os.getuid(),
    "capabilities": int(status["CapEff"], 16),
    "writable": [f for f in ("/", "/app", "/etc", "/usr", "/datasets", "/tmp") if can_write(f)],
}))
"""
    found = json.loads(system.project.exec(container, "python", "-c", code))
    assert found["uid"] != 0
    assert found["capabilities"] == 0
    assert found["writable"] == ["/tmp"]  # noqa: S108


@pytest.mark.parametrize("service", ["kafka", "postgres"])
def test_a_servers_processes_are_not_roots(system: System, service: str) -> None:
    said = run("docker", "top", system.project.container(service), "-eo", "uid,pid,args")
    processes = [line.split(None, 2) for line in said.splitlines()[1:]]
    servers = [each for each in processes if "docker-init" not in each[2]]
    assert servers
    assert all(uid != "0" for uid, *_ in servers), said


def test_images_say_their_version_and_commit(system: System, commit: str) -> None:
    for service in (*OURS, "migrate"):
        image = inspect(system.project.inspect(service)["Image"])
        labels = image["Config"]["Labels"]
        assert labels["org.opencontainers.image.version"] == IMAGE_TAG, service
        assert labels["org.opencontainers.image.revision"] == commit, service
        size = image["Size"] / MEBIBYTE
        name = "cli" if service == "migrate" else service
        system.timings.facts.append((f"image of {name}", f"{size:7.0f} MiB"))


def test_the_ingestors_image_has_nothing_of_the_trainers(system: System) -> None:
    packages = _packages(system, "ingestor")
    assert "pyarrow" in packages
    assert not packages & OF_THE_TRAINER
    assert _packages(system, "trainer") >= {"scikit-learn", "mlflow"}
    for service in ("notifier", "snapshotter", "validator"):
        assert not _packages(system, service) & {"mlflow", "matplotlib", "skops"}, service


def _packages(system: System, service: str) -> set[str]:
    code = (
        "import importlib.metadata as m, json\n"
        "print(json.dumps([d.metadata['Name'].lower() for d in m.distributions()]))"
    )
    return set(
        json.loads(system.project.exec(system.project.container(service), "python", "-c", code))
    )


@pytest.mark.parametrize("service", OURS)
def test_an_image_of_ours_has_nothing_to_build_or_fetch_with(system: System, service: str) -> None:
    code = f"import json, shutil; print(json.dumps([t for t in {BUILD_TOOLS} if shutil.which(t)]))"
    found = system.project.exec(system.project.container(service), "python", "-c", code)
    assert json.loads(found) == []


def test_nothing_but_the_intended_ports_is_open_and_those_only_on_loopback(system: System) -> None:
    for service in (*SERVERS, *SERVICES):
        facts = system.project.inspect(service)
        # What was asked for, and what came of it: on an internal network that is nothing.
        for ports in (facts["HostConfig"]["PortBindings"], facts["NetworkSettings"]["Ports"]):
            bindings = [binding for each in ports.values() for binding in each or ()]
            assert all(binding["HostIp"] == "127.0.0.1" for binding in bindings), (service, ports)
            assert len(bindings) == PUBLISHED.get(service, 0), (service, ports)


def test_what_publishes_nothing_has_no_way_out(system: System) -> None:
    (data,) = json.loads(run("docker", "network", "inspect", f"{system.project.name}_data"))
    assert data["Internal"]
    for service in ("validator", "snapshotter", "trainer"):
        networks = system.project.inspect(service)["NetworkSettings"]["Networks"]
        assert list(networks) == [f"{system.project.name}_data"], service


def test_every_log_is_rotated(system: System) -> None:
    for service in (*SERVERS, *SERVICES, "migrate"):
        log = system.project.inspect(service)["HostConfig"]["LogConfig"]
        assert log["Type"] == "json-file", service
        assert log["Config"] == {"max-size": "10m", "max-file": "5"}, service


def test_the_store_is_closed_to_whoever_has_no_keys(system: System) -> None:
    bucket = system.settings.bucket("landing")
    code = run(
        *("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"),
        f"{system.settings.s3_endpoint_url}/{bucket}",
    )
    assert code == "403"
