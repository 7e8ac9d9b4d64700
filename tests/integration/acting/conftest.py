"""The console in this process, over a line of all stages: what is asked for runs through."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, select, text

from services.console.app import build
from services.console.others import Others
from shared.database.tables import audit
from shared.health import HttpServer, http_app
from shared.service import Resources
from shared.settings import Settings
from tests.integration.corrections.conftest import (  # noqa: F401 - fixtures
    Line,
    headrace,
    line,
    make_line,
)
from tests.integration.trainer.conftest import mlflow_uri  # noqa: F401 - a fixture

PASSWORD = "correct horse battery"
TOKEN = "a-token-of-a-script"
PAGE = {"Accept": "text/html"}
_TOKEN = re.compile(r'name="form_token" value="([^"]+)"')


@dataclass
class Clock:
    """The time, which a test may move on."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Browser:
    """Somebody at the console."""

    http: httpx.Client
    engine: Engine
    clock: Clock
    app: FastAPI
    settings: Settings
    others: Others
    woken: list[None] = field(default_factory=list)

    def get(self, path: str, **how: Any) -> httpx.Response:
        return self.http.get(path, headers=PAGE, **how)

    def post(self, path: str, data: Mapping[str, str], **how: Any) -> httpx.Response:
        return self.http.post(path, data=data, headers=PAGE, **how)

    def form_token(self, path: str) -> str:
        """Of the form on a page."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        found = _TOKEN.findall(answer.text)
        assert found, f"{path} has no form"
        return str(found[-1])

    def log_in(self, password: str = PASSWORD) -> httpx.Response:
        token = self.form_token("/login")
        return self.post("/login", {"form_token": token, "password": password, "next": "/load"})

    def confirm(self, name: str, more: Mapping[str, str] = {}, **values: object) -> httpx.Response:
        """Open the confirming page of an action and press its button."""
        page = self.get(f"/act/{name}", params={k: str(v) for k, v in values.items()})
        assert page.status_code == 200, page.text
        hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
        del hidden["form_token"]  # the way out has one too
        hidden["form_token"] = _TOKEN.findall(page.text)[-1]
        return self.post(f"/act/{name}", {**hidden, **more})

    def acted(self, answer: httpx.Response) -> str:
        """The page of what was done."""
        assert answer.status_code == 303, answer.text
        page = self.get(answer.headers["location"])
        assert page.status_code == 200, page.text
        return page.text

    def audit(self) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            rows = connection.execute(select(audit).order_by(audit.c.audit_id)).mappings()
            return [dict(row) for row in rows]

    def sql(self, statement: str, **values: Any) -> list[Any]:
        with self.engine.begin() as connection:
            found = connection.execute(text(statement), values)
            return list(found.all()) if found.returns_rows else []


@pytest.fixture
def browser_of(line: Line) -> Iterator[Callable[..., Browser]]:  # noqa: F811
    """Makes a browser on a console with these settings."""
    opened = ExitStack()

    def make(**changed: object) -> Browser:
        given = {"console_password": PASSWORD, "api_token": TOKEN, "http_port": 0, **changed}
        settings = Settings.model_validate({**line.settings.model_dump(), **given})
        clock, woken = Clock(), []
        resources = Resources(settings, line.engine, line.store, clock, lambda: woken.append(None))
        service = build(resources)
        assert service.router is not None
        app = http_app("console", settings, [service.router], guard=service.guard)
        assert service.extend is not None
        service.extend(app)
        server = opened.enter_context(HttpServer(app, settings))
        address = f"http://127.0.0.1:{server.port}"
        others = next(each for each in service.companions if isinstance(each, Others))
        http = opened.enter_context(httpx.Client(base_url=address, timeout=60, trust_env=False))
        return Browser(http, line.engine, clock, app, settings, others, woken)

    with opened:
        yield make


@pytest.fixture
def browser(browser_of: Callable[..., Browser]) -> Browser:
    """Somebody who isn't logged in."""
    return browser_of()


@pytest.fixture
def admin(browser: Browser) -> Browser:
    """Somebody who is."""
    assert browser.log_in().status_code == 303
    return browser
