"""What MLflow says, asked over its REST interface and without its client."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from shared.errors import HeadraceError, ServerUnavailable

ANSWER_SECONDS = 30.0
PAGE = 200
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
_NOT_FOUND, _SERVER_ERROR = 404, 500


class MlflowRefuses(HeadraceError):
    """MLflow answers, and not with what was asked for."""


@dataclass(frozen=True)
class Version:
    """A model version of the registry."""

    model: str
    version: str
    run_id: str
    source: str
    tags: Mapping[str, str]


class MlflowRest:
    """A tracking server. Every method raises `ServerUnavailable` where it doesn't answer."""

    def __init__(self, tracking_uri: str) -> None:
        self._client = httpx.Client(
            base_url=tracking_uri.rstrip("/"), timeout=ANSWER_SECONDS, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def check(self) -> None:
        """Return if it answers."""
        self._ask("POST", "experiments/search", json={"max_results": 1})

    def versions(self, model: str) -> list[Version]:
        """Every version of a registered model; none where there is no such model."""
        found: list[Version] = []
        asked: dict[str, Any] = {"filter": f"name = '{model}'", "max_results": PAGE}
        for page in self._pages("GET", "model-versions/search", asked):
            found += [
                Version(
                    item["name"],
                    str(item["version"]),
                    item.get("run_id", ""),
                    item.get("source", ""),
                    {tag["key"]: tag.get("value", "") for tag in item.get("tags", [])},
                )
                for item in page.get("model_versions", [])
            ]
        return found

    def holder(self, model: str, alias: str) -> str | None:
        """The version that has the alias."""
        answer = self._ask("GET", "registered-models/alias", params={"name": model, "alias": alias})
        return str(answer["model_version"]["version"]) if answer else None

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """`run_id`, `status` and `tags` of each run of an experiment that isn't deleted."""
        answer = self._ask("GET", "experiments/get-by-name", params={"experiment_name": experiment})
        if not answer:
            return []
        asked = {"experiment_ids": [answer["experiment"]["experiment_id"]], "max_results": PAGE}
        return [
            {
                "run_id": run["info"]["run_id"],
                "status": run["info"]["status"],
                "tags": {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])},
            }
            for page in self._pages("POST", "runs/search", asked)
            for run in page.get("runs", [])
        ]

    def artifact_place(self, model_id: str) -> str | None:
        """Where the files of a logged model lie."""
        answer = self._ask("GET", f"logged-models/{model_id}")
        return str(answer["model"]["info"]["artifact_uri"]) if answer else None

    def artifact(self, place: str, name: str) -> Iterator[bytes]:
        """A file that the server itself hands out, in pieces.

        Raises `MlflowRefuses` where it doesn't.
        """
        path = place.removeprefix("mlflow-artifacts:").lstrip("/")
        address = f"/api/2.0/mlflow-artifacts/artifacts/{path}/{name}"
        try:
            with self._client.stream("GET", address) as response:
                if response.status_code >= _SERVER_ERROR:
                    raise ServerUnavailable("MLflow", f"{address}: {response.status_code}")
                if not response.is_success:
                    raise MlflowRefuses(f"{address}: {response.status_code}")
                yield from response.iter_bytes()
        except httpx.HTTPError as error:
            raise ServerUnavailable("MLflow", error) from error

    def _pages(self, method: str, path: str, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            content = {**asked, "page_token": token} if token else dict(asked)
            where = {"params": content} if method == "GET" else {"json": content}
            page = self._ask(method, path, **where) or {}
            yield page
            token = page.get("next_page_token", "")
            if not token:
                return

    def _ask(self, method: str, path: str, **content: Any) -> dict[str, Any] | None:
        """The answer; None where there is no such thing."""
        try:
            response = self._client.request(method, f"/api/2.0/mlflow/{path}", **content)
            answer: dict[str, Any] = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ServerUnavailable("MLflow", error) from error
        if response.is_success:
            return answer
        if answer.get("error_code") in _ABSENT or response.status_code == _NOT_FOUND:
            return None
        if response.status_code >= _SERVER_ERROR:
            raise ServerUnavailable("MLflow", answer)
        raise MlflowRefuses(f"{path}: {answer}")
