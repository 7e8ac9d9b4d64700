"""Everything that is done at the console, in a real browser; and a newcomer's way, first of all."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from cli.migrate import migrate
from cli.sample import write_streamflow
from infra.embedded.environment import Broker
from infra.embedded.services import SERVICES
from infra.embedded.stack import Stack
from shared.database.engine import make_engine
from shared.upload_area import AREA
from tests.browser.conftest import VIEWPORTS, Site, console_url
from tests.conftest import REPOSITORY
from tests.csv_rows import Row, change
from tests.e2e.conftest import Headrace
from tests.waiting import wait_until

MONTHS, USERS, SEED = 5, 900, 11
REJECTED, UNSEEN, UNEXPECTED = "month_002", "month_003", "month_004"
SLOW = 120_000
"""Milliseconds from an action to a trained model."""
LEARNING = """
    SELECT count(*) FROM headrace.loads AS l
    WHERE status = 'published' AND trains
        AND NOT EXISTS (SELECT FROM headrace.promotions AS p WHERE p.load_id = l.load_id)
"""
CHAMPION = """
    SELECT model_version FROM headrace.promotions WHERE promoted ORDER BY decided_at DESC LIMIT 1
"""


@dataclass
class Demo:
    """A stack after three drops, of which the third was rejected; two more wait in a folder.

    Of these the second has values that an expectation refuses.
    """

    site: Site
    headrace: Headrace
    drops: Path

    @property
    def password(self) -> str:
        found = self.headrace.settings.console_password
        assert found is not None, "`headrace up` makes one"
        return found.get_secret_value()

    def log_in(self, page: Page) -> None:
        page.goto(self.site.base + "/login")
        page.locator("#password").fill(self.password)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("button", name="Log out")).to_be_visible()

    def audited(self, action: str) -> list[dict[str, Any]]:
        rows = self.headrace.query(
            "SELECT * FROM headrace.audit WHERE action = :action ORDER BY audit_id", action=action
        )
        return [dict(row._mapping) for row in rows]


@pytest.fixture(scope="module")
def demo(
    tmp_path_factory: pytest.TempPathFactory, browser: Browser, broker: Broker
) -> Iterator[Demo]:
    root = tmp_path_factory.mktemp("demo")
    (root / "specs").mkdir()
    spec = (REPOSITORY / "datasets" / "streamflow.yaml").read_text()
    source = f"slices:\n  source: {root / 'drops'}\n"
    schedule = 'schedule: {cron: "0 6 1 1 *", time_zone: UTC}\n\n'
    spec = spec.replace("slices:\n", f"{schedule}{source}", 1)
    (root / "specs" / "streamflow.yaml").write_text(spec)
    drops = root / "drops"
    write_streamflow(drops, months=MONTHS, users=USERS, seed=SEED)
    # As in `headrace demo --faults`, of which the third is the last.
    write_streamflow(drops, months=3, users=USERS, seed=SEED, faults=True)
    change(drops / UNEXPECTED / "subscriptions.csv", rename_contracts("Month-to-month", "Monthly"))
    stack = Stack(
        root / ".headrace",
        given={"DATASETS_DIR": str(root / "specs")},
        inherited=dict(os.environ),
        broker=broker,
    )
    try:
        stack.start(SERVICES, migrate=migrate)
        engine = make_engine(stack.settings(), application="test")
        headrace = Headrace(stack, stack.settings(), engine, stack.root)
        for month in ("month_000", "month_001", REJECTED):
            headrace.run("load", "streamflow", "--slice", month, "--wait", code=None)
        yield Demo(Site(headrace, browser, console_url(stack), drops), headrace, drops)
        engine.dispose()
    finally:
        stack.stop()


def rename_contracts(said: str, new: str) -> Callable[[list[Row]], object]:
    """Has the contracts of a kind called something else."""

    def rename(rows: list[Row]) -> None:
        for row in rows:
            if row["contract_type"] == said:
                row["contract_type"] = new

    return rename


def test_a_newcomer_finds_out_why_a_drop_was_rejected_mends_it_and_sees_the_new_champion(
    demo: Demo, tmp_path: Path
) -> None:
    with demo.site.tab(accept_downloads=True) as tab:
        page = tab.open("/")
        expect(page.get_by_text("1 stopped").first).to_be_visible()
        tab.screenshot("newcomer-1-home")
        page.get_by_role("link", name="streamflow", exact=True).click()
        page.get_by_role("link", name=REJECTED).first.click()
        why = page.locator("#slice-head")
        expect(why).to_contain_text("Why it was rejected")
        expect(why).to_contain_text("is not a number")
        tab.screenshot("newcomer-2-why")

        page.get_by_role("link", name="Mend", exact=True).click()
        page.locator("main").get_by_role("link", name="Log in").click()
        page.locator("#password").fill(demo.password)
        page.get_by_role("button", name="Log in").click()
        tab.screenshot("newcomer-3-mend")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download usage_agg_30d.csv").first.click()
        sheet = tmp_path / "sheet.csv"
        download.value.save_as(sheet)
        text = sheet.read_text(encoding="utf-8-sig")
        mended = text.replace(",n/a,", ",11.5,").replace(',"12,5",', ",12.5,")
        assert text != mended
        sheet.write_text(mended, encoding="utf-8-sig")
        page.locator("#sheets").set_input_files(sheet)
        tab.screenshot("newcomer-4-chosen")
        page.get_by_role("button", name="See what they change").click()
        expect(page.locator(".lines li")).to_have_count(6)
        tab.screenshot("newcomer-5-confirm")
        page.get_by_role("button", name="Load the mended rows").click()
        expect(page.locator("#fate")).to_contain_text("published", timeout=SLOW)
        tab.screenshot("newcomer-6-done")

        page.get_by_role("link", name=re.compile("Follow it")).click()
        model = page.locator("#facts").get_by_role("link", name="version 3")
        expect(model).to_be_visible(timeout=SLOW)
        tab.screenshot("newcomer-7-slice")
        model.click()
        expect(page.locator("h1")).to_contain_text("version 3")
        # The same rows make the same model: it is better, and nobody has to say so.
        expect(page.locator("#model-head .status-champion")).to_be_visible()
        expect(page.locator("#decisions")).to_contain_text("beats champion")
        tab.screenshot("newcomer-8-model")
        page.get_by_role("link", name="Datasets", exact=True).first.click()
        expect(page.locator(".champion").first).to_contain_text("version 3")
        tab.screenshot("newcomer-9-champion")
    assert demo.audited("promote") == []
    (row,) = demo.audited("mend rows")
    assert (row["who"], row["outcome"], row["detail"]["rows"]) == ("admin", "asked", 6)


def test_an_action_leads_to_the_login_a_wrong_password_is_told_and_the_right_one_leads_back(
    demo: Demo,
) -> None:
    with demo.site.tab(refused={"/login": 401}) as tab:
        page = tab.page
        page.goto(f"{demo.site.base}/act/withdraw?dataset=streamflow&slice_key=month_000")
        expect(page.locator("#password")).to_be_focused()
        page.keyboard.type("not the password")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("That is not the password.")
        page.locator("#password").fill(demo.password)
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Withdraw streamflow/month_000?")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("link", name="Log in")).to_be_visible()
    assert [row["outcome"] for row in demo.audited("log in")][-2:] == ["refused", "done"]
    assert demo.audited("withdraw") == [], "to look at it does nothing"


def test_a_form_without_its_token_is_refused_in_the_browser_too(demo: Demo) -> None:
    with demo.site.tab(refused={"/act/pause-schedule": 403}) as tab:
        page = tab.page
        demo.log_in(page)
        page.goto(f"{demo.site.base}/act/pause-schedule?dataset=streamflow")
        page.evaluate("document.querySelector('main [name=form_token]').value = 'forged'")
        page.get_by_role("button", name="Pause it").click()
        expect(page.locator("main")).to_contain_text("not of your session")
    assert demo.audited("pause schedule") == []


def test_files_are_chosen_previewed_and_loaded_and_the_slice_is_followed_live(demo: Demo) -> None:
    with demo.site.tab() as tab:
        page = tab.page
        demo.log_in(page)
        page.get_by_role("link", name="Load", exact=True).click()
        page.locator("#dataset").select_option("streamflow")
        page.get_by_role("button", name="Go on").click()
        files = sorted((demo.drops / UNSEEN).glob("*.csv"))
        spoilt = tmp_with(demo.drops.parent, files)
        page.locator("#slice-a").fill(UNSEEN)
        page.locator("#files").set_input_files(spoilt)
        expect(page.locator(".drop li")).to_have_count(len(files))
        tab.screenshot("doing-load-chosen")
        page.get_by_role("button", name="See what the spec says to them").click()
        expect(page.get_by_text("The ingestor would reject it.")).to_be_visible()
        expect(page.locator("main")).to_contain_text("is not a number")
        assert tab.grave_findings() == []
        tab.screenshot("doing-preview-bad")
        page.get_by_role("link", name="Other files").click()
        page.locator("#files").set_input_files(files)
        page.get_by_role("button", name="See what the spec says to them").click()
        expect(page.get_by_text("It would pass the first gate")).to_be_visible()
        tab.screenshot("doing-preview-good")
        page.get_by_role("button", name="Load the slice").click()
        expect(page.locator("#fate")).to_contain_text(re.compile("waits|on its way|published"))
        page.get_by_role("link", name=re.compile("Follow it")).click(timeout=SLOW)
        head = page.locator("#slice-head")
        expect(head).to_contain_text("published", timeout=SLOW)
    (row,) = demo.audited("load")
    assert row["subject"] == f"streamflow/{UNSEEN}" and AREA in row["detail"]["source"]


def test_the_schedule_is_run_a_refused_file_is_mended_whole_and_loaded_from_its_folder(
    demo: Demo, tmp_path: Path
) -> None:
    with demo.site.tab(accept_downloads=True) as tab:
        page = tab.page
        demo.log_in(page)
        page.goto(demo.site.base + "/datasets/streamflow")
        page.get_by_role("link", name="Run the schedule now").click()
        expect(page.locator("h1")).to_have_text("Run the schedule of streamflow now?")
        page.get_by_role("button", name=f"Ask for {UNEXPECTED}").click()
        expect(page.locator("#fate")).to_contain_text("The load is rejected", timeout=SLOW)
        tab.screenshot("doing-schedule-run")
        page.get_by_role("link", name=re.compile("Follow it")).click()

        page.get_by_role("link", name="Mend", exact=True).click()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download subscriptions.csv").click()
        landed = tmp_path / "subscriptions.csv"
        download.value.save_as(landed)
        came = demo.drops / UNEXPECTED / "subscriptions.csv"
        assert landed.read_bytes() == came.read_bytes(), "as it came"
        change(landed, rename_contracts("Monthly", "Month-to-month"))
        shutil.copy(landed, came)

        page.get_by_role("link", name="load all of them again").click()
        expect(page.locator("#slice-b")).to_have_value(UNEXPECTED)
        page.locator("#source").fill(str(came.parent))
        page.get_by_role("button", name="See what the spec says to it").click()
        expect(page.get_by_text("It would pass the first gate")).to_be_visible()
        expect(page.locator("main")).to_contain_text(str(came.parent))
        page.get_by_role("button", name="Load the slice").click()
        expect(page.locator("#fate")).to_contain_text("The load is published", timeout=SLOW)
    (row,) = demo.audited("run schedule")
    assert (row["subject"], row["outcome"]) == (f"streamflow/{UNEXPECTED}", "asked")
    assert demo.audited("load")[-1]["detail"]["source"] == str(came.parent)


def tmp_with(folder: Path, files: list[Path]) -> list[Path]:
    """Copies of the files, one with values that are no numbers."""
    target = folder / "spoilt"
    target.mkdir(exist_ok=True)
    for file in files:
        (target / file.name).write_bytes(file.read_bytes())
    change(
        target / "usage_agg_30d.csv",
        lambda rows: [row.update(watch_hours_30d="n/a") for row in rows[20:26]],
    )
    return sorted(target.glob("*.csv"))


@pytest.fixture(scope="module")
def letters(demo: Demo) -> None:
    """Two dead letters: of loads whose folder isn't there."""
    nowhere = str(demo.drops.parent / "nowhere")
    for month in ("month_006", "month_007"):
        demo.headrace.run("load", "streamflow", "--slice", month, "--from", nowhere)
    are_there = "SELECT count(*) >= 2 FROM headrace.dead_letters"
    wait_until(lambda: demo.headrace.scalar(are_there), seconds=60, what="two dead letters")


