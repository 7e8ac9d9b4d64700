"""Promise 1 on the whole stack: every event again and again, at once, late; replicas at odds."""

import os
import random
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import psutil
import pytest

from cli.migrate import migrate
from infra.embedded.services import SERVICES
from shared.contracts.envelope import Event, Record
from shared.contracts.events import Payload
from shared.contracts.topics import CONSUMERS, Topic
from shared.messaging.kafka import follow
from tests.chaos.asking import (
    FIRST,
    assert_done_once,
    how_it_stands,
    is_over,
    load_event,
    new_dataset,
    only_full,
    partitions,
    publish,
    repeat,
    request,
)
from tests.chaos.auditing import assert_well
from tests.chaos.drops import write_drop
from tests.chaos.size import size
from tests.chaos.wired import SERVICE_OF_STAGE, Wired
from tests.waiting import wait_until

SECOND = "2024-01-02"
TIMES = 10 if size().is_full else 3
STATE = {
    "events": """
        SELECT topic, headers ->> 'ce_id', published_at FROM headrace.outbox
        WHERE key = :dataset ORDER BY outbox_id
    """,
    "loads": "SELECT * FROM headrace.loads WHERE dataset = :dataset ORDER BY load_id",
    "slices": "SELECT * FROM headrace.slices WHERE dataset = :dataset ORDER BY slice_key",
    "snapshots": "SELECT * FROM headrace.snapshots WHERE dataset = :dataset ORDER BY known_at",
    "promotions": "SELECT * FROM headrace.promotions WHERE dataset = :dataset ORDER BY decided_at",
    "datasets": """
        SELECT * FROM headrace.training_datasets WHERE dataset = :dataset ORDER BY created_at
    """,
    "inbox": "SELECT * FROM headrace.inbox ORDER BY consumer, event_id",
    "messages": "SELECT event_id, target FROM headrace.notifications WHERE dataset = :dataset",
}


def state(wired: Wired, dataset: str) -> dict[str, list[Any]]:
    """All that the control tables say of a dataset."""
    found = {name: wired.query(query, dataset=dataset) for name, query in STATE.items()}
    for table in ("guests", "guests_history", "stays", "stays_history"):
        found[table] = wired.query(f'SELECT * FROM "{dataset}".{table} ORDER BY 1, 2')
    return found


def events_of(wired: Wired, dataset: str, requests: Sequence[Event[Payload]]) -> list[Record]:
    """Every event of the dataset that went over the broker; its requests came past the outbox."""
    caused = wired.query(
        "SELECT * FROM headrace.outbox WHERE key = :dataset ORDER BY outbox_id", dataset=dataset
    )
    return [
        *(
            Record(event.payload.topic, 0, 0, event.key.encode(), event.headers(), event.value())
            for event in requests
        ),
        *(
            Record(row.topic, 0, 0, row.key.encode(), row.headers, bytes(row.value))
            for row in caused
        ),
    ]


def passed_over(wired: Wired) -> int:
    """How many deliveries the services have passed over as done."""
    total = 0.0
    for each in wired.services.status():
        said = httpx.get(f"{each.address}/metrics", timeout=15).text
        for number in re.findall(
            r'headrace_events_total{[^}]*outcome="duplicate"[^}]*} (\S+)', said
        ):
            total += float(number)
    return int(total)


def run(wired: Wired, dataset: str, slices: Sequence[tuple[str, int]]) -> list[Event[Payload]]:
    """Load slices of a dataset to their models, one after the other; the requests."""
    requests = []
    for slice_key, seed in slices:
        write_drop(wired.root / dataset, slice_key, seed=seed)
        requests.append(load_event(wired, dataset, slice_key))
        publish(wired, requests[-1:])
        try:
            wait_until(lambda: is_over(wired, requests[-1].id), seconds=90)
        except AssertionError as error:
            raise AssertionError(how_it_stands(wired, requests[-1].id)) from error
    return requests


@pytest.mark.timeout(300)
def test_every_event_again_and_again_in_any_order_and_at_once_changes_nothing(
    wired: Wired, figures: Callable[..., None]
) -> None:
    dataset = new_dataset(wired, "again")
    requests = run(wired, dataset, [(FIRST, 1), (SECOND, 1), (FIRST, 2)])
    records = events_of(wired, dataset, requests)
    ids = {record.headers["ce_id"] for record in records}
    assert len(ids) == 3 * 6
    marks = "SELECT count(*) FROM headrace.inbox WHERE event_id = ANY (:ids)"
    heard = sum(len(CONSUMERS[Topic(record.topic)]) for record in records)
    wait_until(lambda: wired.scalar(marks, ids=list(ids)) == heard, seconds=60)
    before, passed = state(wired, dataset), passed_over(wired)

    # To the partition of its own, in any order; and to every one at once, where several threads
    # and replicas take it at the same time. Those of the first slice come after the last one's.
    shuffled = [*records] * (TIMES - 1)
    random.Random(7).shuffle(shuffled)  # noqa: S311
    sent = repeat(wired, shuffled, lambda there: [None])
    sent += repeat(wired, records, range)
    wait_until(
        lambda: passed_over(wired) >= passed + sent,
        seconds=120,
        what=f"{passed_over(wired) - passed} of {sent} were passed over",
    )

    assert state(wired, dataset) == before
    for each in requests:
        assert_done_once(wired, each.id)
    assert_well(wired.settings, dataset, has_model=True)
    figures("deliveries again, of 18 events", sent=sent, effects=0)


