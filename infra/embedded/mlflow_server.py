"""The MLflow tracking server, one process, its tables in PostgreSQL and its artifacts in S3."""

import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.request import Request

from infra.embedded.probe import answers_ok
from infra.embedded.process import Command
from infra.embedded.server import LOOPBACK, Stage, server_environment

ROLES = ("mlflow",)


@dataclass(frozen=True)
class MlflowServer:
    """The tracking server. Ready means: it answers a search, for which its tables must be there.

    Started as `mlflow server` starts its workers, without that command's own 6 to 30 seconds. The
    variables are private to MLflow, so its version is pinned and a test holds them.
    """

    port: int
    backend_url: str = field(repr=False)
    artifact_url: str
    store_environment: Mapping[str, str] = field(repr=False)
    inherited: Mapping[str, str] = field(repr=False)
    needs: tuple[str, ...]

    name = "mlflow"
    stage = Stage.SERVER
    stop_signal = signal.SIGTERM
    grace_seconds = 8.0
    deadline_seconds = 60.0
    try_again_on = ("address already in use",)

    @property
    def address(self) -> str:
        """The tracking URI."""
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Nothing: it makes its tables itself."""

    def command(self) -> Command:
        """The server's application under uvicorn, one process."""
        argv = (
            *(sys.executable, "-m", "uvicorn", "mlflow.server.fastapi_app:app"),
            *("--host", LOOPBACK, "--port", str(self.port), "--workers", "1", "--no-access-log"),
        )
        environment = {
            **self.store_environment,
            "_MLFLOW_SERVER_FILE_STORE": self.backend_url,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": self.artifact_url,
            "_MLFLOW_SGI_NAME": "uvicorn",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
        }
        return Command(argv, environment, server_environment(self.inherited))

    def is_ready(self) -> bool:
        """Search the experiments. `/health` would answer before there are tables."""
        request = Request(  # noqa: S310
            f"{self.address}/api/2.0/mlflow/experiments/search",
            data=json.dumps({"max_results": 1}).encode(),
            headers={"Content-Type": "application/json"},
        )
        # The first search makes the tables, and that takes its time.
        return answers_ok(request, seconds=30)
