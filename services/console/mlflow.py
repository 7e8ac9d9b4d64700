"""What MLflow keeps of a run, asked over its REST interface: it is read, never changed."""

import json
import threading
from collections import OrderedDict
from typing import Any

import httpx

from shared.errors import ServerUnavailable

ANSWER_SECONDS = 4.0
"""A page waits so long and then goes without."""
FILES_KEPT, BYTES_KEPT = 200, 2_000_000
_NOT_FOUND = 404


class Runs:
    """The files of runs. Thread-safe; a run's files don't change, so they are kept in memory."""

    def __init__(self, tracking_uri: str) -> None:
        self._client = httpx.Client(
            base_url=tracking_uri.rstrip("/"), timeout=ANSWER_SECONDS, trust_env=False
        )
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def file(self, run_id: str, path: str) -> bytes | None:
        """A file of a run; None where the run hasn't it.

        Raises `ServerUnavailable` where MLflow doesn't answer.
        """
        with self._lock:
            if (kept := self._kept.get((run_id, path))) is not None:
                self._kept.move_to_end((run_id, path))
                return kept
        if path not in self._listed(run_id, path):
            return None
        answer = self._get("/get-artifact", {"path": path, "run_uuid": run_id})
        if answer is None:
            return None
        if len(answer.content) <= BYTES_KEPT:
            with self._lock:
                self._kept[run_id, path] = answer.content
                while len(self._kept) > FILES_KEPT:
                    self._kept.popitem(last=False)
        return answer.content

    def json(self, run_id: str, path: str) -> Any:
        """A file of a run, decoded; None where there is none, or it is no JSON."""
        content = self.file(run_id, path)
        try:
            return None if content is None else json.loads(content)
        except ValueError:
            return None

    def _listed(self, run_id: str, path: str) -> set[str]:
        """The run's files in the folder of `path`; a file that is missing is a 500 of MLflow's."""
        asked = {"run_id": run_id}
        if folder := path.rpartition("/")[0]:
            asked["path"] = folder
        answer = self._get("/api/2.0/mlflow/artifacts/list", asked)
        files = answer.json().get("files", []) if answer is not None else []
        return {file["path"] for file in files}

    def _get(self, path: str, asked: dict[str, str]) -> httpx.Response | None:
        try:
            answer = self._client.get(path, params=asked)
        except httpx.HTTPError as error:
            raise ServerUnavailable("MLflow", error) from error
        if answer.status_code == _NOT_FOUND:
            return None
        if not answer.is_success:
            raise ServerUnavailable("MLflow", f"{path}: {answer.status_code}")
        return answer