@contextmanager
def echo(wired: Wired) -> Iterator[list[str]]:
    """Publish every event twice more as soon as it is seen: where it was, and beside."""
    stop, echoed = threading.Event(), []

    def work() -> None:
        for record in follow(wired.settings, Topic, from_beginning=False, stop=stop):
            name = record.headers.get("ce_id", "")
            if name in echoed:
                continue
            echoed.append(name)
            own = record.partition
            repeat(wired, [record], lambda there, own=own: [None, (own + 1) % there])

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield echoed
    finally:
        stop.set()
        thread.join(timeout=30)


@only_full
@pytest.mark.timeout(300)
def test_events_that_come_three_times_while_they_are_under_way_have_one_effect(
    wired: Wired, figures: Callable[..., None]
) -> None:
    dataset = new_dataset(wired, "echo")
    with echo(wired) as echoed:
        requests = run(wired, dataset, [(FIRST, 1), (SECOND, 1)])
    assert len(set(echoed)) >= 2 * 5
    for each in requests:
        assert_done_once(wired, each.id)
    assert_well(wired.settings, dataset, has_model=True)
    figures("deliveries while under way", events=len(echoed), times_each=3)


STATEMENTS = {
    "ingest": b"PGCOPY",
    "validate": b"INSERT INTO headrace.validation_results",
    "snapshot": b"INSERT INTO headrace.snapshots",
    "dataset": b"INSERT INTO headrace.training_datasets",
    "train": b"INSERT INTO headrace.promotions",
}
"""What each stage sends to Postgres in its middle."""


@pytest.fixture(scope="module")
def two_of_each(wired: Wired) -> Iterator[None]:
    """A second replica of the services of the stages that are tried."""
    names = {spec.name for spec in SERVICE_OF_STAGE.values()}
    wired.services.start(SERVICES, scale=dict.fromkeys(names, 2), migrate=migrate)
    yield
    wired.services.start(SERVICES, scale=dict.fromkeys(names, 1), migrate=migrate)


@only_full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL], ids=["wakes", "dies"])
@pytest.mark.parametrize("stage", STATEMENTS)
def test_a_replica_that_sleeps_through_its_partitions_loss_and_its_heir_do_the_work_once(
    wired: Wired, two_of_each: None, stage: str, end: signal.Signals
) -> None:
    """It stops in mid-transaction; the group gives its partition away; then it wakes, or dies."""
    service = SERVICE_OF_STAGE[stage].name
    for each in wired.services.status():
        if each.name.startswith(service):
            wait_until(lambda each=each: _partitions(each.address) > 0, seconds=60)
    all_there_are = sum(
        partitions(wired, topic) for topic, names in CONSUMERS.items() if service in names
    )
    dataset = new_dataset(wired, "sleepy")
    stopped: list[psutil.Process] = []

    def stop() -> None:
        (owner,) = [
            connection.pid
            for connection in psutil.net_connections("tcp4")
            if connection.laddr and connection.laddr.port == trigger.client_port
            if connection.pid not in (None, os.getpid())
        ]
        process = psutil.Process(owner)
        process.suspend()
        stopped.append(process)

    trigger = wired.proxies["postgres"].when(STATEMENTS[stage], action=stop)
    load_id = request(wired, dataset)
    try:
        wait_until(lambda: stopped, seconds=60)
        (heir,) = [
            each
            for each in wired.services.status()
            if each.name.startswith(service) and each.pid != stopped[0].pid
        ]
        wait_until(
            lambda: _partitions(heir.address) == all_there_are,
            seconds=60,
            what="the other one has all partitions",
        )
    finally:
        for process in stopped:
            process.send_signal(end)
    wait_until(lambda: is_over(wired, load_id), seconds=90, what=how_it_stands(wired, load_id))
    if end == signal.SIGKILL:
        stopped[0].wait(10)
        wired.start()
    assert_done_once(wired, load_id)
    assert_well(wired.settings, dataset, has_model=True)


def _partitions(address: str) -> int:
    return int(httpx.get(f"{address}/info", timeout=15).json()["partitions"])
