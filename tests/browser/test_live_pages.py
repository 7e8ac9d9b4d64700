"""Open pages show an event within a second."""

import time
from statistics import median

import pytest
from sqlalchemy import delete, insert

from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.events import LoadRequested
from shared.database.tables import loads
from shared.messaging.kafka import Producer
from tests.browser.conftest import Site, Tab
from tests.e2e.conftest import Headrace

SECONDS = 1.0
TRIES = 5
FIRST = "2024-04-01"
PAGES = {
    "home": ("/", "#channels"),
    "dataset": ("/datasets/bakery", "#slices"),
    "slice": (f"/datasets/bakery/slices/{FIRST}", "#facts"),
}
"""Each with the part of it that tells of a dataset's newest load, or of a slice's."""


def happen(headrace: Headrace, producer: Producer, slice_key: str) -> tuple[str, float]:
    """A change as a service makes it: committed, then told on a topic.

    The load, and when the service began to tell.
    """
    payload = LoadRequested(dataset="bakery", slice_key=slice_key, source_uri="/nowhere")
    event = Event(payload=payload, source="test", time=utc_now())
    with headrace.engine.begin() as connection:
        connection.execute(
            insert(loads).values(
                load_id=event.id,
                dataset="bakery",
                slice_key=slice_key,
                status="published",
                source_uri="/nowhere",
                requested_by="test",
                requested_at=utc_now(),
            )
        )
    # On a topic that no service does anything about for this type.
    headers = event.headers() | {"ce_type": "headrace.nothing.v1"}
    begun = time.monotonic()
    producer.publish("drift-detected", b"bakery", headers, event.value())
    return event.id, begun


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_an_event_within_a_second(site: Site, tab: Tab, name: str) -> None:
    """By the median of the tries, from when the event is given to Kafka until it is on the page."""
    address, part = PAGES[name]
    took = []
    producer = Producer(site.headrace.settings)
    try:
        happen(site.headrace, producer, FIRST)
        page = tab.open(address)
        for number in range(TRIES):
            slice_key = FIRST if name == "slice" else f"2024-04-{number + 2:02d}"
            load, begun = happen(site.headrace, producer, slice_key)
            sign = load if name == "slice" else slice_key
            page.wait_for_selector(f"{part} >> text={sign}", timeout=15_000)
            took.append(time.monotonic() - begun)
        print(name, [round(seconds, 2) for seconds in took])
        assert median(took) < SECONDS, took
    finally:
        producer.close()
        with site.headrace.engine.begin() as connection:
            connection.execute(delete(loads).where(loads.c.dataset == "bakery"))


def test_what_somebody_opened_stays_open_when_the_page_is_refreshed(site: Site, tab: Tab) -> None:
    page = tab.open("/datasets/streamflow")
    page.click("#rows-table summary")
    refreshed = """
        (before) => { window.headraceRefresh(); return drawn.innerText !== before }
    """
    page.wait_for_function(refreshed, arg=page.inner_text("#drawn"), polling=300)
    assert page.locator("#rows-table[open]").count() == 1
