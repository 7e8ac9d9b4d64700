"""The console over a test's own database, asked as a browser would, without a process."""

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from infra.embedded.environment import given_variables
from services.console.app import build
from shared.health import service_app
from shared.messaging.consumer import Consumer
from shared.object_store import ObjectStore
from shared.observability.metrics import Metrics
from shared.readiness import Readiness
from shared.service import Resources, Service
from shared.settings import Settings
from tests.conftest import REPOSITORY
from tests.waiting import wait_until

HTML = {"Accept": "text/html,application/xhtml+xml"}


class Pages:
    """A browser's questions to the console's app."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    def get(self, path: str, **headers: str) -> httpx.Response:
        return asyncio.run(self._get(path, HTML | headers))

    async def _get(self, path: str, headers: dict[str, str]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            return await client.get(path, headers=headers)

    def text(self, path: str) -> str:
        """A page that is there."""
        answer = self.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.text


def app_of(service: Service, settings: Settings) -> FastAPI:
    """The service's app, as its process would have it."""
    consumer = Consumer(
        connect=_never, process=_never, threads=1, grace_seconds=1, stop=threading.Event()
    )
    app = service_app(
        *(service.name, service.router, settings, consumer, Readiness({}), Metrics()),
        guard=service.guard,
    )
    assert service.extend is not None
    service.extend(app)
    return app


def _never(*_: Any) -> Any:
    raise AssertionError("nothing is consumed here")


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    folder = tmp_path / "specs"
    folder.mkdir()
    return folder


@pytest.fixture
def pages_of(
    settings: Settings,
    engine: Engine,
    store: ObjectStore,
    specs: Path,
    clock: Callable[[], datetime],
) -> Iterator[Callable[..., Pages]]:
    """Makes a console over the test's servers, with other settings if asked."""
    services: list[Service] = []

    def make(**changes: Any) -> Pages:
        own = settings.model_copy(update={"datasets_dir": specs, **changes})
        services.append(build(Resources(own, engine, store, clock, lambda: None)))
        return Pages(app_of(services[-1], own))

    yield make
    for service in services:
        for companion in service.companions:
            companion.stop()


@pytest.fixture
def pages(pages_of: Callable[..., Pages]) -> Pages:
    """The console as it is by default."""
    return pages_of()


@pytest.fixture
def process(
    topics: Settings, store: ObjectStore, specs: Path, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A console of its own process, and its address."""
    own = topics.model_copy(update={"datasets_dir": specs})
    variables = given_variables(topics) | {
        "HTTP_PORT": "0",
        "PATH": os.environ["PATH"],
        "DATASETS_DIR": str(own.datasets_dir),
    }
    log = tmp_path / "console.log"
    with log.open("w") as file:
        started = subprocess.Popen(
            [sys.executable, "-m", "services.console.app"],
            cwd=REPOSITORY,
            env=variables,
            stderr=file,
        )
    pattern = r"is up on port (\d+)"
    found = wait_until(lambda: re.search(pattern, log.read_text()), seconds=60, what="it is up")
    yield started, f"http://127.0.0.1:{found.group(1)}"
    started.kill()
    started.wait()
