"""A real Chromium on the console of a whole stack that has been through `story`.

`CHROMIUM` names the browser; else it is the one on the path. Screenshots go to
`build/screenshots/`. `STORY=folder` keeps the stack's data between runs.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright
from sqlalchemy import text

from cli.migrate import migrate
from infra.embedded.environment import Broker
from infra.embedded.errors import ProcessNotReady
from infra.embedded.services import SERVICES
from infra.embedded.stack import Stack
from shared.database.engine import make_engine
from tests.browser import story
from tests.conftest import REPOSITORY
from tests.e2e.conftest import Headrace
from tests.waiting import wait_until

SCREENSHOTS = REPOSITORY / "build" / "screenshots"
AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()
VIEWPORTS = {"desktop": (1280, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")
GRAVE = ("serious", "critical")
ANSWERED = re.compile(r"the server responded with a status of (4\d\d) ")
"""What the browser itself tells in its console of an answer that refuses."""
IN_WORK = """
    SELECT count(*) FROM headrace.loads WHERE status IN ('loading', 'loaded', 'validated')
"""


@dataclass
class Tab:
    """A page in the browser, and all that went wrong in it."""

    page: Page
    base: str
    refused: Mapping[str, int] = field(default_factory=dict)
    """Paths that answer with a 4xx here, and with which: of that, nothing is a fault."""
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("requestfailed", self._failed)

    def open(self, path: str) -> Page:
        """Go there, and wait until the page is told of events, if it wants to be."""
        self.page.goto(self.base + path, wait_until="load")
        if self.page.locator("[data-live]").count():
            self.page.wait_for_selector("#live-state[data-state=live]", timeout=20_000)
        return self.page

    def screenshot(self, name: str) -> Path:
        """Keep a picture of the whole page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=path, full_page=True, animations="disabled")
        return path

    def look_at(self, name: str, viewport: str) -> None:
        """Keep pictures of the page in light and in dark; it fits the screen and is for everybody.

        Colours change as the system's do, without loading the page again.
        """
        for scheme in SCHEMES:
            self.page.emulate_media(color_scheme=scheme)
            self.screenshot(f"{name}-{viewport}-{scheme}")
            assert self.overflow() == 0, "wider than the screen"
            assert self.grave_findings() == []

    def grave_findings(self) -> list[str]:
        """What axe finds that keeps somebody from using the page; each with where it is."""
        self.page.evaluate(AXE)
        found: dict[str, Any] = self.page.evaluate(
            "axe.run(document, {resultTypes: ['violations']})"
        )
        return [
            f"{violation['id']} ({violation['impact']}): {violation['help']}: "
            + "; ".join(node["html"][:160] for node in violation["nodes"][:3])
            for violation in found["violations"]
            if violation["impact"] in GRAVE
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than the screen."""
        script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(script))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        place = message.location.get("url", "")
        status = ANSWERED.search(message.text)
        if status and self.refused.get(urlsplit(place).path) == int(status[1]):
            return
        self.faults.append(f"{message.type}: {message.text} {place}")

    def _failed(self, request: Request) -> None:
        # The line of events is cut whenever a page is left.
        if "/live" not in request.url and request.failure != "net::ERR_ABORTED":
            self.faults.append(f"{request.url}: {request.failure}")


@dataclass
class Site:
    """The console of a stack, and a browser for it."""

    headrace: Headrace
    browser: Browser
    base: str
    drops: Path

    @contextmanager
    def tab(
        self,
        viewport: str = "desktop",
        scheme: str = "light",
        *,
        refused: Mapping[str, int] | None = None,
        **options: Any,
    ) -> Iterator[Tab]:
        """A tab of a fresh browser: without cookies, cache or what an earlier one kept.

        At its end it must have had no fault; an answer that `refused` foretells is none.
        """
        width, height = VIEWPORTS[viewport]
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            reduced_motion="reduce",
            **options,
        )
        context.set_default_timeout(20_000)
        try:
            tab = Tab(context.new_page(), self.base, refused or {})
            yield tab
        finally:
            context.close()
        assert tab.faults == []


def console_url(stack: Stack) -> str:
    """Where the stack's console is."""
    (found,) = [each.address for each in stack.status() if each.name == "console"]
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium; where there is none the tests are skipped, and fail in CI."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("CI") == "true":
            raise FileNotFoundError("no Chromium: apt-get install chromium, or set CHROMIUM")
        pytest.skip("there is no Chromium: apt-get install chromium, or set CHROMIUM")
    with sync_playwright() as playwright:
        # Root in a container can't make the namespaces of Chromium's own sandbox.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests here."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def told(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Headrace]:
    """The embedded stack with all services, after the story.

    With `STORY` it is told in that folder, and kept there for the next run: that one finds it.
    """
    kept = os.environ.get("STORY")
    root = Path(kept).resolve() if kept else tmp_path_factory.mktemp("told")
    is_told = (root / "told").exists()
    if not is_told:
        story.write_specs(root / "specs")
        story.write_drops(root / "drops")
    given = {"DATASETS_DIR": str(root / "specs")}
    stack = Stack(root / ".headrace", given=given, inherited=dict(os.environ), broker=broker)
    try:
        _start(stack)
        settings = stack.settings()
        engine = make_engine(settings, application="test")
        headrace = Headrace(stack, settings, engine, stack.root)
        if not is_told:
            for arguments in story.loads(root / "drops"):
                headrace.run("load", *arguments, "--wait", "--timeout", "170", code=None)
            wait_until(lambda: headrace.scalar(IN_WORK) == 0, seconds=60, what="all is through")
            (root / "told").touch()
        yield headrace
        engine.dispose()
    finally:
        stack.stop()


def _start(stack: Stack) -> None:
    """Start it; what is slow on a busy machine is waited for once more."""
    with suppress(ProcessNotReady):
        stack.start(SERVICES, migrate=migrate)
        return
    stack.start(SERVICES, migrate=migrate)


@pytest.fixture(scope="package")
def site(told: Headrace, browser: Browser) -> Site:
    """The console after the story, with a browser."""
    return Site(told, browser, console_url(told.stack), told.root.parent / "drops")


@pytest.fixture
def tab(site: Site) -> Iterator[Tab]:
    """A tab at a desk, in light."""
    with site.tab() as tab:
        yield tab


def facts(headrace: Headrace, statement: str, **parameters: Any) -> dict[str, Any]:
    """The first row of a query."""
    with headrace.engine.connect() as connection:
        row = connection.execute(text(statement), parameters).mappings().first()
    assert row is not None, statement
    return json.loads(json.dumps(dict(row), default=str))
