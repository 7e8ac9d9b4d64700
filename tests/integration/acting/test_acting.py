"""What is done at the console: each action, confirmed, carried out once, and written down."""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import event, insert

from shared.contracts.envelope import Event, Record, decode
from shared.contracts.events import LoadRequested, Payload, PromotionRequested
from shared.contracts.topics import Topic
from shared.database.tables import promotions
from shared.messaging.dead_letters import bury
from shared.messaging.kafka import follow
from tests.integration.acting.conftest import TOKEN, Browser
from tests.integration.corrections.conftest import Line, users


@pytest.fixture
def published(line: Line) -> Line:
    """A dataset with one slice in, two of whose rows are in quarantine."""
    assert line.load("day_00", users(1, 40, bad=2))["status"] == "published"
    return line


def asked(browser: Browser) -> list[Payload]:
    """What the console has asked for, oldest first."""
    rows = browser.sql(
        "SELECT topic, key, headers, value FROM headrace.outbox WHERE source = 'console' "
        "ORDER BY outbox_id"
    )
    return [
        decode(Record(row.topic, 0, 0, row.key.encode(), row.headers, bytes(row.value))).payload
        for row in rows
    ]


def last(browser: Browser) -> dict[str, Any]:
    return browser.audit()[-1]


def test_a_withdrawal_is_confirmed_with_a_reason_done_and_written_down(
    published: Line, admin: Browser
) -> None:
    answer = admin.confirm(
        "withdraw", {"reason": "the wrong file"}, dataset=published.dataset, slice_key="day_00"
    )
    assert admin.woken == [None], "the relay sends it at once"
    assert "waits to be put on its topic" in admin.acted(answer)
    row = last(admin)
    assert (row["who"], row["action"], row["outcome"]) == ("admin", "withdraw", "asked")
    assert (row["dataset"], row["subject"]) == (published.dataset, f"{published.dataset}/day_00")
    assert row["detail"] == {"slice_key": "day_00", "reason": "the wrong file"}
    assert row["session_id"] == admin.audit()[0]["session_id"]
    published.run()
    assert "The load is withdrawn." in admin.acted(answer)
    assert published.current() == {}
    (load,) = admin.sql("SELECT requested_by, reasons FROM headrace.loads WHERE kind='withdrawal'")
    assert (load.requested_by, load.reasons[0]["message"]) == ("admin", "the wrong file")


def test_what_can_not_be_done_is_refused_in_words_and_written_down_and_asks_for_nothing(
    published: Line, admin: Browser
) -> None:
    where = {"dataset": published.dataset, "slice_key": "day_07"}
    page = admin.get("/act/withdraw", params=where)
    assert page.status_code == 400
    assert "was never loaded" in page.text
    token = admin.form_token("/audit")
    answer = admin.post("/act/withdraw", {**where, "reason": "x", "form_token": token})
    assert answer.status_code == 400
    assert "was never loaded" in answer.text
    row = last(admin)
    assert (row["outcome"], row["dataset"]) == ("refused", published.dataset)
    assert "was never loaded" in row["detail"]["error"]
    assert "form_token" not in row["detail"]
    assert asked(admin) == []
    assert "was never loaded" in admin.get(f"/acts/{row['audit_id']}").text


def test_a_withdrawal_without_a_reason_is_refused(published: Line, admin: Browser) -> None:
    answer = admin.confirm(
        "withdraw", {"reason": "  "}, dataset=published.dataset, slice_key="day_00"
    )
    assert answer.status_code == 400
    assert "say why" in answer.text
    assert asked(admin) == []


def test_the_audit_row_and_the_event_commit_together_or_not_at_all(
    published: Line, admin: Browser
) -> None:
    admin.sql("ALTER TABLE headrace.audit ADD CONSTRAINT full_up CHECK (action <> 'withdraw')")
    answer = None
    try:
        answer = admin.confirm(
            "withdraw", {"reason": "x"}, dataset=published.dataset, slice_key="day_00"
        )
    except Exception as error:  # the server hangs up on what nobody foresaw
        assert "disconnected" in str(error)
    assert answer is None or answer.status_code == 500
    assert asked(admin) == []


