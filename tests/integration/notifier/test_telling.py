"""One message for each event and target, written by a handler that talks to no target."""

import io
import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from services.notifier.handlers import SERVICE
from shared.contracts.envelope import Event, Record, decode
from shared.contracts.events import Payload
from shared.database.tables import loads, promotions
from shared.errors import InvalidSpec
from shared.messaging import dead_letters
from tests.integration.notifier.conftest import Notifying
from tests.integration.notifier.receiver import DROP, HANG, Receiver
from tests.waiting import wait_until

Make = Callable[..., Notifying]


def with_load(notifying: Notifying) -> Event[Payload]:
    with notifying.engine.begin() as connection:
        connection.execute(
            insert(loads).values(
                load_id="load-1",
                dataset="rakuten",
                slice_key="43%",
                as_of=date(2024, 1, 8),
                revision=1,
                status="rejected",
                source_uri="/data/rakuten",
                requested_by="test",
                requested_at=notifying.clock(),
            )
        )
    return notifying.rejected()


def with_decision(notifying: Notifying) -> Event[Payload]:
    event = notifying.published()
    with notifying.engine.begin() as connection:
        connection.execute(
            insert(promotions).values(
                event_id=event.causation_id,
                **event.payload.model_dump(exclude={"slice_key"}),
                metric="weighted_f1",
                score=0.84119,
                champion_version="2",
                champion_score=0.83012,
            )
        )
    return event


def buried(notifying: Notifying, service: str = "trainer", topic: str = "") -> Event[Payload]:
    """The announcement of a dead letter, as `bury` puts it into the outbox."""
    event = notifying.published()
    topic = topic or notifying.settings.topic(event.payload.topic)
    with notifying.engine.begin() as connection:
        assert dead_letters.bury(
            connection,
            service=service,
            record=Record(topic, 3, 17, b"rakuten", event.headers(), event.value()),
            event=event,
            stage=None,
            error=InvalidSpec("the model's kind is not known"),
            attempts=1,
            clock=notifying.clock,
        )
    row = notifying.sql("SELECT * FROM headrace.outbox ORDER BY outbox_id DESC LIMIT 1")[0]
    return decode(Record(row["topic"], 0, 0, b"k", row["headers"], bytes(row["value"])))


@pytest.mark.parametrize(
    ("happen", "title", "said", "kind"),
    [
        (
            with_load,
            "rakuten 43% was rejected",
            "  headrace load rakuten --slice 43% --from /data/rakuten",
            "warning",
        ),
        (
            with_decision,
            "rakuten_classifier version 3 is champion: weighted_f1 0.8412 (before 0.8301)",
            "  headrace models rollback rakuten_classifier",
            "success",
        ),
        (
            lambda notifying: notifying.drifted(),
            "rakuten 43% has drifted: 1 of 3 features",
            "  headrace drift rakuten",
            "warning",
        ),
        (
            buried,
            "trainer gave up an event of rakuten 43%: the model's kind is not known",
            "  headrace dead redrive 1",
            "failure",
        ),
    ],
    ids=["slice-rejected", "model-published", "drift-detected", "dead-letters"],
)
def test_each_event_gives_one_message_to_each_target_and_a_second_delivery_none(
    notifying: Make,
    receiver: Receiver,
    happen: Callable[[Notifying], Event[Payload]],
    title: str,
    said: str,
    kind: str,
) -> None:
    subject = notifying("/one", "/two")
    subject.sender.start()
    event = happen(subject)
    subject.deliver(event)
    subject.settled()
    subject.deliver(event, event)
    subject.deliver(later := subject.rejected("46%"))
    subject.settled()

    for path in ("/one", "/two"):
        assert receiver.titles(path) == [title, "rakuten 46% was rejected"]
        (post, _) = receiver.at(path)
        assert said in post["message"].splitlines()
        assert post["type"] == kind
    assert set(subject.states()) == {"sent"}
    assert {row["event_id"] for row in subject.rows()} == {event.id, later.id}
    assert all(
        row["sent_at"] == subject.clock.now and row["attempts"] == 1 for row in subject.rows()
    )


def test_a_target_that_hangs_does_not_hold_up_the_handler(
    notifying: Make, receiver: Receiver
) -> None:
    receiver.answers["/hangs"] = HANG
    subject = notifying("/hangs", notify_timeout_seconds=30)
    subject.sender.start()
    subject.deliver(subject.rejected())
    wait_until(lambda: receiver.at("/hangs"))

    begun = time.monotonic()
    subject.deliver(*[subject.rejected(f"{n}%") for n in range(20)])
    assert time.monotonic() - begun < 5
    assert subject.states().count("pending") == 20


