"""Members of a group as processes, and what they have done."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from members import Member
from sqlalchemy import Engine, text

from infra.embedded.environment import given_variables
from shared.contracts.envelope import Event
from shared.contracts.events import LoadRequested, Payload
from shared.contracts.topics import Topic
from shared.messaging.kafka import Producer
from shared.settings import Settings
from tests.conftest import REPOSITORY
from tests.waiting import wait_until

MEMBER = Path(__file__).with_name("member.py")


@pytest.fixture
def effects(engine: Engine) -> Callable[[], dict[str, list[str]]]:
    """What was done, by event: the members that did it."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE effects (event_id text, member text)"))

    def read() -> dict[str, list[str]]:
        query = "SELECT event_id, array_agg(member) FROM effects GROUP BY event_id"
        with engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(text(query))}

    return read


@pytest.fixture
def member(topics: Settings, tmp_path: Path) -> Iterator[Callable[..., Member]]:
    """Starts members, whose settings may be other ones; all are ended."""
    with ExitStack() as ends:

        def start(name: str, **settings: object) -> Member:
            changed = topics.model_copy(update={"http_port": 0, "replica_name": name, **settings})
            given = Settings.model_validate(changed.model_dump())
            log = tmp_path / f"{name}.log"
            written = log.stat().st_size if log.exists() else 0
            with log.open("ab") as output:
                process = subprocess.Popen(
                    [sys.executable, str(MEMBER)],
                    env={**os.environ, **given_variables(given), "PYTHONPATH": str(REPOSITORY)},
                    cwd=REPOSITORY,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            ends.callback(process.wait)
            ends.callback(process.kill)
            begun = Member(name, process, log)

            def port() -> str:
                said = log.read_bytes()[written:].decode()
                assert process.poll() is None, said
                found = re.search(r"member is up on port (\d+)", said)
                return found[1] if found else ""

            begun.address = f"http://127.0.0.1:{wait_until(port, seconds=60)}"
            return begun

        yield start


@pytest.fixture
def request_loads(
    topics: Settings, event_of: Callable[..., Event[Payload]]
) -> Iterator[Callable[[int], list[str]]]:
    """Publishes `load-requested` events of many datasets; their ids."""
    producer = Producer(topics)

    def publish(number: int) -> list[str]:
        ids = []
        sent = []
        for index in range(number):
            event = event_of(
                LoadRequested(dataset=f"d{index % 24}", slice_key=str(index), source_uri="/x")
            )
            sent.append(
                producer.send(
                    Topic.LOAD_REQUESTED, event.key.encode(), event.headers(), event.value()
                )
            )
            ids.append(event.id)
        for each in sent:
            producer.wait(each)
        return ids

    yield publish
    producer.close()
