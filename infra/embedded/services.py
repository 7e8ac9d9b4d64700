"""Headrace's own services as processes of the stack."""

import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.embedded.private_file import make_private_directory
from infra.embedded.probe import answers_ok
from infra.embedded.process import Command
from infra.embedded.server import LOOPBACK, Stage

# Of the caller's shell these would change which credentials the AWS library uses, and have a stack
# that was given no targets, as that of a test, tell people.
NOT_INHERITED = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "NOTIFY_URLS")


@dataclass(frozen=True)
class ServiceSpec:
    """One process of a service. Several may run the same module, each with its own name."""

    name: str
    module: str


SERVICES = (
    ServiceSpec("ingestor", "services.ingestor.app"),
    ServiceSpec("validator", "services.validator.app"),
    ServiceSpec("snapshotter", "services.snapshotter.app"),
    ServiceSpec("trainer", "services.trainer.app"),
    ServiceSpec("notifier", "services.notifier.app"),
)


@dataclass(frozen=True)
class Service:
    """A service's process. Ready means: `/readyz` says so."""

    spec: ServiceSpec
    port: int
    environment: Mapping[str, str] = field(repr=False)
    inherited: Mapping[str, str] = field(repr=False)
    directory: Path
    scratch: Path
    """For its temporary files; what a killed one left there is removed before the next start."""
    # Nothing: the stack starts services only when the servers are ready and migrated.
    needs: tuple[str, ...] = ()

    stage = Stage.SERVICE
    stop_signal = signal.SIGTERM
    # A service has ten seconds to finish or abandon the record in hand.
    grace_seconds = 12.0
    deadline_seconds = 60.0
    try_again_on = ("address already in use",)

    @property
    def name(self) -> str:
        """The name in the spec."""
        return self.spec.name

    @property
    def address(self) -> str:
        """The URL of its endpoints."""
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Empty the folder of its temporary files: a service keeps nothing on disk."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        make_private_directory(self.scratch)

    def command(self) -> Command:
        """The service's module under this Python, reached without a proxy's help."""
        hosts = ",".join(filter(None, (self.inherited.get("NO_PROXY"), LOOPBACK, "localhost")))
        inherited = {k: v for k, v in self.inherited.items() if k not in NOT_INHERITED}
        inherited |= {"NO_PROXY": hosts, "no_proxy": hosts}
        environment = {
            **self.environment,
            "HTTP_HOST": LOOPBACK,
            "HTTP_PORT": str(self.port),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GX_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "true",
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self.scratch),
        }
        argv = (sys.executable, "-m", self.spec.module)
        return Command(argv, environment, inherited, directory=self.directory)

    def is_ready(self) -> bool:
        """Ask `/readyz`, which also asks the servers behind it."""
        return answers_ok(f"{self.address}/readyz")
