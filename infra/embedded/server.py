"""What the stack asks of each of its processes, server or service."""

import signal
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from infra.embedded.errors import ProgramMissing
from infra.embedded.process import Command

LOOPBACK = "127.0.0.1"


class Stage(IntEnum):
    """The order of starting; stopping goes the other way round."""

    STORE = 0
    SERVER = 1
    SERVICE = 2


class Server(Protocol):
    """One process of the stack. Making one does nothing; its ports are decided before."""

    @property
    def name(self) -> str:
        """How people call it; also the name of its log."""

    @property
    def stage(self) -> Stage:
        """When it stops: before everything of a lower stage."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the processes that must be ready before this one starts."""

    @property
    def address(self) -> str:
        """Where it answers, without secrets."""

    @property
    def stop_signal(self) -> signal.Signals:
        """The signal on which it ends in good order."""

    @property
    def grace_seconds(self) -> float:
        """How long it may take to do so."""

    @property
    def deadline_seconds(self) -> float:
        """How long it may take to become ready."""

    @property
    def try_again_on(self) -> tuple[str, ...]:
        """Texts in the log of a start that failed for a reason which passes by itself."""

    def prepare(self) -> None:
        """Put on disk what the process needs. Called before each start; must be repeatable."""

    def command(self) -> Command:
        """How to start it."""

    def is_ready(self) -> bool:
        """Whether it does its work now. Answers within a few seconds and raises nothing."""


def server_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """What a server may see of the caller's environment.

    Not more than this: a proxy, an AWS session or a setting of the server's own that happens to be
    set in somebody's shell must not change how it runs.
    """
    wanted = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
    return {name: inherited[name] for name in wanted if name in inherited}


def program_path(directory: Path, program: str, package: str) -> str:
    """The path of a wheel's program.

    Raises:
        ProgramMissing: the wheel is not installed.

    """
    path = directory / program
    if not path.is_file():
        raise ProgramMissing(program, package)
    return str(path)
