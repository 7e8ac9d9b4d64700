"""The console under addresses, queries and forms of every kind, with and without a login: no 5xx.

Its pages are no part of its OpenAPI, so its routes are what is asked.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import Engine

import services.console.app
from services.console.actions import ACTIONS
from shared.contracts.envelope import Record
from shared.messaging import dead_letters
from shared.object_store import ObjectStore
from shared.service import Resources
from shared.settings import Settings
from tests.chaos.size import size
from tests.integration.console.conftest import app_of
from tests.integration.ingestor.conftest import CUSTOMERS, DROP, Shop

REQUESTS = 5_000 if size().is_full else 150
"""For each kind of visitor."""
TOKEN, PASSWORD = "a token of the test's own", "a password of the test's own"
ELSEWHERE = {"/live", "/healthz", "/readyz"}
"""A line that stays open; and what says whether a consumer turns, of which there is none here."""
FIELDS = (
    *("dataset", "slice_key", "source", "as_of", "upload", "reason", "champion", "event_id"),
    *("model", "version", "dead_letter_id", "password", "next", "form_token"),
)
NAMES = (
    *("shop", "day_00", "nowhere", "", " ", "1", "0", "-1", "9" * 19, "9" * 400, "1e5", "None"),
    *("a\0b", "\ud800", "x" * 300, "x" * 5000, "..", "../shop", "'; DROP TABLE headrace.loads; --"),
    *("%", "%00", "\u202e", "é", "<script>", "{{7*7}}", "2024-03-01", "9999-12-31", "0000-00-00"),
    *("s3://x/y", "file://[", "/etc/passwd", "\r\nSet-Cookie: a=b", "label", "customers", "all"),
)
PATHS = (*NAMES, *ACTIONS)


@dataclass(frozen=True)
class Visitor:
    """Asks the app itself; what it doesn't handle is a 500, as it would be from a server."""

    app: FastAPI
    headers: Mapping[str, bytes]
    form_token: str = ""

    def ask(self, method: str, url: str, **what: Any) -> httpx.Response:
        return asyncio.run(self._ask(method, url, **what))

    async def _ask(
        self, method: str, url: str, *, headers: Mapping[str, bytes] = {}, **what: Any
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            own = {**self.headers, **headers}
            return await client.request(method, url, headers=own, **what)


@pytest.fixture
def console(
    settings: Settings,
    engine: Engine,
    store: ObjectStore,
    tmp_path: Path,
    clock: Callable[[], datetime],
) -> Iterator[FastAPI]:
    """The console over a slice that is loaded, one that is refused, and a dead letter."""
    (tmp_path / "datasets").mkdir()
    own = settings.model_copy(
        update={
            "datasets_dir": tmp_path / "datasets",
            "api_token": SecretStr(TOKEN),
            "console_password": SecretStr(PASSWORD),
            "console_login_attempts": 10**6,
        }
    )
    shop = Shop(own, engine, store, tmp_path, clock)
    shop.load(DROP)
    shop.load(DROP | {"customers.csv": CUSTOMERS + b"c3,,never\n"}, slice_key="day_01")
    with engine.begin() as connection:
        dead_letters.bury(
            connection,
            service="test",
            record=Record("load-requested", 0, 0, b"\xff\0", {"x": "y"}, b"\xfe"),
            event=None,
            stage=None,
            error=ValueError("broken"),
            attempts=1,
            clock=clock,
        )
    service = services.console.app.build(Resources(own, engine, store, clock, lambda: None))
    yield app_of(service, own)
    for companion in service.companions:
        companion.stop()


def routes_of(router: Any) -> Iterator[tuple[str, str, list[str]]]:
    """Method, path and the query's declared names of each route, also of routers in others."""
    for route in router.routes:
        if isinstance(route, APIRoute) and route.path not in ELSEWHERE:
            declared = [field.alias for field in route.dependant.query_params]
            yield from ((method, route.path, declared) for method in sorted(route.methods))
        elif (included := getattr(route, "original_router", None)) is not None:
            yield from routes_of(included)


@st.composite
def requests(draw: st.DrawFn, visitor: Visitor) -> tuple[str, str, dict[str, Any]]:
    method, path, declared = draw(st.sampled_from(list(routes_of(visitor.app))))
    texts = st.sampled_from(NAMES) | st.text(max_size=20)
    steps = st.sampled_from(PATHS) | st.text(max_size=20)
    while "{" in path:
        before, _, rest = path.partition("{")
        step = draw(steps)
        path = before + _escaped(step) + rest.partition("}")[2]
    names = st.sampled_from([*declared, *FIELDS])
    query = draw(st.lists(st.tuples(names, texts), max_size=4))
    if query:
        path += "?" + "&".join(f"{_escaped(name)}={_escaped(text)}" for name, text in query)
    headers = {"Accept": draw(st.sampled_from([b"text/html", b"application/json", b""]))}
    what: dict[str, Any] = {"headers": headers}
    if method not in ("GET", "HEAD"):
        fields = dict(draw(st.lists(st.tuples(st.sampled_from(FIELDS), texts), max_size=6)))
        if visitor.form_token and draw(st.booleans()):
            fields["form_token"] = visitor.form_token
        headers["Content-Type"], what["content"] = draw(_bodies(fields))
        headers["Sec-Fetch-Site"] = draw(st.sampled_from([b"same-origin", b"", b"cross-site"]))
    return method, path, what


def _bodies(fields: dict[str, str]) -> st.SearchStrategy[tuple[bytes, bytes]]:
    form, part = b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=b"
    file = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n--b--'
    return st.sampled_from(
        [
            (form, urlencode(fields, errors="surrogatepass").encode()),
            (form, b"&=&%zz=%ff;" + b"a=1&" * 200),
            (b"application/json", json.dumps(fields).encode()),
            (b"application/json", b"[" * 40_000),
            (b"application/json", b'{"dataset": [1e999, {"a": null}]}'),
            (part, file % (b"customers.csv", CUSTOMERS)),
            (part, file % (b"../\0.csv", b"\xff")),
            (part, b"--b\r\n\r\n"),
            (b"multipart/form-data", b"--b--"),
            (b"text/plain; charset=nothing", b"\xff"),
            (b"", b""),
        ]
    )


def _escaped(text: str) -> str:
    """In an address: half a surrogate pair as the bytes that it would have."""
    return quote_from_bytes(text.encode(errors="surrogatepass"), safe="")


STRANGERS: Mapping[str, Mapping[str, bytes]] = {
    "nobody": {},
    "a script": {"Authorization": f"Bearer {TOKEN}".encode()},
    "a script with another token": {"Authorization": b"Bearer \xe9"},
    "a broken session": {"Cookie": b"headrace_session=\xff.1.x; headrace_entrance=a.b"},
}


def admin(app: FastAPI) -> Visitor:
    """Somebody who is logged in."""
    anybody = Visitor(app, {"Accept": b"text/html"})
    form = anybody.ask("GET", "/login")
    said = urlencode({"form_token": _form_token(form), "password": PASSWORD})
    entered = Visitor(app, {"Cookie": _cookies(form)}).ask(
        "POST",
        "/login",
        headers={"Content-Type": b"application/x-www-form-urlencoded"},
        content=said.encode(),
    )
    assert entered.status_code == 303, entered.text
    cookie = {"Cookie": _cookies(entered)}
    page = Visitor(app, cookie).ask("GET", "/load", headers={"Accept": b"text/html"})
    return Visitor(app, cookie, _form_token(page))


def _form_token(page: httpx.Response) -> str:
    return re.findall(r'name="form_token" value="([^"]+)"', page.text)[-1]


def _cookies(answer: httpx.Response) -> bytes:
    return "; ".join(f"{name}={value}" for name, value in answer.cookies.items()).encode()


@pytest.mark.parametrize("who", [*STRANGERS, "the admin"])
def test_no_request_fails_the_console(
    console: FastAPI, who: str, figures: Callable[..., None]
) -> None:
    visitor = Visitor(console, STRANGERS[who]) if who in STRANGERS else admin(console)
    tried: dict[int, int] = {}

    @hypothesis_settings(max_examples=REQUESTS)
    @given(requests(visitor))
    def ask(asked: tuple[str, str, dict[str, Any]]) -> None:
        method, url, what = asked
        answer = visitor.ask(method, url, **what)
        assert answer.status_code < 500, (method, url, what, answer.status_code, answer.text[:300])
        tried[answer.status_code] = tried.get(answer.status_code, 0) + 1

    ask()
    told = {f"http_{status}": count for status, count in sorted(tried.items())}
    figures(f"inputs: requests to the console by {who}", tried=sum(tried.values()), **told)