@pytest.mark.usefixtures("letters")
def test_a_dead_letter_is_shown_redriven_and_another_dropped(demo: Demo) -> None:
    with demo.site.tab() as tab:
        page = tab.page
        demo.log_in(page)
        page.get_by_role("link", name="Trouble").click()
        expect(page.locator("#letters")).to_contain_text("is not there")
        expect(page.locator("#services .well")).to_have_count(len(SERVICES) - 1, timeout=60_000)
        tab.screenshot("doing-trouble")
        assert tab.grave_findings() == []
        page.locator("#letters").get_by_role("link", name="2", exact=True).click()
        expect(page.locator("#letter")).to_contain_text("SourceNotFound")
        tab.screenshot("doing-dead-letter")
        page.get_by_role("link", name="Drop").click()
        page.locator("#reason").fill("the folder was a typing error")
        tab.screenshot("doing-drop")
        page.get_by_role("button", name="Drop it").click()
        expect(page.locator("#fate")).to_contain_text("Done.")
        page.goto(demo.site.base + "/trouble/dead/1")
        page.get_by_role("link", name="Redrive").click()
        page.get_by_role("button", name="Redrive it").click()
        expect(page.locator("#fate")).to_contain_text("gave up", timeout=SLOW)
        tab.screenshot("doing-redriven-in-vain")
    assert demo.audited("drop")[-1]["detail"]["reason"] == "the folder was a typing error"
    assert demo.audited("redrive")[-1]["outcome"] == "asked"