def test_a_load_from_a_folder_runs_through_and_its_page_tells(line: Line, admin: Browser) -> None:
    folder = line.drop("day_00", {"users.csv": users(1, 20)})
    answer = admin.confirm("load", dataset=line.dataset, source=folder)
    assert asked(admin) == [
        LoadRequested(
            dataset=line.dataset, slice_key="day_00", source_uri=str(folder), requested_by="admin"
        )
    ]
    assert "waits" in admin.acted(answer)
    line.run()
    page = admin.acted(answer)
    assert "The load is published." in page
    assert f"/datasets/{line.dataset}/slices/day_00?load=" in page
    assert last(admin)["detail"]["source"] == str(folder)


def test_the_slice_that_was_confirmed_is_asked_for_also_if_another_came_meanwhile(
    line: Line, admin: Browser
) -> None:
    folder = line.drop("day_00", {"users.csv": users(1, 20)})
    page = admin.get("/act/load", params={"dataset": line.dataset, "source": str(folder)})
    assert 'name="slice_key" value="day_00"' in page.text
    line.load("day_00", users(1, 20))
    again = admin.confirm("load", dataset=line.dataset, source=folder, slice_key="day_00")
    assert [each.slice_key for each in asked(admin)] == ["day_00"]
    line.run()
    assert "The load is unchanged." in admin.acted(again)


@pytest.fixture
def dead(line: Line, admin: Browser) -> Event[Payload]:
    """A load that was given up, since its folder isn't there."""
    payload = LoadRequested(
        dataset=line.dataset, slice_key="day_00", source_uri=str(line.folder / "drops" / "day_00")
    )
    event = Event(payload, source="test", time=datetime.now(UTC))
    key, headers, value = event.key.encode(), event.headers(), event.value()
    line.deliver(Record(payload.topic.value, 0, 7, key, headers, value))
    return event


def test_a_dead_letter_is_shown_whole_and_redriven_as_it_was(
    line: Line, admin: Browser, dead: Event[Payload]
) -> None:
    listing = admin.get("/trouble").text
    assert "is not there" in listing and "/trouble/dead/1" in listing
    page = admin.get("/trouble/dead/1").text
    assert dead.id in page and "source_uri" in page and "SourceNotFound" in page
    answer = admin.confirm("redrive", dead_letter_id=1)
    assert "on its topic again" in answer.text or answer.status_code == 303
    (record,) = follow(
        admin.settings,
        [Topic.LOAD_REQUESTED],
        from_beginning=True,
        stop=threading.Event(),
        until_idle_seconds=2,
    )
    assert record.headers["ce_id"] == dead.id
    row = last(admin)
    assert (row["action"], row["outcome"], row["event_id"]) == ("redrive", "asked", dead.id)
    line.drop("day_00", {"users.csv": users(1, 20)})
    line.deliver(replace(record, topic=Topic.LOAD_REQUESTED.value))
    line.run()
    assert "The load is published." in admin.acted(answer)


def test_a_dead_letter_is_dropped_with_a_reason_once(admin: Browser, dead: Event[Payload]) -> None:
    answer = admin.confirm("drop", {"reason": "a test's"}, dead_letter_id=1)
    assert "Done." in admin.acted(answer)
    row = last(admin)
    assert (row["action"], row["outcome"], row["detail"]["reason"]) == ("drop", "done", "a test's")
    page = admin.get("/trouble/dead/1").text
    assert "by admin: a test&#39;s" in page
    assert "/act/redrive" not in page
    assert admin.get("/act/redrive?dead_letter_id=1").status_code == 400
    assert "/trouble/dead/1" not in admin.get("/trouble").text
    assert "/trouble/dead/1" in admin.get("/trouble?every=true").text


