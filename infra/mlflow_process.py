"""How the MLflow server is started: as `mlflow server` starts its workers, one process.

That command itself takes 6 to 30 seconds and 15 processes for it. The variables that begin with `_`
are private to MLflow, so its version is pinned and tests hold them. Imports only the standard
library: it is all of ours that the server's image has.
"""

import sys


def arguments(*, host: str, port: int) -> tuple[str, ...]:
    """The server's application under uvicorn."""
    return (
        *(sys.executable, "-m", "uvicorn", "mlflow.server.fastapi_app:app"),
        *("--host", host, "--port", str(port), "--workers", "1", "--no-access-log"),
    )


def variables(*, backend_url: str, artifact_url: str) -> dict[str, str]:
    """What it reads from its environment: where its tables and its artifacts are, for example."""
    return {
        "_MLFLOW_SERVER_FILE_STORE": backend_url,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": artifact_url,
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
