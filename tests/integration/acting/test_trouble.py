"""The page Trouble: what was refused or given up, what waits and on what, how services do."""

from collections.abc import Callable, Iterator

import pytest
from fastapi import APIRouter
from fastapi.responses import JSONResponse

from shared.contracts.envelope import Event
from shared.contracts.events import LoadRequested
from shared.health import HttpServer, http_app
from shared.messaging import outbox
from tests.integration.acting.conftest import Browser
from tests.integration.corrections.conftest import Line, users
from tests.waiting import wait_until


def test_a_refused_slice_is_told_until_it_is_mended(line: Line, browser: Browser) -> None:
    assert "None: the newest load of every slice was accepted" in browser.get("/trouble").text
    line.load("day_00", users(1, 20, bad=3))
    page = browser.get("/trouble").text
    assert f"{line.dataset}/day_00" in page
    assert "score &#39;much&#39; is not a number" in page
    assert "/mend?load=" in page and "/load?dataset=" in page
    line.load("day_00", users(1, 20))
    assert "None: the newest load of every slice was accepted" in browser.get("/trouble").text


def test_what_waits_is_told_with_what_it_waits_on(line: Line, browser: Browser) -> None:
    assert "all that was asked for is through" in browser.get("/trouble").text
    line.away.add("snapshotter")
    line.load("day_00", users(1, 20))
    line.away.add("validator")
    line.load("day_01", users(1, 20))
    line.away.add("ingestor")
    payload = LoadRequested(dataset=line.dataset, slice_key="day_02", source_uri="/x")
    with line.engine.begin() as connection:
        outbox.put(connection, Event(payload, source="test", time=browser.clock()))
    page = " ".join(browser.get("/trouble").text.split())
    assert "on the snapshotter" in page
    assert "on slice <a href=" in page and "which was loaded before" in page
    assert 'its event isn\'t on <span class="mono">load-requested</span> yet' in page


@pytest.fixture
def service(line: Line) -> Iterator[str]:
    """A service whose Postgres is away."""
    routes = APIRouter()

    @routes.get("/healthz")
    def healthz() -> dict[str, object]:
        return {"status": "ok", "seconds_since_turn": 0.1}

    @routes.get("/readyz")
    def readyz() -> JSONResponse:
        down = {"status": "not ready", "down": {"postgres": "connection refused"}}
        return JSONResponse(down, status_code=503)

    @routes.get("/info")
    def info() -> dict[str, object]:
        return {"version": "9.9", "partitions": 6, "is_connected": True, "lag": {"validated": 41}}

    settings = line.settings.model_copy(update={"http_port": 0})
    with HttpServer(http_app("stand-in", settings, [routes]), settings) as server:
        yield f"http://127.0.0.1:{server.port}"


def test_services_are_told_with_what_each_misses_and_how_many_records_wait(
    service: str, browser_of: Callable[..., Browser]
) -> None:
    said = f"validator={service} trainer=http://127.0.0.1:9"
    browser = browser_of(console_services=said, console_services_interval_seconds=0.2)
    assert "not heard yet" in browser.get("/trouble").text
    browser.others.start()
    try:
        page = wait_until(
            lambda: (page := browser.get("/trouble").text) and "not heard yet" not in page and page,
            seconds=30,
        )
    finally:
        browser.others.stop()
    assert '<span class="bad">postgres</span>: connection refused' in page
    assert "validated 41" in page
    assert "doesn&#39;t answer" in page


def test_without_addresses_the_page_says_how_to_name_them(browser: Browser) -> None:
    assert "CONSOLE_SERVICES" in browser.get("/trouble").text


def test_trouble_is_read_in_pages(line: Line, browser_of: Callable[..., Browser]) -> None:
    browser = browser_of(console_page_rows=5)
    browser.sql(
        """
        INSERT INTO headrace.loads (load_id, dataset, slice_key, status, source_uri, requested_by,
                                    requested_at, reasons)
        SELECT 'load-' || n, :dataset, 'x' || n, 'rejected', '/x', 'test', now(),
               '[{"message": "bad"}]'
        FROM generate_series(1, 12) AS n
        """,
        dataset=line.dataset,
    )
    page = browser.get("/trouble").text
    assert "1–5 of 12 refused slices" in page
    assert "11–12 of 12 refused slices" in browser.get("/trouble?page=3").text
    assert "11–12 of 12" not in browser.get("/trouble?letter_page=3").text
    assert browser.get("/trouble?page=0").status_code == 400
    assert browser.get("/trouble/dead/7").status_code == 404
