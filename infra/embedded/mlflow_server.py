"""The MLflow tracking server, one process, its tables in PostgreSQL and its artifacts in S3."""

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.request import Request

from infra import mlflow_process
from infra.embedded.probe import answers_ok
from infra.embedded.process import Command
from infra.embedded.server import LOOPBACK, Stage, server_environment

ROLES = ("mlflow",)


@dataclass(frozen=True)
class MlflowServer:
    """The tracking server. Ready means: it answers a search, for which its tables must be there.

    Started as `infra/mlflow_process.py` says.
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
        argv = mlflow_process.arguments(host=LOOPBACK, port=self.port)
        settings = mlflow_process.variables(
            backend_url=self.backend_url, artifact_url=self.artifact_url
        )
        environment = {**self.store_environment, **settings}
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
