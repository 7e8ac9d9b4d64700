"""The services as child processes of the test, so that it has their exit codes."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine

from infra.embedded.ports import claim
from infra.embedded.services import SERVICES, Service
from shared.fail_points import MARK
from shared.settings import Settings
from tests.waiting import wait_until

POLL_SECONDS = 0.3
"""Dozens of datasets and services are waited for at once, each by a query or a look of its own."""

STOP_SECONDS = 15.0


@dataclass
class Services:
    """The five services on the servers of a stack, one process each."""

    root: Path
    environment: Mapping[str, str]
    settings: Settings
    engine: Engine
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _begun_at: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        (self.root / "logs").mkdir(parents=True, exist_ok=True)
        self._ports = claim([spec.name for spec in SERVICES], {}, set())

    @property
    def loads_address(self) -> str:
        """Where loads are asked for."""
        return f"http://127.0.0.1:{self._ports['ingestor']}/loads"

    @property
    def token(self) -> dict[str, str]:
        """The header that lets one ask."""
        return {"Authorization": f"Bearer {self.environment['API_TOKEN']}"}

    def start(self, name: str, fail_point: str = "") -> None:
        """Start a service, armed with a fail point if one is given."""
        (spec,) = [each for each in SERVICES if each.name == name]
        service = Service(
            spec,
            self._ports[name],
            {**self.environment, "FAIL_POINT": fail_point},
            dict(os.environ),
            Path.cwd(),
            scratch=self.root / "scratch" / name,
        )
        service.prepare()
        command = service.command()
        log = self.log(name)
        with self._lock, log.open("ab") as output:
            self._begun_at[name] = output.tell()
            self._running[name] = subprocess.Popen(
                command.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**command.inherited, **command.environment},
            )

    def restart(self, name: str, fail_point: str = "") -> None:
        """Start it, armed; kill the one that runs."""
        if name in self._running:
            self._running[name].kill()
            self._running[name].wait()
        self.start(name, fail_point)

    def is_running(self, name: str) -> bool:
        """Whether it was started and hasn't ended."""
        return name in self._running and self._running[name].poll() is None

    def log(self, name: str) -> Path:
        """What a service writes, over all its lives."""
        return self.root / "logs" / f"{name}.log"

    def said(self, name: str) -> str:
        """What it has written in its present life, or its last."""
        with self.log(name).open("rb") as log:
            log.seek(self._begun_at[name])
            return log.read().decode(errors="replace")

    def await_kill(
        self, name: str, point: str, seconds: float, is_over: Callable[[], bool]
    ) -> bool:
        """Wait until the service has died at `point`, by SIGKILL and with these last words.

        False where `is_over` says that nobody will come to the point any more. Fails after
        `seconds`.
        """
        process = self._running[name]
        wait_until(
            lambda: process.poll() is not None or is_over(),
            seconds=seconds,
            what=f"the {name} dies at {point}",
            every=POLL_SECONDS,
        )
        code, words = process.poll(), self.said(name)
        if code is None:
            return False
        assert code == -signal.SIGKILL, f"the {name} ended with {code}: {words[-3000:]}"
        assert f"{MARK} {point}\n" in words, f"the {name} died elsewhere: {words[-3000:]}"
        return True

    def dead(self) -> dict[str, str]:
        """The services that have ended, with the ends of what they wrote."""
        return {
            name: self.said(name)[-3000:]
            for name, process in self._running.items()
            if process.poll() is not None
        }

    def stop(self) -> None:
        """Stop all of them."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
