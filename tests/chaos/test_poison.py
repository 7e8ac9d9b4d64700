"""Promise 2 against records of anybody: none lost, none looping, and the partition moves on."""

import random
import threading
from base64 import b64decode
from collections.abc import Callable, Iterable
from typing import Any

from kafka.partitioner.default import murmur2

from shared.contracts.envelope import decode
from shared.contracts.events import DeadLettered
from shared.contracts.topics import CONSUMERS, Topic
from shared.errors import UndecodableEvent
from shared.messaging import dead_letters
from shared.messaging.kafka import Producer
from shared.messaging.kafka.follow import follow
from tests.chaos.asking import FIRST, assert_done_once, is_over, new_dataset, request
from tests.chaos.auditing import assert_well
from tests.chaos.drops import write_drop, write_spec
from tests.chaos.poison_records import Raw, mutated, poison, publish_raw
from tests.chaos.size import size
from tests.chaos.wired import Wired
from tests.waiting import wait_until

MUTATED_PER_TOPIC = 2000 if size().is_full else 25
KNOWN = "poisoned"
"""A dataset that has a spec."""


def partition_of(wired: Wired, dataset: str) -> int:
    return int(murmur2(dataset.encode()) & 0x7FFFFFFF) % wired.settings.topic_partitions


def of(topic: Topic, partition: int) -> int:
    """The partition of the topic: that of the dead letters has one alone."""
    return 0 if topic is Topic.DEAD_LETTERS else partition


def strictest(topic: Topic) -> str:
    """Of the services that do a topic's events the one that takes the fewest records: the notifier,
    where it is beside another, tells of what it hears, whatever that names.
    """
    return CONSUMERS[topic][-1]


def buried(wired: Wired, topic: Topic, partition: int) -> dict[int, Any]:
    """The dead letters of a partition, by offset, as the strictest of its services has them."""
    rows = wired.query(
        "SELECT * FROM headrace.dead_letters "
        "WHERE topic = :topic AND partition = :partition AND service = :service",
        service=strictest(topic),
        topic=wired.settings.topic(topic),
        partition=of(topic, partition),
    )
    return {row.offset: row for row in rows}


def announced(wired: Wired) -> dict[tuple[str, str, int, int], dict[str, Any]]:
    """What the topic `dead-letters` says, by service and place of the record that it is about."""
    found: dict[tuple[str, str, int, int], dict[str, Any]] = {}
    for record in follow(
        wired.settings,
        [Topic.DEAD_LETTERS],
        from_beginning=True,
        stop=threading.Event(),
        until_idle_seconds=3,
    ):
        try:
            payload = decode(record).payload
        except UndecodableEvent:
            continue
        if isinstance(payload, DeadLettered):
            place = (
                payload.service,
                payload.original_topic,
                payload.original_partition,
                payload.original_offset,
            )
            found[place] = payload.model_dump()
    return found


def content(row: Any) -> tuple[bytes | None, bytes | None]:
    """Key and value of a dead letter."""
    key, value = (None if each is None else bytes(each) for each in (row.key, row.value))
    return key, value


def assert_whole(row: Any, raw: Raw) -> None:
    """The dead letter is the record as it was sent, with what is to be known of it."""
    assert content(row) == (raw.key, raw.value), raw.kind
    if row.raw_headers is None:
        kept = tuple((name.encode(), text.encode()) for name, text in row.headers.items())
        assert sorted(kept) == sorted(raw.headers), raw.kind
    else:
        kept = tuple(
            (b64decode(name), None if text is None else b64decode(text))
            for name, text in row.raw_headers
        )
        assert kept == raw.headers, raw.kind
    assert row.error_class, raw.kind
    assert row.reason, raw.kind
    assert row.attempts >= 1, raw.kind
    assert row.service in CONSUMERS[next(t for t in Topic if row.topic.endswith(t))]


def missing(wired: Wired, sent: dict[int, Raw], topic: Topic, partition: int) -> list[str]:
    return [sent[at].kind for at in sent.keys() - buried(wired, topic, partition).keys()]


def assert_settled(
    wired: Wired, of_topic: dict[Topic, dict[int, Raw]], partition: int, *, seconds: float
) -> None:
    """Every one of these records is a dead letter."""
    for topic, sent in of_topic.items():
        try:
            wait_until(lambda: not missing(wired, sent, topic, partition), seconds=seconds)  # noqa: B023
        except AssertionError:
            raise AssertionError(
                f"{topic}: not in the dead letters: {missing(wired, sent, topic, partition)}"
            ) from None


def load_behind(wired: Wired, dataset: str) -> None:
    """A good load, whose events come behind the poison on every topic, is done."""
    load = request(wired, dataset)
    wait_until(lambda: is_over(wired, load), seconds=240, what=f"the load {load}")
    assert_done_once(wired, load)