def test_a_schedule_is_paused_and_resumed_from_the_datasets_page(demo: Demo) -> None:
    with demo.site.tab() as tab:
        page = tab.page
        demo.log_in(page)
        for name, verb, said in (
            ("Pause the schedule", "Pause it", "is_paused"),
            ("Resume the schedule", "Resume it", "NOT is_paused"),
        ):
            page.goto(demo.site.base + "/datasets/streamflow")
            page.get_by_role("link", name=name).click()
            page.get_by_role("button", name=verb).click()
            expect(page.locator("#fate")).to_contain_text("Done.")
            assert demo.headrace.scalar(f"SELECT {said} FROM headrace.schedules")


def test_a_replay_from_the_slices_events_is_done(demo: Demo) -> None:
    with demo.site.tab() as tab:
        page = tab.page
        demo.log_in(page)
        page.goto(demo.site.base + "/datasets/streamflow/slices/month_000")
        page.locator("#timeline").get_by_role("link", name="Replay").last.click()
        expect(page.locator("h1")).to_contain_text("Replay")
        page.get_by_role("button", name="Replay it").click()
        expect(page.locator("#fate")).to_contain_text("Done.", timeout=SLOW)
    assert demo.audited("replay")[-1]["dataset"] == "streamflow"


def test_a_rollback_and_a_promotion_are_answered_by_the_trainer(demo: Demo) -> None:
    with demo.site.tab() as tab:
        page = tab.page
        demo.log_in(page)
        wait_until(lambda: demo.headrace.scalar(LEARNING) == 0, seconds=60, what="all are learned")
        now = demo.headrace.scalar(CHAMPION)
        page.goto(f"{demo.site.base}/datasets/streamflow/models/{now}")
        page.get_by_role("link", name="Roll back").click()
        tab.screenshot("doing-roll-back")
        assert tab.grave_findings() == []
        page.get_by_role("button", name=re.compile("Roll back to version")).click()
        expect(page.locator("#fate")).to_contain_text("Done.", timeout=SLOW)
        assert demo.headrace.scalar(CHAMPION) != now
        page.goto(f"{demo.site.base}/datasets/streamflow/models/{now}")
        page.get_by_role("link", name="Promote").click()
        page.get_by_role("button", name=f"Promote version {now}").click()
        expect(page.locator("#fate")).to_contain_text("Done.", timeout=SLOW)
        assert demo.headrace.scalar(CHAMPION) == now
    assert [row["outcome"] for row in demo.audited("roll back")] == ["asked"]


