"""Headrace's own services as processes of the stack."""

import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from infra.embedded.environment import BROKER_SECURITY, STORE_SECURITY
from infra.embedded.errors import ServicesMissing
from infra.embedded.private_file import make_private_directory
from infra.embedded.probe import answers_ok
from infra.embedded.process import Command
from infra.embedded.server import LOOPBACK, Stage

# Of the caller's shell these would change which credentials the AWS library uses, and have a stack
# that was given no targets, as that of a test, tell people.
NOT_INHERITED = (
    *("AWS_PROFILE", "AWS_SESSION_TOKEN", "NOTIFY_URLS"),
    # Where they belong to a given server, they are among what the stack passes on itself.
    *(*BROKER_SECURITY, *STORE_SECURITY),
)


DEADLINE_SECONDS = 60.0
DEADLINE_SECONDS_A_PROCESS = 10.0
"""They start at the same time and share the cores: importing takes each some seconds of one."""


@dataclass(frozen=True)
class ServiceSpec:
    """One process of the service `name`: its first, or another replica of it."""

    name: str
    module: str
    replica: int = 1
    """Counted from 1."""

    @property
    def process(self) -> str:
        """How the process is called: the first one like the service, the second `<name>-2`."""
        return self.name if self.replica == 1 else f"{self.name}-{self.replica}"

    def replicas(self, count: int) -> tuple["ServiceSpec", ...]:
        """The first `count` processes of this service."""
        return tuple(replace(self, replica=number) for number in range(1, count + 1))


def service_of(process: str) -> str:
    """The name of the service that the process called `process` is a replica of."""
    service, _, number = process.rpartition("-")
    return service if service and number.isdecimal() else process


CONSOLE = "console"
SERVICES = (
    ServiceSpec("ingestor", "services.ingestor.app"),
    ServiceSpec("validator", "services.validator.app"),
    ServiceSpec("snapshotter", "services.snapshotter.app"),
    ServiceSpec("trainer", "services.trainer.app"),
    ServiceSpec("notifier", "services.notifier.app"),
    ServiceSpec(CONSOLE, "services.console.app"),
)


def ensure_installed() -> None:
    """Raise `ServicesMissing` unless all services are part of this installation."""
    missing = [spec.name for spec in SERVICES if find_spec(spec.module.rpartition(".")[0]) is None]
    if missing:
        raise ServicesMissing(missing)


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
    others: Mapping[str, str] = field(default_factory=dict)
    """The addresses of all services by name, for the console, which asks them how they do."""
    deadline_seconds: float = DEADLINE_SECONDS
    # Nothing: the stack starts services only when the servers are ready and migrated.
    needs: tuple[str, ...] = ()

    stage = Stage.SERVICE
    stop_signal = signal.SIGTERM
    # A service has ten seconds to finish or abandon the record in hand.
    grace_seconds = 12.0
    try_again_on = ("address already in use",)

    @property
    def name(self) -> str:
        """The process's name in the spec."""
        return self.spec.process

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
            "REPLICA_NAME": self.name,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GX_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "true",
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self.scratch),
        }
        if self.spec.name == CONSOLE:
            said = " ".join(f"{name}={address}" for name, address in self.others.items())
            environment.setdefault("CONSOLE_SERVICES", said)
        if instance := self.environment.get("CONSUMER_INSTANCE_ID"):
            environment["CONSUMER_INSTANCE_ID"] = f"{instance}-{self.spec.replica}"
        argv = (sys.executable, "-m", self.spec.module)
        return Command(argv, environment, inherited, directory=self.directory)

    def is_ready(self) -> bool:
        """Ask `/readyz`, which also asks the servers behind it."""
        return answers_ok(f"{self.address}/readyz")
