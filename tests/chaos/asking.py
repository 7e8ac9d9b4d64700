"""Asking the wired stack for loads as any program may, and what has to come of them."""

import itertools
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pytest
from kafka import KafkaProducer

from shared.clock import utc_now
from shared.contracts.envelope import Event, Record
from shared.contracts.events import LoadRequested, Payload
from shared.contracts.topics import Topic
from shared.messaging.kafka import Admin, Producer
from tests.chaos.drops import write_drop, write_spec
from tests.chaos.size import size
from tests.chaos.wired import Wired

only_full = pytest.mark.skipif(not size().is_full, reason="CHAOS=full has it")
"""For what the selection of every run leaves out."""

STAGES = ("ingest", "validate", "snapshot", "dataset", "train")
EVENTS = ("slice-loaded", "validated", "snapshotted", "dataset-ready", "model-published")
FIRST = "2024-01-01"
_numbers = itertools.count(1)


def new_dataset(wired: Wired, prefix: str = "d", *, with_training: bool = True) -> str:
    """A dataset of its own, with a first slice."""
    name = f"{prefix}{next(_numbers):03d}"
    write_spec(wired.specs, name, with_training=with_training)
    write_drop(wired.root / name, FIRST)
    return name


def load_event(
    wired: Wired, dataset: str, slice_key: str = FIRST, *, time: datetime | None = None
) -> Event[Payload]:
    """The request of a slice that lies where `new_dataset` puts them."""
    payload = LoadRequested(
        dataset=dataset, slice_key=slice_key, source_uri=str(wired.root / dataset / slice_key)
    )
    return Event(payload=payload, source="test", time=time or utc_now())


def publish(wired: Wired, events: Sequence[Event[Payload]]) -> None:
    """Put events onto their topics, straight."""
    producer = Producer(wired.settings)
    try:
        sent = [
            producer.send(e.payload.topic, e.key.encode(), e.headers(), e.value()) for e in events
        ]
        for each in sent:
            producer.wait(each)
    finally:
        producer.close()


def request(wired: Wired, dataset: str, slice_key: str = FIRST) -> str:
    """Ask for a slice; the load."""
    event = load_event(wired, dataset, slice_key)
    publish(wired, [event])
    return event.id


def partitions(wired: Wired, topic: str) -> int:
    """How many the topic has. Tansu makes a topic with four for any client that asks too early."""
    admin = Admin(wired.settings)
    try:
        return admin.partitions()[Topic(topic)]
    finally:
        admin.close()


def repeat(
    wired: Wired, records: Sequence[Record], where: Callable[[int], Sequence[int | None]]
) -> int:
    """Publish each record again, to each of the partitions that `where` chooses of so many; None
    is the record's own. How many were sent.
    """
    producer = KafkaProducer(
        bootstrap_servers=wired.settings.kafka_bootstrap_servers, allow_auto_create_topics=False
    )
    there = {topic: partitions(wired, topic) for topic in {record.topic for record in records}}
    sent = [
        producer.send(
            record.topic,
            key=record.key,
            value=record.value,
            headers=[(name, text.encode()) for name, text in record.headers.items()],
            partition=partition,
        )
        for record in records
        for partition in where(there[record.topic])
    ]
    for each in sent:
        each.get(timeout=30)
    producer.close()
    return len(sent)


def is_over(wired: Wired, load_id: str, topic: str = "model-published") -> bool:
    """Whether the load's last event is there, and the broker has it; of a model, whether its drift
    is measured, too.
    """
    query = """
        SELECT FROM headrace.outbox AS o
        WHERE o.topic = :topic AND o.published_at IS NOT NULL
            AND o.headers ->> 'ce_correlationid' = :load
            AND (o.topic <> 'model-published' OR EXISTS (
                SELECT FROM headrace.inbox AS i
                WHERE i.event_id = o.event_id AND i.consumer = 'trainer'
            ))
    """
    return bool(wired.query(query, load=load_id, topic=topic))


def how_it_stands(wired: Wired, load_id: str) -> Any:
    """For the message of a test that waits in vain."""
    runs = wired.query(
        "SELECT stage, state, attempts FROM headrace.stage_runs WHERE load_id = :l", l=load_id
    )
    dead = wired.query(
        "SELECT service, reason FROM headrace.dead_letters WHERE correlation_id = :l", l=load_id
    )
    return f"load {load_id}: {runs}, dead letters: {dead}"


def assert_done_once(wired: Wired, load_id: str) -> None:
    """All that has to come of a load with a model is there, and nothing twice."""
    runs = wired.query(
        "SELECT stage, state FROM headrace.stage_runs WHERE load_id = :load", load=load_id
    )
    assert {tuple(run) for run in runs} == {(stage, "done") for stage in STAGES}
    events = wired.query(
        """
        SELECT topic, count(*) AS times FROM headrace.outbox
        WHERE headers ->> 'ce_correlationid' = :load
            AND topic NOT IN ('load-requested', 'drift-detected')
        GROUP BY topic
        """,
        load=load_id,
    )
    assert {row.topic: row.times for row in events} == dict.fromkeys(EVENTS, 1)
    assert how_it_stands(wired, load_id).endswith("dead letters: []")
    promotions = "SELECT count(*) FROM headrace.promotions WHERE load_id = :load"
    assert wired.scalar(promotions, load=load_id) == 1
