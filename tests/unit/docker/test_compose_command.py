"""Which compose command a machine has, and what it is given to build with."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

# The programs of a machine, as shell scripts that say how they were called.
SAYS = 'echo "$(basename "$0") $* ${DOCKER_BUILDKIT:-unset} ${COMPOSE_DOCKER_CLI_BUILD:-unset}"\n'
NEITHER = 'case "$1" in buildx | compose) exit 1 ;; esac\n'
NO_BUILDX = '[ "$1" != buildx ] || exit 1\n'


def compose(
    machine: dict[str, str], folder: Path, **given: str
) -> subprocess.CompletedProcess[str]:
    for name, beginning in machine.items():
        (folder / name).write_text(f"#!/bin/sh\n{beginning}{SAYS}", encoding="utf-8")
        (folder / name).chmod(0o755)
    (folder / "basename").symlink_to("/usr/bin/basename")
    return subprocess.run(
        [sys.executable, "-m", "infra.docker.compose", "up", "--build"],
        cwd=REPOSITORY,
        env={"PATH": str(folder), **given},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"docker": ""}, "docker compose up --build unset unset\n"),
        ({"docker": "", "docker-compose": ""}, "docker compose up --build unset unset\n"),
        ({"docker": NO_BUILDX}, "docker compose up --build 0 0\n"),
        ({"docker": NEITHER, "docker-compose": ""}, "docker-compose up --build 0 0\n"),
    ],
)
def test_it_builds_without_buildkit_where_its_client_is_missing(
    machine: dict[str, str], said: str, tmp_path: Path
) -> None:
    done = compose(machine, tmp_path)
    assert (done.stdout, done.stderr) == (said, "")


def test_what_somebody_has_set_stays(tmp_path: Path) -> None:
    machine = {"docker": NEITHER, "docker-compose": ""}
    done = compose(machine, tmp_path, DOCKER_BUILDKIT="1")
    assert done.stdout == "docker-compose up --build 1 0\n"


@pytest.mark.parametrize("machine", [{}, {"docker": NEITHER}, {"docker-compose": ""}])
def test_a_machine_without_it_is_told_what_is_missing(
    machine: dict[str, str], tmp_path: Path
) -> None:
    done = compose(machine, tmp_path)
    assert done.returncode == 2
    assert "docker compose is missing" in done.stderr
