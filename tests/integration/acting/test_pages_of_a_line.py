"""What pages show of slices that went through the line, and what they look at again."""

from html.parser import HTMLParser

import pytest

from shared.contracts.envelope import Event, Record
from shared.contracts.events import LoadRequested
from shared.messaging import outbox
from shared.messaging.dead_letters import bury
from tests.integration.acting.conftest import Browser
from tests.integration.corrections.conftest import Line, MakeLine, users

VOID = {"br", "hr", "img", "input", "link", "meta"}


class LiveParts(HTMLParser):
    """The ids of a page that are within a part which `live.js` puts in anew."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self._open: list[bool] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        is_live = bool(self._open and self._open[-1]) or {"data-live", "id"} <= found.keys()
        if is_live and "id" in found:
            self.ids.add(str(found["id"]))
        if tag not in VOID:
            self._open.append(is_live)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()


@pytest.fixture
def line(make_line: MakeLine) -> Line:
    """A pipeline with a model."""
    return make_line()


@pytest.fixture
def two_slices(line: Line) -> Line:
    """The second one's drift is measured against the first one's."""
    for number in range(2):
        load = line.load(f"day_{number:02d}", users(1, 200, shift=number * 3.0))
        assert load["status"] == "published"
    return line


def test_what_is_compared_is_looked_at_again_with_what_it_is_told_beside(
    two_slices: Line, browser: Browser
) -> None:
    base = f"/datasets/{two_slices.dataset}"
    for part, ids in {
        "drift": {"summary-title", "f-users.score", "all-title"},
        "models": {"versions-title", "pair-title", "decisions-title"},
        "snapshots": {"pair-title", "samples-title", "all-title"},
    }.items():
        assert ids <= LiveParts(browser.get(f"{base}/{part}").text).ids, part


def test_a_training_dataset_leads_to_the_facts_of_it(two_slices: Line, browser: Browser) -> None:
    (made,) = browser.sql(
        """
        SELECT p.model_version, d.manifest_uri, d.train_uri, d.test_uri, d.class_counts
        FROM headrace.promotions AS p
        JOIN headrace.training_datasets AS d USING (dataset_version)
        ORDER BY p.decided_at DESC LIMIT 1
        """
    )
    slice_page = f"/datasets/{two_slices.dataset}/slices/day_01"
    version = f"/datasets/{two_slices.dataset}/models/{made.model_version}"
    assert f'href="{version}#lineage-title"' in browser.get(slice_page).text
    page = browser.get(version).text
    assert 'id="lineage-title"' in page
    for uri in (made.manifest_uri, made.train_uri, made.test_uri):
        assert uri in page
    for rows in made.class_counts["train"].values():
        assert f'<td class="num">{rows}</td>' in page
    browser.sql("DELETE FROM headrace.promotions")
    page = browser.get(slice_page).text
    assert "#lineage-title" not in page
    assert "no model version of it" in page


def test_a_dead_letters_value_reads_as_it_was_sent_and_runs_nothing(browser: Browser) -> None:
    value = """{"slice_key": "it's é", "source_uri": "<script>alert(1)</script>", "z": "\\ud800"}"""
    record = Record("load-requested", 0, 7, b"people", {}, value.encode())
    with browser.engine.begin() as connection:
        bury(
            connection,
            service="ingestor",
            record=record,
            event=None,
            stage=None,
            error=ValueError("it is no event"),
            attempts=1,
            clock=browser.clock,
        )
    page = browser.get("/trouble/dead/1").text
    assert "&#34;it&#39;s é&#34;" in page
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert "\\ud800" in page


def test_a_slice_that_is_only_asked_for_keeps_the_datasets_page_looking(
    line: Line, browser: Browser
) -> None:
    page = f"/datasets/{line.dataset}"
    assert "data-working" not in browser.get(page).text
    asked = LoadRequested(dataset=line.dataset, slice_key="day_00", source_uri="/x")
    with line.engine.begin() as connection:
        outbox.put(connection, Event(asked, source="test", time=browser.clock()))
    assert "data-working" in browser.get(page).text


def test_the_button_that_pauses_a_schedule_is_looked_at_again(line: Line, browser: Browser) -> None:
    line.spec["schedule"] = {"cron": "0 6 * * *", "time_zone": "UTC"}
    line.write_spec()
    page = browser.get(f"/datasets/{line.dataset}").text
    assert "/act/pause-schedule" in page
    assert "pausing" in LiveParts(page).ids
