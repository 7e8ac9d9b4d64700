"""The MLflow server of the image `mlflow`, told where its tables and artifacts are by the variables
that `mlflow server` knows: `MLFLOW_BACKEND_STORE_URI` and `MLFLOW_ARTIFACTS_DESTINATION`.
"""

import os
import sys

from infra.mlflow_process import arguments, variables


def main() -> None:
    """Become the server. Exits with 2 where a variable is missing."""
    given = {}
    for name in ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION"):
        if not os.environ.get(name):
            print(
                f"{name} is not set: it says where MLflow keeps what it is given", file=sys.stderr
            )
            sys.exit(2)
        given[name] = os.environ[name]
    # A driver has to be named: what SQLAlchemy takes for granted changes with its versions.
    backend = given["MLFLOW_BACKEND_STORE_URI"]
    if backend.startswith("postgresql://"):
        backend = backend.replace("postgresql://", "postgresql+psycopg2://", 1)
    settings = variables(backend_url=backend, artifact_url=given["MLFLOW_ARTIFACTS_DESTINATION"])
    argv = arguments(host=os.environ["HTTP_HOST"], port=int(os.environ["HTTP_PORT"]))
    os.execve(argv[0], argv, {**os.environ, **settings})  # noqa: S606


if __name__ == "__main__":
    main()