def test_a_poison_record_is_a_dead_letter_and_the_one_behind_it_is_done(
    wired: Wired, figures: Callable[..., None]
) -> None:
    dataset = new_dataset(wired, "behind")
    partition = partition_of(wired, dataset)
    of_topic = {
        topic: publish_raw(wired.settings, topic, list(poison(topic)), of(topic, partition))
        for topic in Topic
    }
    load_behind(wired, dataset)
    assert_settled(wired, of_topic, partition, seconds=180)

    told = announced(wired)
    kinds: set[str] = set()
    for topic, sent in of_topic.items():
        rows = buried(wired, topic, partition)
        for offset, raw in sent.items():
            assert_whole(rows[offset], raw)
            place = (wired.settings.topic(topic), of(topic, partition), offset)
            said = told[strictest(topic), *place]
            row = rows[offset]
            for fact in ("service", "error_class", "reason", "attempts"):
                assert said[fact] == getattr(row, fact), raw.kind
            kinds.add(raw.kind)
    tried = sum(map(len, of_topic.values()))
    figures(
        "inputs: poison records",
        kinds=len(kinds),
        topics=len(of_topic),
        tried=tried,
        in_dead_letters=tried,
    )
    assert_well(wired.settings, dataset, has_model=True)


def done_events(wired: Wired, services: Iterable[str]) -> set[str]:
    rows = wired.query(
        "SELECT event_id FROM headrace.inbox WHERE consumer = ANY (:services)",
        services=list(services),
    )
    return {row.event_id for row in rows}


def test_whatever_befalls_a_record_it_is_done_or_a_dead_letter(
    wired: Wired, figures: Callable[..., None]
) -> None:
    numbers = random.Random(size().is_full)  # noqa: S311
    dataset = new_dataset(wired, "beside")
    partition = partition_of(wired, dataset)
    write_spec(wired.specs, KNOWN)
    of_topic = {
        topic: publish_raw(
            wired.settings,
            topic,
            [mutated(topic, KNOWN, numbers) for _ in range(MUTATED_PER_TOPIC)],
            of(topic, partition),
        )
        for topic in Topic
    }
    load_behind(wired, dataset)

    def unsettled(topic: Topic) -> dict[int, Raw]:
        dead = buried(wired, topic, partition)
        done = done_events(wired, [strictest(topic)])
        return {
            offset: raw
            for offset, raw in of_topic[topic].items()
            if offset not in dead
            and (raw.header("ce_id") or b"").decode(errors="replace") not in done
        }

    for topic in Topic:
        try:
            wait_until(lambda: not unsettled(topic), seconds=3000 if size().is_full else 180)  # noqa: B023
        except AssertionError:
            raise AssertionError(f"{topic}: {list(unsettled(topic).values())[:3]}") from None
        rows = buried(wired, topic, partition)
        for offset, raw in of_topic[topic].items():
            if offset in rows:
                assert_whole(rows[offset], raw)
    assert_well(wired.settings, dataset, has_model=True)
    tried = sum(map(len, of_topic.values()))
    dead = sum(
        len(sent.keys() & buried(wired, topic, partition).keys())
        for topic, sent in of_topic.items()
    )
    figures(
        "inputs: records with accidents",
        tried=tried,
        in_dead_letters=dead,
        still_events=tried - dead,
    )


def redrive(wired: Wired, dead_letter_id: int) -> None:
    producer = Producer(wired.settings)
    try:
        dead_letters.redrive(
            wired.engine,
            dead_letter_id,
            lambda record: producer.publish(
                record.topic, record.key, record.headers, record.value, record.raw_headers
            ),
        )
    finally:
        producer.close()


def test_a_redriven_record_runs_under_its_own_event_id(wired: Wired) -> None:
    dataset = "mended"
    write_spec(wired.specs, dataset)
    load = request(wired, dataset)  # its folder is not there
    query = "SELECT * FROM headrace.dead_letters WHERE event_id = :load"
    (row,) = wait_until(lambda: wired.query(query, load=load), seconds=60)
    assert (row.error_class, row.attempts) == ("SourceNotFound", 1)

    write_drop(wired.root / dataset, FIRST)
    redrive(wired, row.dead_letter_id)
    wait_until(lambda: is_over(wired, load), seconds=240, what=f"the load {load}")
    ids = wired.query("SELECT load_id FROM headrace.loads WHERE dataset = :d", d=dataset)
    assert [each.load_id for each in ids] == [load]
    (row,) = wired.query(query, load=load)
    assert row.redriven_at is not None
    assert_well(wired.settings, dataset, has_model=True)


def test_a_redriven_record_is_the_same_to_the_byte(wired: Wired) -> None:
    topic, partition = Topic.LOAD_REQUESTED, 0
    odd = [raw for raw in poison(topic) if raw.kind in ODD]
    sent = publish_raw(wired.settings, topic, odd, partition)
    wait_until(lambda: not missing(wired, sent, topic, partition), seconds=60)
    rows = buried(wired, topic, partition)
    before = wired.scalar("SELECT max(dead_letter_id) FROM headrace.dead_letters")
    for offset in sent:
        redrive(wired, rows[offset].dead_letter_id)
    query = "SELECT * FROM headrace.dead_letters WHERE dead_letter_id > :before AND topic = :topic"
    named = {"before": before, "topic": wired.settings.topic(topic)}
    again = wait_until(
        lambda: len(found := wired.query(query, **named)) >= len(sent) and found, seconds=60
    )
    for raw in sent.values():
        (same,) = [
            row
            for row in again
            if content(row) == (raw.key, raw.value)
            and row.event_id == rows[offset_of(sent, raw)].event_id
            and row.reason == rows[offset_of(sent, raw)].reason
        ]
        assert_whole(same, raw)


ODD = {
    "id twice",
    "id that is no UTF-8",
    "header name that is no UTF-8",
    "headers without values",
    "tombstone",
    "key that is no UTF-8",
}


def offset_of(sent: dict[int, Raw], raw: Raw) -> int:
    return next(offset for offset, each in sent.items() if each is raw)
