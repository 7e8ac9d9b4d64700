"""The `.env` of a run: what `make setup` would write, on ports that are free here."""

import socket
from collections.abc import Mapping
from pathlib import Path

from infra.docker.env_file import first, variables
from infra.embedded.checkout import head_commit
from infra.embedded.private_file import write_private
from shared import __version__
from shared.settings import Settings
from tests.conftest import REPOSITORY

IMAGE_TAG = f"{__version__}-e2e"
"""Of the images that a run builds, so that it replaces nobody's."""
PORTS = (
    "KAFKA_PORT",
    "POSTGRES_PORT",
    "MINIO_PORT",
    "MINIO_CONSOLE_PORT",
    "MLFLOW_PORT",
    "INGESTOR_PORT",
    "CONSOLE_PORT",
)
"""Of all that a run starts."""


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody has, each another."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def write_variables(path: Path, chosen: Mapping[str, str]) -> dict[str, str]:
    """Write `path` as `make setup` would, with free ports and `chosen` in it; every variable."""
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    ours = {
        "GIT_COMMIT": head_commit() or "unknown",
        "HEADRACE_VERSION": IMAGE_TAG,
        **ports,
        **chosen,
    }
    text = first((REPOSITORY / ".env.example").read_text(encoding="utf-8"))
    kept = {each.name: each.value for each in variables(text) if each.is_on}
    found = kept | ours
    lines = "".join(f"{name}={value}\n" for name, value in found.items())
    write_private(path, lines.encode())
    return found


def settings_from_host(found: Mapping[str, str]) -> Settings:
    """The settings with which a process on this host reaches the servers."""
    password = found["HEADRACE_DB_PASSWORD"]
    return Settings.model_validate(
        {
            "database_url": (
                f"postgresql://headrace:{password}@127.0.0.1:{found['POSTGRES_PORT']}/headrace"
            ),
            "kafka_bootstrap_servers": f"127.0.0.1:{found['KAFKA_PORT']}",
            "s3_endpoint_url": f"http://127.0.0.1:{found['MINIO_PORT']}",
            "aws_access_key_id": found.get("MINIO_ROOT_USER", "headrace"),
            "aws_secret_access_key": found["MINIO_ROOT_PASSWORD"],
            "mlflow_tracking_uri": f"http://127.0.0.1:{found['MLFLOW_PORT']}",
            "api_token": found["API_TOKEN"],
        }
    )
