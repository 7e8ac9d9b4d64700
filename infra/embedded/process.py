"""One child process that outlives the command which started it: launched, found again, stopped."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from pydantic import BaseModel

from infra.embedded.logs import make_room

# Every process of a stack inherits this variable with the stack's folder, so that one which
# no record names (its parent was killed, the state file was lost) can still be found and ended.
MARK = "HEADRACE_STACK"
POLL_SECONDS = 0.02
KILL_SECONDS = 5.0


@dataclass(frozen=True)
class Command:
    """What is needed to start a process.

    `environment` is what we decide, and part of the fingerprint; `inherited` comes from the
    caller's shell and may differ from one `up` to the next without a restart.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    inherited: Mapping[str, str] = field(repr=False)
    directory: Path | None = None
    user: int | None = None

    def fingerprint(self) -> str:
        """Changes whenever a running process would have to be started anew to be as `self` says."""
        facts = [self.argv, sorted(self.environment.items()), self.user]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


class ProcessRecord(BaseModel):
    """All that a later command must know to find a process, name it and stop it."""

    pid: int
    created: float
    fingerprint: str
    log: Path
    log_offset: int
    stage: int
    stop_signal: int
    grace_seconds: float


def launch(
    command: Command,
    *,
    root: Path,
    log: Path,
    stage: int,
    stop_signal: signal.Signals,
    grace_seconds: float,
) -> ProcessRecord:
    """Start `command` in a session of its own, its output appended to `log`.

    Raises:
        OSError: the program can't be executed.

    """
    offset = make_room(log)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**command.inherited, **command.environment, MARK: str(root)},
            cwd=command.directory,
            start_new_session=True,
            user=command.user,
            group=command.user,
            extra_groups=None if command.user is None else [],
        )
    # The record watches the process from here on; Popen would complain that it still runs.
    child.returncode = 0
    try:
        created = psutil.Process(child.pid).create_time()
    except psutil.NoSuchProcess:
        created = time.time()
    return ProcessRecord(
        pid=child.pid,
        created=created,
        fingerprint=command.fingerprint(),
        log=log,
        log_offset=offset,
        stage=stage,
        stop_signal=stop_signal,
        grace_seconds=grace_seconds,
    )


def find(record: ProcessRecord) -> psutil.Process | None:
    """The process of `record`; None if it ended, also when its pid is another one's by now."""
    try:
        process = psutil.Process(record.pid)
        # Two seconds: what Linux reports moves with the clock's corrections.
        if abs(process.create_time() - record.created) > 2 or is_gone(process):
            return None
    except psutil.NoSuchProcess:
        return None
    return process


def is_gone(process: psutil.Process) -> bool:
    """Whether `process` has ended. One that waits for us to notice is released."""
    try:
        if process.is_running() and (
            # A zombie with threads still holds its files and its ports.
            process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
        ):
            return False
        os.waitpid(process.pid, os.WNOHANG)
    except (psutil.NoSuchProcess, ChildProcessError):
        pass
    return True


def stop(process: psutil.Process, stop_signal: int, grace_seconds: float) -> None:
    """End `process` and all its descendants.

    The process gets `stop_signal`; what is left of the family after `grace_seconds` is killed.
    """
    try:
        children = process.children(recursive=True)
        process.send_signal(stop_signal)
    except psutil.NoSuchProcess:
        return
    _bury([process, *children], grace_seconds)


def end(processes: Iterable[psutil.Process], stop_signal: int, grace_seconds: float) -> None:
    """Give each process `stop_signal`; kill what is left after `grace_seconds`."""
    family = list(processes)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(stop_signal)
    _bury(family, grace_seconds)


def _bury(family: list[psutil.Process], grace_seconds: float) -> None:
    """Wait for every process of `family` to end; kill what is left after `grace_seconds`."""
    left = _wait(family, grace_seconds)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _wait(left, KILL_SECONDS)


def _wait(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    deadline = time.monotonic() + seconds
    left = [process for process in processes if not is_gone(process)]
    while left and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        left = [process for process in left if not is_gone(process)]
    return left


def strays(root: Path, records: Iterable[ProcessRecord]) -> list[psutil.Process]:
    """The processes of the stack in `root` that neither are nor descend from one in `records`."""
    known: set[int] = set()
    for record in records:
        if process := find(record):
            known |= {process.pid, *(child.pid for child in process.children(recursive=True))}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in known and process.environ().get(MARK) == str(root):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return [process for process in found if not is_gone(process)]
