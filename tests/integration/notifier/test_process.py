"""The notifier as a process on a real broker, and the command that looks at it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from typer.testing import CliRunner

from cli.notify import app
from infra.embedded.environment import given_variables
from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.events import Payload
from shared.contracts.topics import Topic
from shared.messaging.kafka import Producer, follow
from shared.object_store import ObjectStore
from shared.settings import Settings
from tests.conftest import REPOSITORY
from tests.integration.notifier.conftest import Notifying
from tests.integration.notifier.receiver import HANG, Receiver
from tests.waiting import wait_until

IDLE_BYTES = 150e6
"""What a notifier without targets may take at most; 113 MB were measured, 139 with targets."""


class Process:
    """A notifier of its own process."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._log = log
        variables = given_variables(settings) | {"HTTP_PORT": "0", "PATH": os.environ["PATH"]}
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.notifier.app"],
                cwd=REPOSITORY,
                env=variables,
                stderr=file,
            )
        up = wait_until(lambda: re.search(r"is up on port (\d+)", self.log), what="it is up")
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{up.group(1)}", timeout=20)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def end(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=12)


@pytest.fixture
def start(
    topics: Settings, store: ObjectStore, receiver: Receiver, tmp_path: Path
) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(*paths: str) -> Process:
        urls = " ".join(map(receiver.url, paths))
        own = Settings.model_validate({**topics.model_dump(), "notify_urls": urls or None})
        started.append(Process(own, tmp_path / f"{len(started)}.log"))
        return started[-1]

    yield start
    receiver.release.set()
    for each in started:
        each.http.close()
        each.process.kill()
        each.process.wait()


def publish(settings: Settings, *events: Event[Payload]) -> None:
    producer = Producer(settings)
    for event in events:
        producer.publish(event.payload.topic, event.key.encode(), event.headers(), event.value())
    producer.close()


def test_events_of_the_three_topics_are_told_once_though_the_service_is_started_twice(
    topics: Settings, start: Callable[..., Process], receiver: Receiver, notifying: Callable
) -> None:
    receiver.answers["/hangs"] = HANG
    maker: Notifying = notifying()
    maker.clock.now = utc_now()
    process = start("/one", "/hangs")
    producer = Producer(topics)
    bad = ("slice-rejected", b"rakuten", maker.rejected().headers(), b"no JSON")
    producer.publish(*bad)
    producer.close()
    publish(topics, maker.rejected(), maker.published())
    wait_until(lambda: len(receiver.at("/one")) == 3, what=process.log)
    assert process.http.get("/readyz").json() == {"status": "ready", "down": {}}
    assert process.http.get("/info").json()["topics"] == [
        "dead-letters",
        "drift-detected",
        "model-published",
        "slice-rejected",
    ]
    assert len(process.http.get("/targets").json()["targets"]) == 2
    assert process.end() == 0, "a target that hangs doesn't keep the process"
    assert "notifier is down" in process.log.splitlines()[-1]

    publish(topics, last := maker.rejected("46%"))
    again = start("/one", "/hangs")
    wait_until(lambda: len(receiver.at("/one")) == 4, what=again.log)
    assert sorted(receiver.titles("/one")) == [
        "notifier gave up a record of the topic "
        f"{topics.topic('slice-rejected')}: headrace.slice-rejected.v1: the value: Invalid JSON: "
        "expected ident at line 1 column 2",
        "rakuten 43% was rejected",
        "rakuten 46% was rejected",
        "rakuten_classifier version 3 is champion",
    ]
    assert last.id in again.log
    dead = list(
        follow(
            topics,
            [Topic.DEAD_LETTERS],
            from_beginning=True,
            stop=threading.Event(),
            until_idle_seconds=1.0,
        )
    )
    assert len(dead) == 1, "the notifier's own dead letter gave no further one"


def test_without_targets_the_process_is_healthy_and_small(start: Callable[..., Process]) -> None:
    process = start()
    wait_until(lambda: process.http.get("/readyz").status_code == 200)
    assert process.http.get("/targets").json() == {"targets": [], "faults": []}
    assert psutil.Process(process.process.pid).memory_info().rss < IDLE_BYTES


@pytest.fixture
def command(
    topics: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str]]:
    """Runs `headrace notify …` in an environment that reaches the test's servers."""

    def run(*arguments: str, urls: str = "") -> tuple[int, str]:
        for name, value in {**given_variables(topics), "NOTIFY_URLS": urls}.items():
            monkeypatch.setenv(name, value)
        done = CliRunner().invoke(app, [*arguments, "--root", str(tmp_path)])
        return done.exit_code, done.output

    return run


def test_the_test_message_goes_to_every_target_and_each_answer_is_told(
    command: Callable[..., tuple[int, str]], receiver: Receiver
) -> None:
    good, bad = receiver.url("/good"), receiver.url("/bad-s3cr3t")
    code, said = command("notify", "test", urls=good)
    assert (code, len(receiver.at("/good"))) == (0, 1)
    assert re.fullmatch(r"json-[0-9a-f]{6}: OK\n", said)
    assert receiver.titles("/good") == ["Headrace can reach you"]

    receiver.answers["/bad-s3cr3t"] = 403
    code, said = command("notify", "test", urls=f"{bad} nosuch://s3cr3t {good}")
    assert code == 1
    assert len(receiver.at("/good")) == 2, "one that fails keeps no other from being told"
    assert "failed: Failed to send JSON POST notification" in said
    assert "address 2 of 3" in said
    assert "s3cr3t" not in said

    assert command("notify", "test")[0] == 1


def test_the_list_shows_what_became_of_each_message(
    command: Callable[..., tuple[int, str]], notifying: Callable
) -> None:
    assert command("notify", "list") == (0, "no messages yet\n")
    subject: Notifying = notifying("/one")
    subject.deliver(subject.rejected())
    subject.clock.forward(seconds=1)
    subject.deliver(subject.rejected("46%"))
    assert subject.sender.send_next(subject.targets[0])

    code, said = command("notify", "list", "--json")
    rows = json.loads(said)
    assert code == 0
    assert [(row["slice_key"], row["state"]) for row in rows] == [
        ("43%", "sent"),
        ("46%", "pending"),
    ]
    code, said = command("notify", "list", "--newest", "1")
    assert "rakuten 46% was rejected" in said
    assert "43%" not in said
