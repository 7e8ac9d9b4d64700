"""The compose command of this machine: version 2 where it is there, else docker-compose 1.29.

`python -m infra.docker.compose up --detach` becomes it, with the variables that it needs here.
"""

import os
import shutil
import subprocess
import sys


def compose_command() -> tuple[str, ...] | None:
    """The words of the command, or None where there is none."""
    if shutil.which("docker") is None:
        return None
    if _succeeds("docker", "compose", "version"):
        return ("docker", "compose")
    return ("docker-compose",) if shutil.which("docker-compose") else None


def builder_variables() -> dict[str, str]:
    """What has it build with the builder before BuildKit where BuildKit's client is missing."""
    if _succeeds("docker", "buildx", "version"):
        return {}
    return {"DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0"}


def main() -> None:
    """Become the command. Exits with 2 where there is none."""
    command = compose_command()
    if command is None:
        print(
            "docker compose is missing; on Debian: apt-get install docker.io docker-compose",
            file=sys.stderr,
        )
        sys.exit(2)
    argv = (*command, *sys.argv[1:])
    os.execvpe(argv[0], argv, {**builder_variables(), **os.environ})  # noqa: S606


def _succeeds(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