def test_what_happened_too_long_ago_is_not_told(notifying: Make, receiver: Receiver) -> None:
    subject = notifying("/one", notify_max_age_hours=2)
    old, young = subject.rejected("40%"), subject.rejected("43%")
    object.__setattr__(old, "time", old.time - timedelta(hours=2, seconds=1))
    object.__setattr__(young, "time", young.time - timedelta(hours=1, minutes=59))
    subject.deliver(old, young)

    assert [row["slice_key"] for row in subject.rows()] == ["43%"]
    done = subject.sql("SELECT event_id FROM headrace.inbox WHERE consumer = 'notifier'")
    assert {row["event_id"] for row in done} == {old.id, young.id}
    assert receiver.posts == []


@pytest.mark.parametrize(
    ("asked_for", "told"),
    [
        ("rejected", ["rakuten 43% was rejected"]),
        ("promoted", ["rakuten_classifier version 3 is champion"]),
        ("registered", ["rakuten_classifier version 4 is registered, not promoted: worse"]),
        ("dead", ["trainer gave up an event of rakuten 43%: the model's kind is not known"]),
        ("", []),
    ],
)
def test_only_what_was_asked_for_is_told(notifying: Make, asked_for: str, told: list[str]) -> None:
    subject = notifying("/one", notify_on=asked_for)
    subject.deliver(
        subject.rejected(),
        subject.published(),
        subject.published(model_version="4", promoted=False, decision="not_better", reason="worse"),
        buried(subject),
    )
    assert [row["title"] for row in subject.rows()] == told


def test_without_targets_events_are_done_and_nothing_is_kept(notifying: Make) -> None:
    subject = notifying()
    subject.sender.start()
    subject.deliver(subject.rejected(), buried(subject))

    assert subject.rows() == []
    assert len(subject.sql("SELECT * FROM headrace.inbox")) == 2


def test_a_dead_letter_of_the_notifier_is_told_but_never_one_of_a_dead_letter(
    notifying: Make,
) -> None:
    subject = notifying("/one")
    subject.deliver(buried(subject, SERVICE))
    subject.deliver(buried(subject, SERVICE, topic=subject.settings.topic("dead-letters")))

    assert [row["title"] for row in subject.rows()] == [
        "notifier gave up an event of rakuten 43%: the model's kind is not known"
    ]
    assert len(subject.sql("SELECT * FROM headrace.inbox")) == 2


def test_a_record_on_the_dead_letters_topic_that_is_no_event_ends_in_one_dead_letter(
    notifying: Make,
) -> None:
    subject = notifying("/one")
    event = subject.rejected()
    topic = subject.settings.topic("dead-letters")
    subject.deliver_record(Record(topic, 0, 5, b"k", event.headers(), b"no JSON"))
    for row in subject.sql("SELECT * FROM headrace.outbox"):
        subject.deliver_record(Record(topic, 0, 6, b"k", row["headers"], bytes(row["value"])))

    assert len(subject.sql("SELECT * FROM headrace.dead_letters")) == 1
    assert len(subject.sql("SELECT * FROM headrace.outbox")) == 1
    assert subject.rows() == []


def test_no_secret_of_an_address_is_logged_or_stored(
    notifying: Make, receiver: Receiver, log: io.StringIO
) -> None:
    secret = "s3cr3t"
    paths = [f"/{secret}-ok", f"/{secret}-no", f"/{secret}-drop", f"/{secret}-hang"]
    receiver.answers |= {paths[1]: 403, paths[2]: DROP, paths[3]: HANG}
    away = f"json://me:{secret}@127.0.0.1:9/{secret}?+X-Key={secret}"
    unusable = f"nosuch://{secret}"
    urls = " ".join([*map(receiver.url, paths), away, unusable])
    subject = notifying(notify_urls=urls, notify_give_up_hours=1e-9)
    subject.sender.start()
    subject.deliver(subject.rejected())
    wait_until(lambda: subject.states().count("given_up") == 2, what="drop and hang")
    subject.clock.forward(hours=1)
    subject.settled()

    tables = subject.sql(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'headrace'"
    )
    stored = "".join(
        str(subject.sql(f"SELECT * FROM headrace.{table['table_name']}")) for table in tables
    )
    assert "error=403" in stored
    assert "address 6 of 6" in log.getvalue()
    assert "gave up telling" in log.getvalue()
    for seen in (stored, log.getvalue()):
        assert secret not in seen


def answer(service: Any, path: str) -> Any:
    (route,) = [route for route in service.router.routes if route.path == path]
    return route.endpoint()


def test_a_faulty_address_is_told_by_its_position_and_the_others_work(
    notifying: Make, receiver: Receiver
) -> None:
    subject = notifying(notify_urls=f"slack://wrong {receiver.url('/one')}")
    subject.sender.start()
    subject.deliver(subject.rejected())
    subject.settled()

    assert len(receiver.at("/one")) == 1
    told = answer(subject.service, "/targets")
    assert told.targets == [subject.targets[0].name]
    assert told.faults == [
        "address 1 of 2 in NOTIFY_URLS is none that Apprise understands; nobody is told there"
    ]