def test_a_replay_asks_for_what_follows_an_old_event_under_a_new_id(
    published: Line, admin: Browser
) -> None:
    (old,) = admin.sql("SELECT event_id FROM headrace.outbox WHERE topic = 'snapshotted'")
    answer = admin.confirm("replay", event_id=old.event_id)
    (new,) = admin.sql(
        "SELECT event_id, headers FROM headrace.outbox "
        "WHERE topic = 'snapshotted' AND source = 'console'"
    )
    assert new.headers["ce_causationid"] == old.event_id
    published.run()
    assert "Done." in admin.acted(answer)
    assert last(admin)["detail"]["replayed"] == old.event_id
    assert admin.get("/act/replay?event_id=nothing").status_code == 400


SCHEDULE = {"cron": "0 6 * * *", "time_zone": "UTC"}


def test_a_schedule_is_paused_resumed_and_run_now(line: Line, admin: Browser) -> None:
    line.spec["schedule"] = SCHEDULE
    line.spec["slices"]["source"] = str(line.folder / "drops")
    line.write_spec()
    line.drop("day_00", {"users.csv": users(1, 20)})
    paused = admin.confirm("pause-schedule", dataset=line.dataset)
    assert "Done." in admin.acted(paused)
    (row,) = admin.sql("SELECT is_paused, changed_by FROM headrace.schedules")
    assert (row.is_paused, row.changed_by) == (True, "admin")
    again = admin.confirm("pause-schedule", dataset=line.dataset)
    assert "was paused before" in again.text
    assert last(admin)["outcome"] == "refused"

    run = admin.confirm("run-schedule", dataset=line.dataset)
    line.run()
    assert "The load is published." in admin.acted(run)
    assert last(admin)["subject"] == f"{line.dataset}/day_00"

    admin.confirm("resume-schedule", dataset=line.dataset)
    (row,) = admin.sql("SELECT is_paused FROM headrace.schedules")
    assert not row.is_paused
    actions = [(each["action"], each["outcome"]) for each in admin.audit()[1:]]
    assert actions == [
        ("pause schedule", "done"),
        ("pause schedule", "refused"),
        ("run schedule", "asked"),
        ("resume schedule", "done"),
    ]


def test_a_schedule_that_is_run_asks_for_the_slice_that_was_confirmed_or_for_none(
    line: Line, admin: Browser
) -> None:
    line.spec["schedule"] = SCHEDULE
    line.spec["slices"]["source"] = str(line.folder / "drops")
    line.write_spec()
    page = admin.get("/act/run-schedule", params={"dataset": line.dataset}).text
    assert "Ask for day_00" in page
    form = re.search(r'action="/act/run-schedule">(.*)</form>', page, re.DOTALL)
    assert form is not None
    hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form[1]))

    def asked_for() -> list[str]:
        query = "SELECT headers ->> 'ce_subject' AS what FROM headrace.outbox ORDER BY outbox_id"
        return [row.what for row in admin.sql(query)]

    assert admin.post("/act/run-schedule", hidden).status_code == 303
    twice = admin.post("/act/run-schedule", hidden)
    assert (twice.status_code, "day_00 was asked for meanwhile" in twice.text) == (400, True)
    assert last(admin)["outcome"] == "refused"
    assert asked_for() == [f"{line.dataset}/day_00"]
    assert len(admin.sql("SELECT outcome FROM headrace.schedule_runs")) == 1

    script = {"headers": {"Authorization": f"Bearer {TOKEN}"}, "json": {"dataset": line.dataset}}
    assert admin.http.post("/act/run-schedule", **script).status_code == 202
    assert asked_for() == [f"{line.dataset}/day_00", f"{line.dataset}/day_01"]


def test_a_dataset_without_a_schedule_has_none_to_run(line: Line, admin: Browser) -> None:
    page = admin.get("/act/run-schedule", params={"dataset": line.dataset})
    assert page.status_code == 400
    assert "has no schedule" in page.text