def test_a_slice_is_withdrawn_without_javascript(demo: Demo) -> None:
    with demo.site.tab(java_script_enabled=False) as tab:
        page = tab.page
        demo.log_in(page)
        page.goto(demo.site.base + "/datasets/streamflow/slices/month_000")
        page.get_by_role("link", name="Withdraw").click()
        page.locator("#reason").fill("a test's")
        page.get_by_role("button", name="Withdraw the slice").click()
        expect(page.locator("h1")).to_have_text("Withdraw: streamflow/month_000")

        def is_over() -> bool:
            page.reload()
            return "The load is withdrawn." in page.locator("#fate").inner_text()

        wait_until(is_over, seconds=SLOW / 1000, what="it is withdrawn")
    assert demo.audited("withdraw")[-1]["detail"]["reason"] == "a test's"


PLACES = {
    "login": ("/login", "Password"),
    "load": ("/load?dataset=streamflow", "What streamflow expects"),
    "preview": (
        "/load/preview?dataset=streamflow&slice_key={rejected}&source={drops}",
        "Rows that would be quarantined",
    ),
    "mend-rows": ("/mend?load={load}", "Download the bad rows"),
    "trouble": ("/trouble", "What waits, and on what"),
    "audit": ("/audit", "log in"),
    "act": ("/act/pause-schedule?dataset=streamflow", "Pause the schedule of streamflow?"),
    "act-withdraw": (
        "/act/withdraw?dataset=streamflow&slice_key=month_001",
        "Withdraw streamflow/month_001?",
    ),
    "act-promote": (
        "/act/promote?model=streamflow_churn&version={other}",
        "the champion of streamflow_churn?",
    ),
    "acted": ("/acts/1", "from 127.0.0.1"),
    "dead-letter": ("/trouble/dead/1", "Headers"),
}
LOAD = f"""
    SELECT load_id FROM headrace.loads WHERE slice_key = '{REJECTED}' AND status = 'rejected'
"""
OTHER = f"SELECT model_version FROM headrace.promotions WHERE model_version <> ({CHAMPION})"


@pytest.fixture(scope="module")
def places(demo: Demo) -> dict[str, str]:
    """Their addresses, which name what there is by now."""
    found = {
        "rejected": REJECTED,
        "drops": demo.drops,
        "load": demo.headrace.scalar(LOAD),
        "other": demo.headrace.scalar(OTHER),
    }
    return {name: address.format(**found) for name, (address, _) in PLACES.items()}


@pytest.fixture(scope="module")
def session(demo: Demo) -> Any:
    """What a browser keeps of a login."""
    with demo.site.tab() as tab:
        demo.log_in(tab.page)
        return tab.page.context.storage_state()


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize("viewport", VIEWPORTS)
@pytest.mark.parametrize("name", PLACES)
def test_a_page_for_acting_is_for_everybody(
    demo: Demo, places: dict[str, str], session: Any, name: str, viewport: str
) -> None:
    kept = None if name == "login" else session
    with demo.site.tab(viewport, storage_state=kept) as tab:
        page = tab.open(places[name])
        assert PLACES[name][1] in page.inner_text("main")
        tab.look_at(name, viewport)
