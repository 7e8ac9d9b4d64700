"""The code of each image, laid out as its Dockerfile does, and run with nothing else of ours."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.embedded.services import SERVICES
from tests.conftest import REPOSITORY

DOCKERFILE = (REPOSITORY / "infra/docker/Dockerfile").read_text(encoding="utf-8")


@pytest.fixture
def laid_out(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The folder `/app` of the image that is asked for, without its packages."""
    (stage,) = re.findall(
        rf"^FROM runtime AS {request.param}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S
    )
    for line in re.findall(r"^COPY (?!--from)(.+)$", stage, re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            to = tmp_path / target / (Path(source).name if target.endswith("/") else "")
            to.parent.mkdir(parents=True, exist_ok=True)
            if (REPOSITORY / source).is_dir():
                shutil.copytree(REPOSITORY / source, to)
            else:
                shutil.copy(REPOSITORY / source, to)
    return tmp_path


def python(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", *argv],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("laid_out", [spec.name for spec in SERVICES], indirect=True)
def test_a_service_starts_with_the_code_of_its_image(
    laid_out: Path, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["laid_out"]
    done = python(laid_out, "-c", f"import services.{name}.app as app; print(app.__file__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(laid_out))


@pytest.mark.parametrize("laid_out", ["mlflow"], indirect=True)
def test_mlflows_server_says_what_it_is_not_told(laid_out: Path) -> None:
    done = python(laid_out, "-m", "infra.docker.serve_mlflow")
    assert done.returncode == 2
    assert "MLFLOW_BACKEND_STORE_URI is not set" in done.stderr


@pytest.mark.parametrize(
    ("laid_out", "command"),
    [
        *(("cli", command) for command in ("up", "down", "ps", "logs", "demo")),
        ("cli-full", "up"),
    ],
    indirect=["laid_out"],
)
def test_a_command_for_processes_says_who_has_them(laid_out: Path, command: str) -> None:
    done = python(laid_out, ".venv/bin/headrace", command)
    assert done.returncode == 1
    assert "docker compose" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (laid_out / ".headrace").exists()


@pytest.mark.parametrize("laid_out", ["cli"], indirect=True)
def test_a_command_whose_packages_are_elsewhere_says_so(laid_out: Path) -> None:
    spec = REPOSITORY / "datasets/streamflow.yaml"
    done = python(laid_out, ".venv/bin/headrace", "check", str(spec))
    assert done.returncode == 1
    assert "needs services.validator" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("laid_out", ["cli-full"], indirect=True)
def test_the_full_command_checks_a_spec(laid_out: Path) -> None:
    spec = REPOSITORY / "datasets/streamflow.yaml"
    done = python(laid_out, ".venv/bin/headrace", "check", str(spec))
    assert done.returncode == 0, done.stderr