@pytest.fixture
def decided(published: Line, admin: Browser) -> Callable[..., None]:
    """Records decisions about versions of a model, as the trainer would."""

    def decide(*made: tuple[str, str]) -> None:
        (load,) = admin.sql("SELECT load_id FROM headrace.loads LIMIT 1")
        for number, (version, decision) in enumerate(made):
            with admin.engine.begin() as connection:
                connection.execute(
                    insert(promotions).values(
                        event_id=f"decision-{number}",
                        dataset=published.dataset,
                        load_id=load.load_id,
                        snapshot_id="s",
                        as_of=date(2024, 3, 1),
                        dataset_version="v",
                        model_name="people_label",
                        model_version=version,
                        run_id="r",
                        promoted=decision != "not_better",
                        decision=decision,
                        reason="a test's",
                        metric="roc_auc",
                        score=0.8,
                        metrics={},
                    )
                )

    return decide


def test_a_promotion_asks_the_trainer_and_names_the_champion_that_was_seen(
    published: Line, admin: Browser, decided: Callable[..., None]
) -> None:
    decided(("1", "first_champion"), ("2", "not_better"))
    answer = admin.confirm(
        "promote", {"reason": "it serves better"}, model="people_label", version="2"
    )
    assert asked(admin) == [
        PromotionRequested(
            dataset=published.dataset,
            slice_key="day_00",
            action="promote",
            model_name="people_label",
            model_version="2",
            champion_version="1",
            reason="it serves better",
            requested_by="admin",
        )
    ]
    assert "It waits" in admin.acted(answer)
    assert last(admin)["detail"]["champion_then"] == "1"


def test_a_champion_is_one_and_can_be_rolled_back_after_many_versions_that_were_not_better(
    published: Line, admin: Browser, decided: Callable[..., None]
) -> None:
    decided(("1", "first_champion"), *((str(n), "not_better") for n in range(2, 103)))
    models = f"/datasets/{published.dataset}/models"
    assert "Version 1, the champion, and version 102" in admin.get(models).text
    page = admin.get(f"{models}/1").text
    assert "/act/roll-back?" in page and "/act/promote?" not in page


def test_a_rollback_names_both_versions_and_there_must_be_one_to_go_back_to(
    admin: Browser, decided: Callable[..., None]
) -> None:
    decided(("1", "first_champion"))
    page = admin.get("/act/roll-back?model=people_label")
    assert (page.status_code, "no champion before" in page.text) == (400, True)
    decided_more = [("3", "beats_champion")]
    admin.sql("DELETE FROM headrace.promotions")
    decided(("1", "first_champion"), *decided_more)
    admin.confirm("roll-back", model="people_label")
    (payload,) = asked(admin)
    assert isinstance(payload, PromotionRequested)
    assert (payload.action, payload.model_version, payload.champion_version) == (
        "roll_back",
        "1",
        "3",
    )


def test_a_promotion_that_the_trainer_refuses_is_told_where_it_was_asked_for(
    admin: Browser, decided: Callable[..., None]
) -> None:
    decided(("1", "first_champion"), ("2", "not_better"))
    answer = admin.confirm("promote", model="people_label", version="2")
    (row,) = admin.sql("SELECT * FROM headrace.outbox WHERE source = 'console'")
    record = Record(row.topic, 0, 3, row.key.encode(), row.headers, bytes(row.value))
    with admin.engine.begin() as connection:
        bury(
            connection,
            service="trainer",
            record=record,
            event=decode(record),
            stage=None,
            error=ValueError("people_label has no version 2"),
            attempts=1,
            clock=admin.clock,
        )
    page = admin.acted(answer)
    assert "The trainer gave up: people_label has no version 2" in page
    assert "/trouble/dead/1" in page


