"""Bringing one process of the stack up, and down again."""

import signal
import threading
import time
from pathlib import Path

from infra.embedded import process
from infra.embedded.errors import ProcessDied, ProcessNotReady, StartAbandoned
from infra.embedded.logs import log_path, tail
from infra.embedded.process import Command, ProcessRecord
from infra.embedded.server import Server
from infra.embedded.state import StateFile

POLL_SECONDS = 0.05
TRY_AGAIN_SECONDS = 0.5
STRAY_GRACE_SECONDS = 5.0


class Launcher:
    """Starts and stops the processes recorded in `state`, whose lock its maker holds.

    Its methods may be called from several threads, for different processes.
    """

    def __init__(self, root: Path, state: StateFile) -> None:
        self._root = root
        self._state = state
        self._abandoned = threading.Event()

    def abandon(self) -> None:
        """Make every `bring_up` that still waits give up soon, its process left as it is."""
        self._abandoned.set()

    def bring_up(self, server: Server) -> None:
        """Start `server` unless it runs as it should, and wait until it is ready.

        One that runs with other settings is stopped first. The record is written as soon as the
        process exists, so that nothing can be started and forgotten.

        Raises:
            ProcessDied: it ended, and not for a reason that passes by itself.
            ProcessNotReady: it does not answer within its deadline.
            StartAbandoned: `abandon` was called.

        """
        if self._abandoned.is_set():
            raise StartAbandoned(server.name)
        deadline = time.monotonic() + server.deadline_seconds
        command = server.command()
        record = self._state.read().processes.get(server.name)
        running = process.find(record) if record else None
        if record and running and record.fingerprint != command.fingerprint():
            self.take_down(server.name)
            running = None
        if record is None or running is None:
            server.prepare()
            record = self._launch(server, command)
        while not self._abandoned.is_set():
            is_alive = process.find(record) is not None
            if is_alive and server.is_ready():
                return
            end = tail(record.log, offset=record.log_offset)
            is_late = time.monotonic() > deadline
            if is_alive and is_late:
                raise ProcessNotReady(server.name, server.deadline_seconds, record.log, end)
            if is_alive:
                self._abandoned.wait(POLL_SECONDS)
                continue
            if is_late or not any(text in end for text in server.try_again_on):
                raise ProcessDied(server.name, record.log, end)
            self._abandoned.wait(TRY_AGAIN_SECONDS)
            record = self._launch(server, command)
        raise StartAbandoned(server.name)

    def take_down(self, name: str) -> float:
        """Stop the process recorded as `name`, if it runs; return the seconds that took."""
        begun = time.monotonic()
        record = self._state.read().processes[name]
        if found := process.find(record):
            process.stop(found, record.stop_signal, record.grace_seconds)
        return time.monotonic() - begun

    def dismiss(self, name: str) -> float:
        """Forget the process recorded as `name` and stop it; return the seconds that took.

        In this order: whoever watches would take one that is recorded and gone for a death.
        """
        begun = time.monotonic()
        with self._state.change() as state:
            record = state.processes.pop(name)
        if found := process.find(record):
            process.stop(found, record.stop_signal, record.grace_seconds)
        return time.monotonic() - begun

    def end_strays(self) -> None:
        """End what belongs to this stack but to no record: what a killed process left behind."""
        strays = process.strays(self._root, self._state.read().processes.values())
        process.end(strays, signal.SIGTERM, STRAY_GRACE_SECONDS)

    def _launch(self, server: Server, command: Command) -> ProcessRecord:
        with self._state.change() as state:
            record = process.launch(
                command,
                root=self._root,
                log=log_path(self._root, server.name),
                stage=server.stage,
                stop_signal=server.stop_signal,
                grace_seconds=server.grace_seconds,
            )
            state.processes[server.name] = record
        return record
