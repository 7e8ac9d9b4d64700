"""Every page in a real browser: at a desk and on a phone, in light and in dark."""

import pytest

from tests.browser import story
from tests.browser.conftest import VIEWPORTS, Site, Tab

PLACES = {
    "home": ("/", "streamflow"),
    "dataset": ("/datasets/streamflow", "month_004"),
    "dataset-of-shares": ("/datasets/rakuten", "43%"),
    "dataset-without-loads": ("/datasets/bakery", "Nothing was loaded yet"),
    "slice-rejected": (f"/datasets/streamflow/slices/{story.REJECTED}", "Why it was rejected"),
    "slice-published": ("/datasets/streamflow/slices/month_004", "What came of it"),
    "slice-quarantined": (f"/datasets/streamflow/slices/{story.QUARANTINED}", "All loads of"),
    "slice-failed": ("/datasets/streamflow/slices/month_006", "Dead letter"),
    "snapshots": ("/datasets/streamflow/snapshots", "What changed"),
    "models": ("/datasets/streamflow/models", "Every decision"),
    "model": ("/datasets/streamflow/models/1", "What it came of"),
    "model-of-many-classes": ("/datasets/rakuten/models/1", "Confusion"),
    "drift": ("/datasets/streamflow/drift", "All comparisons"),
    "mend": ("/mend?load={refused}", "Mend whole files"),
    "spec": ("/datasets/streamflow/spec", "streamflow.yaml"),
    "not-there": ("/datasets/nobody", "No such dataset"),
}
REFUSED = f"""
    SELECT load_id FROM headrace.loads WHERE slice_key = '{story.REJECTED}' AND status = 'rejected'
"""
KEYBOARD_STOPS = """
    [...document.querySelectorAll(
        'a[href], button, input, select, textarea, summary, [tabindex="0"]'
    )].filter((each) => each.checkVisibility() && each.type !== 'radio').length
"""


def place(site: Site, name: str) -> tuple[str, str]:
    """A page's address, and what it says."""
    address, said = PLACES[name]
    return address.format(refused=site.headrace.scalar(REFUSED)), said


@pytest.mark.parametrize("viewport", VIEWPORTS)
@pytest.mark.parametrize("name", PLACES)
def test_a_page_says_what_it_is_for_without_a_fault_and_for_everybody(
    site: Site, name: str, viewport: str
) -> None:
    path, said = place(site, name)
    # The browser itself tells of a 404.
    refused = {path: 404} if name == "not-there" else {}
    with site.tab(viewport, refused=refused) as tab:
        page = tab.open(path)
        assert said in page.inner_text("main")
        tab.look_at(name, viewport)


@pytest.mark.parametrize("name", ["home", "dataset", "slice-rejected", "snapshots", "models"])
def test_everything_that_can_be_used_is_reached_with_the_keyboard(tab: Tab, name: str) -> None:
    page = tab.open(PLACES[name][0])
    stops = page.evaluate(KEYBOARD_STOPS)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = {page.evaluate("document.activeElement.outerHTML")}
    for _ in range(stops + 10):
        page.keyboard.press("Tab")
        page.evaluate("document.activeElement.dataset.reached = '1'")
        reached.add(page.evaluate("document.activeElement.tagName"))
    missed = page.evaluate("""
        [...document.querySelectorAll('a[href], button, summary, [tabindex="0"]')]
            .filter((each) => each.checkVisibility() && !each.dataset.reached)
            .filter((each) => each.className !== 'skip').map((each) => each.outerHTML.slice(0, 120))
    """)
    assert missed == []


@pytest.mark.parametrize("name", PLACES)
def test_a_page_reads_as_well_without_javascript(site: Site, name: str) -> None:
    path, said = place(site, name)
    refused = {path: 404} if name == "not-there" else {}
    with site.tab(java_script_enabled=False, refused=refused) as tab:
        tab.page.goto(site.base + path, wait_until="load")
        assert said in tab.page.inner_text("main")


def test_the_colours_that_somebody_chose_stay(site: Site) -> None:
    with site.tab(scheme="light") as tab:
        page = tab.open("/")
        ground = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(ground)
        page.click("#theme")
        page.click("#theme")
        assert page.inner_text("#theme") == "dark"
        dark = page.evaluate(ground)
        assert dark != light
        tab.open("/datasets/streamflow")
        assert page.evaluate(ground) == dark
        page.click("#theme")
        assert page.evaluate(ground) == light, "as the system has it"


def test_from_the_first_page_to_why_a_slice_was_rejected(site: Site) -> None:
    with site.tab("phone") as tab:
        page = tab.open("/")
        page.click("main >> text=streamflow")
        page.click("#slices >> text=stopped")
        page.click(f"#slices >> text={story.REJECTED}")
        why = page.inner_text("#slice-head")
        assert "contract_type" in why
        assert "'Monthly' at" in why
        assert "watch_hours_30d" in why
        rows = page.locator("#expectations table").first.locator("tbody tr")
        assert rows.count() == 14
        assert "Monthly" in rows.first.inner_text()


def test_two_versions_are_chosen_and_stand_beside_one_another(tab: Tab) -> None:
    page = tab.open("/datasets/streamflow/models")
    page.check("input[name=a][value='1']")
    page.check("input[name=b][value='3']")
    page.click("text=Compare the two")
    page.wait_for_url(lambda url: "a=1" in url and "b=3" in url and url.endswith("#pair"))
    said = page.inner_text("#pair")
    assert "Version 1" in said.splitlines()[0]
    assert "version 3" in said.splitlines()[0]
    assert page.locator("#pair .matrix").count() == 2
    assert page.locator("#pair svg.plot path[class^=line-]").count() == 4, "two curves, twice"
    tab.screenshot("models-compared")


def test_the_rows_that_changed_between_two_snapshots(tab: Tab) -> None:
    page = tab.open("/datasets/streamflow/snapshots")
    page.click("#all >> text=with the one before >> nth=2")
    page.wait_for_url("**to=*")
    page.click("#pair-title ~ div table >> text=subscriptions")
    page.wait_for_url("**table=subscriptions**")
    said = page.inner_text("#samples")
    assert "90 updated" in said, "the fees that the second revision raised"
    assert "monthly_fee" in said


def test_a_model_leads_back_to_the_files_that_it_came_of(tab: Tab) -> None:
    page = tab.open("/datasets/streamflow/models")
    page.click("#versions a:text-is('version 4')")
    page.wait_for_url("**/models/4", timeout=60_000)
    said = page.inner_text(".lineage")
    assert "month_000" in said
    assert "s3://headrace-landing/streamflow/month_003/" in said
    page.click(".lineage >> text=month_003 >> nth=0")
    page.wait_for_url("**/slices/month_003**")
    assert "published" in page.inner_text("#slice-head")