def test_a_script_acts_and_asks_what_became_of_it(published: Line, browser: Browser) -> None:
    answer = browser.http.post(
        "/act/withdraw",
        json={"dataset": published.dataset, "slice_key": "day_00", "reason": "a script's"},
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    assert answer.status_code == 202
    told = answer.json()
    assert (told["outcome"], told["message"]) == (
        "asked",
        f"Asked to withdraw {published.dataset}/day_00.",
    )
    published.run()
    fate = browser.http.get(f"/acts/{told['audit_id']}").json()
    assert (fate["state"], fate["load_id"]) == ("done", told["event_id"])
    assert last(browser)["who"] == "API token"


def test_the_audit_is_read_in_pages_and_by_dataset(
    published: Line, browser_of: Callable[..., Browser]
) -> None:
    browser = browser_of(console_page_rows=5)
    browser.log_in()
    for number in range(6):
        token = browser.form_token("/audit")
        where = {"dataset": published.dataset, "slice_key": f"day_{number:02d}x"}
        browser.post("/act/withdraw", {**where, "reason": "x", "form_token": token})
    page = browser.get("/audit").text
    assert "day_05x" in page and "day_00x" not in page
    assert "earlier" in page
    before = browser.audit()[2]["audit_id"]
    assert "day_00x" in browser.get(f"/audit?before={before}").text
    assert "log in" not in browser.get(f"/audit?dataset={published.dataset}").text


def test_what_is_no_form_is_refused(admin: Browser) -> None:
    for content, kind in ((b"{", "application/json"), (b"<a/>", "application/xml"), (b"[]", "")):
        headers = {"Content-Type": kind, "Authorization": f"Bearer {TOKEN}"}
        answer = admin.http.post("/act/drop", content=content, headers=headers)
        assert answer.status_code == 400, (kind, answer.text)
    large = json.dumps({"reason": "x" * 100_000})
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    assert admin.http.post("/act/drop", content=large, headers=headers).status_code == 413
    assert admin.get("/act/nothing").status_code == 404


@pytest.mark.parametrize("said", ["0x1", "-1", "1e3", "9" * 30, "", "½"])
def test_a_number_that_is_none_is_refused(admin: Browser, said: str) -> None:
    assert admin.get("/act/redrive", params={"dead_letter_id": said}).status_code == 400


def test_a_page_of_those_who_may_act_reads_as_every_other_page_does(
    published: Line, admin: Browser
) -> None:
    (load,) = admin.sql("SELECT load_id, source_uri FROM headrace.loads")
    (old,) = admin.sql("SELECT event_id FROM headrace.outbox WHERE topic = 'snapshotted'")
    where = {"dataset": published.dataset, "slice_key": "day_00"}
    of_load = {"load": load.load_id, "file": "users.csv"}
    begun: list[Any] = []
    note = begun.append
    event.listen(admin.engine, "begin", note)
    try:
        for path, asked_with in {
            "/act/withdraw": where,
            "/act/load": {**where, "source": load.source_uri},
            "/act/replay": {"event_id": old.event_id},
            "/load/preview": {**where, "source": load.source_uri},
            "/mend/sheet": of_load,
            "/mend/file": of_load,
        }.items():
            answer = admin.get(path, params=asked_with)
            assert answer.status_code == 200, f"{path}: {answer.text}"
            assert begun == [], f"{path} has the login that writes"
    finally:
        event.remove(admin.engine, "begin", note)


def test_loads_of_others_stay_as_they_are(published: Line, admin: Browser) -> None:
    before = admin.sql("SELECT count(*) AS n FROM headrace.loads")[0].n
    for name in ("withdraw", "load", "replay", "redrive", "mend", "promote"):
        admin.get(f"/act/{name}?dataset={published.dataset}&slice_key=day_00")
    assert admin.sql("SELECT count(*) AS n FROM headrace.loads")[0].n == before
    assert asked(admin) == [], "to look at a confirming page does nothing"
