"""Every service's endpoints under requests of every kind: no 5xx, and answers as declared."""

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import Engine

import services.console.app
import services.ingestor.app
import services.notifier.app
import services.snapshotter.app
import services.trainer.app
import services.validator.app
from shared.health import service_app
from shared.messaging.consumer import Consumer
from shared.object_store import ObjectStore
from shared.observability.metrics import Metrics
from shared.readiness import Readiness
from shared.service import Resources
from shared.settings import Settings
from tests.chaos.size import size
from tests.integration.ingestor.conftest import DROP, SHOP

SERVICES: dict[str, ModuleType] = {
    "ingestor": services.ingestor.app,
    "validator": services.validator.app,
    "snapshotter": services.snapshotter.app,
    "trainer": services.trainer.app,
    "notifier": services.notifier.app,
    "console": services.console.app,
}
ENDLESS = {"/live"}
"""The console's line to its open pages. What else it has is in `test_http_console.py`."""
OF_EACH = 500 if size().is_full else 15
"""Requests for each endpoint, kind of data and state of the token."""
LOADS = 5_000 if size().is_full else 150
TOKEN = "a token of the test's own"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture
def app_of(
    settings: Settings,
    engine: Engine,
    store: ObjectStore,
    tmp_path: Path,
    clock: Callable[[], datetime],
) -> Callable[[str], FastAPI]:
    """The app of a service, over real servers, as its process would have it."""
    for name in ("datasets", "drops/day_00"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "datasets" / "shop.yaml").write_text(json.dumps(SHOP))
    for name, content in DROP.items():
        (tmp_path / "drops" / "day_00" / name).write_bytes(content)
    own = settings.model_copy(
        update={"datasets_dir": tmp_path / "datasets", "api_token": SecretStr(TOKEN)}
    )

    def make(name: str) -> FastAPI:
        resources = Resources(own, engine, store, clock, lambda: None)
        service = SERVICES[name].build(resources)
        consumer = Consumer(
            connect=_never, process=_never, threads=1, grace_seconds=1, stop=threading.Event()
        )
        consumer.is_connected = True
        readiness = Readiness({"store": store.check})
        about = (own, consumer, readiness, Metrics())
        app = service_app(name, service.router, *about, guard=service.guard)
        if service.extend is not None:
            service.extend(app)
        return app

    return make


class Client:
    """Asks the app itself; what it doesn't handle is a 500, as it would be from a server."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def ask(self, method: str, path: str, **what: Any) -> httpx.Response:
        return asyncio.run(self._ask(method, path, **what))

    async def _ask(self, method: str, path: str, **what: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://ingestor") as client:
            return await client.request(method, path, **what)


def _never(*_: object) -> Any:
    raise AssertionError("no consumer runs here")


@pytest.mark.parametrize("token", [TOKEN, "another", None], ids=["token", "wrong", "without"])
@pytest.mark.parametrize("name", SERVICES)
def test_no_request_of_its_openapi_fails_a_service(
    name: str,
    token: str | None,
    app_of: Callable[[str], FastAPI],
    figures: Callable[..., None],
) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", app_of(name))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    tried: dict[int, int] = {}
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {"/healthz", "/readyz", "/metrics", "/info"} <= {each.path for each in operations}
    for operation in (each for each in operations if each.path not in ENDLESS):
        # Where any text is a value, as in a path, there is nothing that the schema forbids.
        modes = GenerationMode if operation.body else (GenerationMode.POSITIVE,)
        for mode in modes:

            @hypothesis_settings(max_examples=OF_EACH)
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case) -> None:
                response = case.call(headers=headers)
                case.validate_response(response, checks=CHECKS)
                is_change = case.method.upper() not in ("GET", "HEAD", "OPTIONS")
                if is_change and token != TOKEN:
                    assert response.status_code in (401, 405), response.status_code
                tried[response.status_code] = tried.get(response.status_code, 0) + 1

            ask()
    told = {f"http_{status}": count for status, count in sorted(tried.items())}
    figures(f"inputs: requests to the {name}", tried=sum(tried.values()), **told)


_TEXTS = st.sampled_from(
    [
        *("shop", "day_00", "day_01", "day_99", "nowhere", "", "..", "../shop", "/etc/passwd"),
        *("a\0b", "\ud800", "x" * 5000, "day_00\n", "'; DROP TABLE headrace.loads; --", "é"),
        *("file:///etc", "file://elsewhere/etc", "file://[", "file:///%00", "file:../..", "~"),
        *("~nobody-here/x", "s3://", "s3:///x", "s3://no-such-bucket/x", "s3://UPPER/x", "s3://a"),
        *("s3://no such/x", "s3://headrace-landing/../x", "http://x/y", "gopher://x", "/" * 300),
        *("/" + "x" * 300, "/" + "x/" * 3000, "\u202e", "%2e%2e", "s3://x/\x01", "day_00/../.."),
    ]
)
_ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.lists(st.integers())
_DATES = st.sampled_from(["2024-03-01", "0001-01-01", "9999-12-31", "-0044-03-15", "tomorrow"])


def test_no_load_that_is_asked_for_fails_the_ingestor(
    app_of: Callable[[str], FastAPI],
    settings: Settings,
    tmp_path: Path,
    figures: Callable[..., None],
) -> None:
    client = Client(app_of("ingestor"))
    good = {"dataset": "shop", "slice_key": "day_00", "source_uri": str(tmp_path / "drops")}
    odd = st.sampled_from(["dataset", "slice_key", "source_uri", "source_uri", "requested_by"])
    fields = st.lists(
        st.tuples(odd, _TEXTS | _TEXTS | _ODD)
        | st.tuples(st.just("as_of"), _DATES)
        | st.tuples(st.sampled_from(["other", "\ud800"]), _ODD),
        max_size=2,
    )
    bodies = fields.map(lambda changed: good | dict(changed))
    tried: dict[int, int] = {}

    @hypothesis_settings(max_examples=LOADS)
    @given(
        st.builds(lambda body: json.dumps(body).encode(), bodies)
        | st.binary(max_size=40)
        | st.just(b"[" * 100_000),
        st.sampled_from([None, "k1", "k2", "\xff", " ", "x" * 255, "x" * 256]),
    )
    def ask(body: bytes, key: str | None) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        given = [(name.encode(), text.encode("latin-1")) for name, text in headers.items()]
        answer = client.ask("POST", "/loads", content=body, headers=given)
        assert answer.status_code in (202, 400, 404, 409, 422), (answer.status_code, answer.text)
        if answer.status_code == 202:
            load = client.ask("GET", f"/loads/{answer.json()['load_id']}")
            assert (load.status_code, load.json()["status"]) == (200, "requested")
        else:
            assert answer.json()["detail"]
        tried[answer.status_code] = tried.get(answer.status_code, 0) + 1

    ask()
    assert client.ask("GET", "/loads/a%00b").status_code == 404
    told = {f"http_{status}": count for status, count in sorted(tried.items())}
    figures("inputs: loads asked for over HTTP", tried=sum(tried.values()), **told)
