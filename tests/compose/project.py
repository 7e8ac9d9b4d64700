"""One compose project, driven by whichever of `docker compose` and `docker-compose` is there."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.docker.compose import builder_variables
from tests.conftest import REPOSITORY

COMMAND_SECONDS = 1800.0
# What of the caller's shell the commands get. The rest could change the compose file's variables.
KEPT = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH")


class CommandFailed(AssertionError):
    """A docker command failed; the message has what it said."""


def run(*argv: str, environment: Mapping[str, str] | None = None, code: int | None = 0) -> str:
    """What a command prints, both streams; its exit code must be `code`, unless that is None."""
    done = subprocess.run(
        argv,
        cwd=REPOSITORY,
        env={name: os.environ[name] for name in KEPT if name in os.environ} | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if code is not None and done.returncode != code:
        end = "\n".join(done.stdout.splitlines()[-60:])
        raise CommandFailed(f"`{' '.join(argv)}` ended with {done.returncode}:\n{end}")
    return done.stdout


@dataclass(frozen=True)
class Project:
    """The containers, volumes and networks of the name `name`, with the variables in `env_file`."""

    name: str
    command: tuple[str, ...]
    env_file: Path
    environment: Mapping[str, str] = field(default_factory=builder_variables)

    def compose(self, *arguments: str, code: int | None = 0) -> str:
        """What a compose command prints."""
        return run(
            *self.command,
            *("--project-name", self.name, "--env-file", str(self.env_file)),
            *("--file", str(REPOSITORY / "docker-compose.yml")),
            *arguments,
            environment=self.environment,
            code=code,
        )

    def containers(self, service: str | None = None, *, also_stopped: bool = False) -> list[str]:
        """The ids of the project's containers, or of a service's."""
        filters = [f"label=com.docker.compose.project={self.name}"]
        if service is not None:
            filters.append(f"label=com.docker.compose.service={service}")
        options = [word for each in filters for word in ("--filter", each)]
        return run(
            "docker", "ps", "--quiet", *(["--all"] if also_stopped else []), *options
        ).split()

    def container(self, service: str) -> str:
        """The id of a service's only container."""
        (found,) = self.containers(service, also_stopped=True)
        return found

    def inspect(self, service: str) -> dict[str, Any]:
        """What Docker says of a service's container."""
        return inspect(self.container(service))

    def health(self, container: str) -> str:
        """`healthy`, `starting`, `unhealthy`; without a check `running` or what else it is."""
        state = inspect(container)["State"]
        if state["Status"] != "running":
            return str(state["Status"])
        return str(state["Health"]["Status"]) if "Health" in state else "running"

    def exec(self, container: str, *argv: str, code: int | None = 0) -> str:
        """What a command prints inside a container."""
        return run("docker", "exec", container, *argv, code=code)

    def save_logs(self, folder: Path) -> None:
        """Write each container's log, state and health checks to `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        for container in self.containers(also_stopped=True):
            facts = inspect(container)
            name = facts["Name"].lstrip("/")
            said = run("docker", "logs", "--timestamps", container, code=None)
            (folder / f"{name}.log").write_text(said, encoding="utf-8")
            state = json.dumps(facts["State"], indent=2)
            (folder / f"{name}.state.json").write_text(state, encoding="utf-8")

    def take_down(self) -> None:
        """Remove containers, networks and volumes, whatever state they are in."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", code=None)
        if left := self.containers(also_stopped=True):
            run("docker", "rm", "--force", "--volumes", *left, code=None)
        for kind in ("network", "volume"):
            label = f"label=com.docker.compose.project={self.name}"
            if left := run("docker", kind, "ls", "--quiet", "--filter", label).split():
                run("docker", kind, "rm", *left, code=None)


def projects(prefix: str) -> list[str]:
    """The names of the compose projects that have containers, running or not."""
    label = "com.docker.compose.project"
    shown = ("--format", f'{{{{.Label "{label}"}}}}')
    names = run("docker", "ps", "--all", "--filter", f"label={label}", *shown).split()
    return sorted({name for name in names if name.startswith(prefix)})


def inspect(thing: str) -> dict[str, Any]:
    """What Docker says of a container or an image."""
    (facts,) = json.loads(run("docker", "inspect", thing))
    return dict(facts)
