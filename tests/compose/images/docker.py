"""Running programs for the stand-ins, with an error that shows what they said."""

import shutil
import subprocess
from typing import IO

BUILD_SECONDS = 1800.0


class StandInError(Exception):
    """A stand-in could not be built. The message says why and what to do."""


def run(*argv: str, stdin: IO[bytes] | None = None) -> str:
    """Run a program to its end and return what it wrote to standard output.

    Raises:
        StandInError: it failed; with the last lines that it wrote.

    """
    done = subprocess.run(
        argv,
        stdin=stdin or subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        end = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise StandInError(f"`{' '.join(argv)}` failed with {done.returncode}:\n{end}")
    return done.stdout


def docker(*arguments: str, stdin: IO[bytes] | None = None) -> str:
    """Run the docker client. Raises as `run` does."""
    return run("docker", *arguments, stdin=stdin)


def need_docker() -> None:
    """Raise StandInError, saying what is missing, unless there is a client and a server answers."""
    if shutil.which("docker") is None:
        raise StandInError("docker is missing; on Debian: apt-get install docker.io docker-compose")
    try:
        docker("version", "--format", "{{.Server.Version}}")
    except StandInError as error:
        raise StandInError(f"no Docker server answers: start it (dockerd).\n{error}") from None


def has_image(tag: str) -> bool:
    """Whether the local Docker has an image of that tag."""
    return bool(docker("image", "ls", "--quiet", tag).strip())
