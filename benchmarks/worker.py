"""A contender in a process of its own, so that its memory and its imports are its own.

Parent and child speak JSON, a line each way: the child says that it is ready, then answers every
task with seconds, steps and peak memory. The child ends with its standard input.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Protocol, Self

from benchmarks.memory import peak_bytes

ROLES = {
    "copy": "benchmarks.raw_copy",
    "ingestor": "benchmarks.headrace_ingestor",
    "snapshotter": "benchmarks.headrace_snapshotter",
    "pandas": "benchmarks.pandas_upsert",
    "dlt": "benchmarks.dlt_merge",
}
"""The modules by contender; each has `make()`, which returns its `Role`."""


class Role(Protocol):
    """One contender's work. A call does one load and returns at least its `seconds`."""

    def __call__(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Do the task."""


class WorkerFailed(Exception):
    """A contender ended before it had answered; the message has the end of its log."""


class Worker:
    """The contender `role` as a child process, from `with` to the end of the block.

    `environment` are all the variables it gets beside PATH; `log` takes what it prints.
    """

    def __init__(self, role: str, environment: Mapping[str, str], log: Path) -> None:
        self._role, self._environment, self._log = role, environment, log
        self.import_bytes = 0
        """Peak memory when everything is imported and nothing is done yet."""

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "benchmarks.worker", self._role),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={"PATH": os.environ.get("PATH", os.defpath), **self._environment},
                cwd=Path(__file__).resolve().parent.parent,
            )
        try:
            self.import_bytes = self._answer()["peak_bytes"]
        except WorkerFailed:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        self._pipe(self._process.stdin).close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pipe(self._process.stdout).close()

    def do(self, **task: Any) -> dict[str, Any]:
        """Have it do a task and return its answer. Raises `WorkerFailed`."""
        pipe = self._pipe(self._process.stdin)
        pipe.write(json.dumps(task).encode() + b"\n")
        pipe.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._pipe(self._process.stdout).readline()
        if not line:
            self._process.wait()
            end = self._log.read_text(errors="replace")[-3_000:]
            raise WorkerFailed(f"{self._role} ended ({self._process.returncode}):\n{end}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise RuntimeError("the process was started without pipes")
        return pipe


def serve(role: str) -> None:
    """Be the child: do every task that standard input names."""
    # What the libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content: Mapping[str, Any]) -> None:
        answers.write(json.dumps({**content, "peak_bytes": peak_bytes()}) + "\n")
        answers.flush()

    work: Role = importlib.import_module(ROLES[role]).make()
    answer({})
    for line in sys.stdin:
        answer(work(json.loads(line)))


if __name__ == "__main__":
    serve(sys.argv[1])
