"""A Dask scheduler and its workers as processes of their own, as a person starts them."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from services.trainer.cluster.session import Cluster
from shared.settings import Settings
from tests.conftest import REPOSITORY
from tests.waiting import wait_until

START_SECONDS = 240


@dataclass
class DaskProcesses:
    """A scheduler and workers on loopback. Workers have the store's settings, and no others."""

    folder: Path
    settings: Settings
    port: int = 0
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    logs: int = 0

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def start_scheduler(self) -> None:
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        self.scheduler = self._launch(
            "scheduler", "--port", str(self.port), "--scheduler-file", str(file), "--no-dashboard"
        )
        wait_until(file.exists, seconds=START_SECONDS, what="the scheduler is there")
        found = wait_until(file.read_text, what="its file is written")
        self.port = int(json.loads(found)["address"].rpartition(":")[2])

    def start_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker and wait until the scheduler knows it."""
        worker = self._launch(
            "worker",
            self.address,
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--preload",
            "services.trainer.cluster.boosting",
            "--local-directory",
            str(self.folder / "scratch"),
            **environment,
        )
        self.workers.append(worker)
        log = self.folder / f"{self.logs}-worker.log"

        def is_there() -> bool:
            assert worker.poll() is None, log.read_text()
            return "Registered to" in log.read_text()

        wait_until(is_there, seconds=START_SECONDS, what="the worker is known")
        return worker

    def cluster(self) -> Cluster:
        return Cluster(self.address, timeout_seconds=60)

    def kill(self, process: subprocess.Popen[bytes] | None) -> None:
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)

    def stop(self) -> None:
        for process in [*self.workers, self.scheduler]:
            if process is not None and process.poll() is None:
                self.kill(process)

    def said(self) -> str:
        """All that scheduler and workers have logged."""
        return "".join(log.read_text() for log in sorted(self.folder.glob("*.log")))

    def _launch(self, what: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        self.logs += 1
        with (self.folder / f"{self.logs}-{what}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", what, "--host", "127.0.0.1", *arguments],
                cwd=REPOSITORY,
                env={**_basic(), **_of_store(self.settings), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


def _basic() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}


def _of_store(settings: Settings) -> dict[str, str]:
    key, secret = settings.aws_access_key_id, settings.aws_secret_access_key
    assert key
    assert secret
    return {
        "S3_ENDPOINT_URL": settings.s3_endpoint_url or "",
        "AWS_ACCESS_KEY_ID": key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": secret.get_secret_value(),
        "AWS_REGION": settings.aws_region,
    }
