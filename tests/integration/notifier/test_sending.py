"""Messages go out once, in order, and no target waits for another."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import create_engine, make_url, text

from services.notifier import claims
from services.notifier.sending import Sender
from services.notifier.targets import read_targets
from shared.observability.metrics import Metrics
from shared.settings import Settings
from tests.integration.notifier.conftest import NOW, Notifying
from tests.integration.notifier.receiver import DROP, HANG, Receiver
from tests.waiting import wait_until

Make = Callable[..., Notifying]


def test_replicas_send_each_message_once(notifying: Make, receiver: Receiver) -> None:
    subject = notifying("/one", "/two")
    events = [subject.rejected(f"{n:03d}") for n in range(60)]
    subject.deliver(*events)
    replicas = [subject.sender, subject.another_sender(), subject.another_sender()]
    for sender in replicas:
        sender.start()
    subject.settled()
    for sender in replicas:
        sender.stop()

    for path in ("/one", "/two"):
        assert sorted(receiver.titles(path)) == [f"rakuten {n:03d} was rejected" for n in range(60)]
    assert {(row["state"], row["attempts"]) for row in subject.rows()} == {("sent", 1)}


def test_a_target_gets_its_messages_in_the_order_of_their_events(
    notifying: Make, receiver: Receiver
) -> None:
    subject = notifying("/one")
    for number in (5, 3, 9, 1, 7):
        subject.deliver(subject.rejected(f"{number}%"))
        subject.clock.forward(seconds=1)
    subject.sender.start()
    subject.settled()
    assert receiver.titles("/one") == [f"rakuten {n}% was rejected" for n in (5, 3, 9, 1, 7)]


def test_a_message_to_a_target_that_is_down_arrives_once_when_it_is_back(
    notifying: Make, receiver: Receiver
) -> None:
    receiver.down()
    subject = notifying("/one")
    subject.sender.start()
    begun = time.monotonic()
    subject.deliver(subject.rejected())
    assert time.monotonic() - begun < 2
    for tries in (1, 2, 3):
        wait_until(lambda tries=tries: subject.failed(tries))
        subject.clock.forward(seconds=1)
    assert "connection refused" in subject.rows()[0]["error"]

    receiver.up()
    subject.clock.forward(seconds=1)
    subject.settled()
    (row,) = subject.rows()
    assert (row["state"], row["error"]) == ("sent", None)
    assert receiver.titles("/one") == ["rakuten 43% was rejected"]


def test_a_target_that_hangs_holds_up_no_other_and_not_the_stop(
    notifying: Make, receiver: Receiver
) -> None:
    receiver.answers["/hangs"] = HANG
    subject = notifying("/hangs", "/good", notify_timeout_seconds=60)
    subject.sender.start()
    subject.deliver(*[subject.rejected(f"{n}%") for n in range(5)])
    wait_until(lambda: len(receiver.at("/good")) == 5)
    assert len(receiver.at("/hangs")) == 1

    begun = time.monotonic()
    subject.sender.stop()
    assert time.monotonic() - begun < 2
    assert sorted(subject.states()) == ["pending"] * 4 + ["sending"] + ["sent"] * 5


@pytest.mark.parametrize("answer", [HANG, DROP, 504])
def test_a_message_that_may_have_arrived_is_not_sent_again(
    notifying: Make, receiver: Receiver, answer: str | int
) -> None:
    receiver.answers["/one"] = answer
    subject = notifying("/one")
    subject.deliver(subject.rejected())
    (target,) = subject.targets
    assert subject.sender.send_next(target)
    subject.clock.forward(hours=1)
    assert not subject.sender.send_next(target)

    (row,) = subject.rows()
    assert (row["state"], row["attempts"]) == ("given_up", 1)
    assert row["error"].startswith("unknown whether it arrived: ")
    assert len(receiver.at("/one")) == 1


def test_refusals_are_tried_again_with_growing_pauses_until_the_limit(
    notifying: Make, receiver: Receiver
) -> None:
    receiver.answers["/one"] = 500
    subject = notifying(
        "/one",
        notify_retry_floor_seconds=10,
        notify_retry_ceiling_seconds=3600,
        notify_give_up_hours=2,
    )
    metrics = Metrics()
    sender = Sender(
        subject.engine, subject.targets, subject.settings, subject.clock, metrics, lambda: 1.0
    )
    (target,) = subject.targets
    subject.deliver(subject.rejected())
    pauses = []
    while sender.send_next(target):
        (row,) = subject.rows()
        if row["state"] == "given_up":
            break
        assert not sender.send_next(target), "it isn't due yet"
        pauses.append((row["next_try_at"] - subject.clock.now).total_seconds())
        subject.clock.now = row["next_try_at"]

    assert pauses == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 2090]
    assert subject.clock.now == NOW + timedelta(hours=2), "the last try is at the limit"
    assert row["attempts"] == len(pauses) + 1 == len(receiver.at("/one"))
    assert "error=500" in row["error"]
    counted = metrics.notifications.labels(target.name, "refused")._value.get()
    assert counted == row["attempts"]
    subject.clock.forward(days=1)
    assert not sender.send_next(target)


def test_a_message_that_can_not_be_sent_lets_the_next_ones_pass(
    notifying: Make, receiver: Receiver
) -> None:
    answers = iter([400, 200, 200])
    receiver.answers["/one"] = lambda: next(answers)
    subject = notifying("/one")
    subject.deliver(subject.rejected("1%"))
    subject.clock.forward(seconds=1)
    subject.deliver(subject.rejected("2%"), subject.rejected("3%"))
    (target,) = subject.targets
    for _ in range(3):
        assert subject.sender.send_next(target)
    assert sorted(subject.states()) == ["pending", "sent", "sent"]


def test_what_a_crash_left_in_hand_is_not_sent_again_and_is_seen_after_a_while(
    notifying: Make, receiver: Receiver
) -> None:
    subject = notifying("/one", notify_unknown_after_seconds=600)
    subject.deliver(subject.rejected())
    (target,) = subject.targets
    now = subject.clock()
    crashed = claims.claim(subject.engine, target.name, now, now + timedelta(seconds=600))
    assert crashed is not None

    replica = subject.another_sender()
    subject.clock.forward(seconds=599)
    replica.sweep()
    assert not replica.send_next(target)
    assert subject.states() == ["sending"]
    subject.clock.forward(seconds=1)
    replica.sweep()
    assert not replica.send_next(target)
    (row,) = subject.rows()
    assert row["state"] == "given_up"
    assert "unknown whether it arrived" in row["error"]
    assert receiver.posts == []


def test_one_taken_for_lost_that_arrived_all_the_same_counts_as_sent(
    notifying: Make, receiver: Receiver
) -> None:
    subject = notifying("/one", notify_unknown_after_seconds=600)

    def late() -> int:
        subject.clock.forward(hours=1)
        subject.another_sender().sweep()
        assert subject.states() == ["given_up"]
        return 200

    receiver.answers["/one"] = late
    subject.deliver(subject.rejected())
    assert subject.sender.send_next(subject.targets[0])
    (row,) = subject.rows()
    assert (row["state"], row["error"]) == ("sent", None)


def test_one_taken_for_lost_that_was_refused_is_not_tried_again(
    notifying: Make, receiver: Receiver
) -> None:
    subject = notifying("/one", notify_unknown_after_seconds=600)

    def late() -> int:
        subject.clock.forward(hours=1)
        subject.another_sender().sweep()
        return 500

    receiver.answers["/one"] = late
    subject.deliver(subject.rejected())
    assert subject.sender.send_next(subject.targets[0])
    assert subject.states() == ["given_up"]


def test_messages_to_a_target_that_was_taken_out_are_given_up_at_the_limit(
    notifying: Make, receiver: Receiver
) -> None:
    subject = notifying("/one", "/two", notify_give_up_hours=24)
    subject.deliver(subject.rejected())
    only_two = subject.settings.model_copy(
        update={"notify_urls": type(subject.settings.notify_urls)(receiver.url("/two"))}
    )
    replica = Sender(
        subject.engine, read_targets(only_two).usable, only_two, subject.clock, Metrics()
    )
    subject.clock.forward(hours=23)
    replica.sweep()
    assert subject.states() == ["pending", "pending"]
    subject.clock.forward(hours=1)
    replica.sweep()
    assert {row["target"]: row["state"] for row in subject.rows()} == {
        subject.targets[0].name: "given_up",
        subject.targets[1].name: "pending",
    }


def test_a_message_that_was_taken_while_the_database_went_away_is_sent_once(
    notifying: Make, receiver: Receiver, servers: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    subject = notifying("/one")
    database = make_url(subject.settings.database_url.get_secret_value()).database
    url = make_url(servers.database_url.get_secret_value()).set(drivername="postgresql+psycopg2")
    administration = create_engine(url, isolation_level="AUTOCOMMIT")
    is_away = threading.Event()

    def let_connect(allowed: str) -> None:
        with administration.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {database} ALLOW_CONNECTIONS {allowed}"))
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :d"),
                {"d": database},
            )

    def take_the_database_away() -> int:
        let_connect("false")
        is_away.set()
        return 200

    receiver.answers["/one"] = take_the_database_away
    subject.deliver(subject.rejected())
    try:
        subject.sender.start()
        assert is_away.wait(20)
        wait_until(lambda: "messages wait" in caplog.text, what="it tries in vain")
    finally:
        let_connect("true")
        administration.dispose()
    subject.settled()
    assert [(row["state"], row["attempts"]) for row in subject.rows()] == [("sent", 1)]
    assert len(receiver.at("/one")) == 1
