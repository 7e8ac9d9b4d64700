"""The client, the settings of mlflow that are global to the process, and what its errors mean."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from shared.errors import PermanentError, ServerUnavailable

# Read when mlflow is imported: without it the import starts a thread that reports to its makers.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
with warnings.catch_warnings():
    # On import, mlflow warns about type hints of its own. What is used later comes in here too,
    # so that no event pays for it.
    warnings.simplefilter("ignore")
    import mlflow.artifacts
    import mlflow.environment_variables as mlflow_settings
    import mlflow.models
    import mlflow.pyfunc
    import mlflow.sklearn  # noqa: F401
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException, RestException

EXISTS = "RESOURCE_ALREADY_EXISTS"
ABSENT = "RESOURCE_DOES_NOT_EXIST"
INVALID = "INVALID_PARAMETER_VALUE"
TIMEOUT_SECONDS = 60.0
"""For an answer of MLflow where nobody says otherwise."""
_TOO_MANY_REQUESTS, _SERVER_ERROR = 429, 500


def connect(tracking_uri: str, timeout_seconds: float = TIMEOUT_SECONDS) -> MlflowClient:
    """A client of the server at `tracking_uri`, for runs and models both. Connects to nothing.

    The timeout, for each answer, is that of the process' last client.
    """
    for setting, value in (
        (mlflow_settings.MLFLOW_HTTP_REQUEST_MAX_RETRIES, 0),
        (mlflow_settings.MLFLOW_HTTP_REQUEST_TIMEOUT, max(1, round(timeout_seconds))),
        (mlflow_settings.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR, False),
        (mlflow_settings.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT, True),
    ):
        setting.set(value)  # type: ignore[no-untyped-call]
    # It warns with every model that this environment has no pip, which uv's never have.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def literal(value: str) -> str:
    """`value` in a filter, which knows no escapes."""
    if "'" in value or "`" in value:
        raise PermanentError(f"{value!r} can't be looked up in MLflow: it has a quote in it")
    return f"'{value}'"


@contextmanager
def unless(*codes: str) -> Iterator[None]:
    """Go on after the block where MLflow answers with one of these codes."""
    try:
        yield
    except MlflowException as error:
        if error.error_code not in codes:
            raise


@contextmanager
def server_errors() -> Iterator[None]:
    """Raise `ServerUnavailable` for a server that is away; a request refused raises as it does."""
    try:
        yield
    except (requests.RequestException, MlflowException) as error:
        if _is_away(error):
            raise ServerUnavailable("MLflow", error) from error
        raise


def _is_away(error: BaseException) -> bool:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _is_passing(error.response.status_code)
    if isinstance(error, requests.RequestException):
        return True
    if not isinstance(error, MlflowException):
        return False
    if isinstance(error, RestException) or error.message.startswith("API request to endpoint"):
        return _is_passing(error.get_http_status_code())  # type: ignore[no-untyped-call]
    # mlflow's own class says "internal error" of much that is no server's; what it wraps tells.
    wrapped = error.__cause__ or error.__context__
    return wrapped is not None and _is_away(wrapped)


def _is_passing(status: int) -> bool:
    return status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR
