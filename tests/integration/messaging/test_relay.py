"""The outbox and its relay, on a real broker."""

import threading
from collections.abc import Callable

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.contracts.envelope import Event, Record, decode
from shared.contracts.events import DeadLettered, LoadRequested, Payload
from shared.contracts.topics import Topic
from shared.database.tables import dead_letters, outbox
from shared.errors import ServerUnavailable
from shared.messaging import outbox as outbox_module
from shared.messaging.dead_letters import bury, redrive
from shared.messaging.kafka import Producer, follow
from shared.messaging.relay import Relay
from shared.observability.metrics import Metrics
from shared.settings import Settings
from tests.waiting import wait_until

UNAVAILABLE = ServerUnavailable("Kafka", "gone")
Make = Callable[..., Event[Payload]]


def published(settings: Settings, topic: Topic = Topic.LOAD_REQUESTED) -> list[Record]:
    return list(
        follow(
            settings,
            [topic],
            from_beginning=True,
            stop=threading.Event(),
            until_idle_seconds=1.5,
        )
    )


def relay_of(engine: Engine, settings: Settings, source: str = "test") -> Relay:
    return Relay(engine, source, lambda: Producer(settings), Metrics(), interval_seconds=0.2)


@pytest.fixture
def put(engine: Engine, event_of: Make) -> Callable[[int], list[str]]:
    def put_some(number: int) -> list[str]:
        ids = []
        for index in range(number):
            event = event_of(
                LoadRequested(dataset="d", slice_key=str(index), source_uri="/nowhere")
            )
            with engine.begin() as connection:
                assert outbox_module.put(connection, event)
                assert not outbox_module.put(connection, event), "an event is put once"
            ids.append(event.id)
        return ids

    return put_some


def test_a_producer_that_can_not_settle_its_records_is_ended_all_the_same(
    engine: Engine,
    topics: Settings,
    put: Callable[[int], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unsettled(self: KafkaProducer, timeout: float | None = None) -> None:
        raise KafkaTimeoutError("not flushed in time")

    def senders() -> set[str]:
        return {each.name for each in threading.enumerate() if "headrace-relay" in each.name}

    relay = relay_of(engine, topics)
    put(1)
    before = senders()
    with monkeypatch.context() as hanging:
        hanging.setattr(KafkaProducer, "flush", unsettled)
        hanging.setattr(Producer, "wait", lambda *_: (_ for _ in ()).throw(UNAVAILABLE))
        with pytest.raises(ServerUnavailable):
            relay.publish_batch()
        wait_until(lambda: senders() <= before, what="its thread has ended")
    assert relay.publish_batch() == 1, "a new producer takes its place"
    relay.stop()
    relay.run()


def test_committed_events_are_published_once_in_order_and_rolled_back_ones_never(
    engine: Engine, topics: Settings, put: Callable[[int], list[str]], event_of: Make
) -> None:
    ids = put(250)
    with engine.connect() as connection:
        outbox_module.put(
            connection, event_of(LoadRequested(dataset="d", slice_key="no", source_uri="/x"))
        )
        connection.rollback()
    relay = relay_of(engine, topics)
    while relay.publish_batch():
        pass

    records = published(topics)
    assert [record.headers["ce_id"] for record in records] == ids
    assert {record.key for record in records} == {b"d"}
    with engine.connect() as connection:
        unpublished = connection.execute(
            select(outbox).where(outbox.c.published_at.is_(None))
        ).all()
    assert unpublished == []


def test_two_relays_of_one_service_publish_each_event_once_and_in_order(
    engine: Engine, topics: Settings, put: Callable[[int], list[str]]
) -> None:
    relays = [relay_of(engine, topics) for _ in range(2)]
    threads = [threading.Thread(target=relay.run) for relay in relays]
    for thread in threads:
        thread.start()
    ids = put(60)
    for relay in relays:
        relay.wake()

    def all_marked() -> bool:
        with engine.connect() as connection:
            query = text("SELECT bool_and(published_at IS NOT NULL) FROM headrace.outbox")
            return bool(connection.execute(query).scalar())

    wait_until(all_marked)
    for relay, thread in zip(relays, threads, strict=True):
        relay.stop()
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert [record.headers["ce_id"] for record in published(topics)] == ids


def test_a_crash_between_the_brokers_word_and_the_mark_repeats_the_event_under_its_id(
    engine: Engine, topics: Settings, put: Callable[[int], list[str]]
) -> None:
    (event_id,) = put(1)

    class DiesAfterSending(Producer):
        def wait(self, sent: object) -> None:
            super().wait(sent)
            raise ServerUnavailable("this process", "killed")

    dying = Relay(engine, "test", lambda: DiesAfterSending(topics), Metrics(), interval_seconds=1)
    with pytest.raises(ServerUnavailable):
        dying.publish_batch()
    relay_of(engine, topics).publish_batch()

    assert [record.headers["ce_id"] for record in published(topics)] == [event_id, event_id]


def test_a_relay_sends_only_what_its_service_put(
    engine: Engine, topics: Settings, put: Callable[[int], list[str]]
) -> None:
    put(1)
    assert relay_of(engine, topics, "another").publish_batch() == 0


def test_a_dead_letter_is_announced_and_redriven_as_it_was(
    engine: Engine, topics: Settings, event_of: Make
) -> None:
    event = event_of(LoadRequested(dataset="d", slice_key="s", source_uri="/x"))
    record = Record(topics.topic(Topic.LOAD_REQUESTED), 3, 17, b"d", event.headers(), event.value())
    for _ in range(2):
        with engine.begin() as connection:
            bury(
                connection,
                service="test",
                record=record,
                event=event,
                stage=None,
                error=ValueError("broken"),
                attempts=3,
                clock=lambda: event.time,
            )
    relay_of(engine, topics).publish_batch()
    (announced,) = published(topics, Topic.DEAD_LETTERS)
    assert announced.headers["ce_causationid"] == event.id
    with engine.connect() as connection:
        (row,) = connection.execute(select(dead_letters)).all()
    said = decode(announced).payload
    assert isinstance(said, DeadLettered)
    assert (said.reason, said.original_key) == ("broken", "d")
    assert said.dead_letter_id == row.dead_letter_id

    producer = Producer(topics)
    redrive(
        engine,
        row.dead_letter_id,
        lambda r: producer.publish(r.topic, r.key, r.headers, r.value),
    )
    producer.close()
    (redriven,) = published(topics)
    assert (redriven.key, redriven.headers, redriven.value) == (
        record.key,
        record.headers,
        record.value,
    )
    with engine.connect() as connection:
        (row,) = connection.execute(select(dead_letters)).all()
    assert row.redriven_at is not None


def test_no_error_ends_the_thread_that_publishes(
    engine: Engine,
    topics: Settings,
    put: Callable[[int], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody else would publish what this service puts into the outbox."""
    relay = relay_of(engine, topics)
    publish_batch, errors = relay.publish_batch, [PoolTimeout("full"), RuntimeError("a bug")]

    def faulty() -> int:
        if errors:
            raise errors.pop()
        return publish_batch()

    monkeypatch.setattr(relay, "publish_batch", faulty)
    thread = threading.Thread(target=relay.run)
    thread.start()
    (event_id,) = put(1)
    relay.wake()

    def is_published() -> bool:
        with engine.connect() as connection:
            query = select(outbox.c.published_at).where(outbox.c.event_id == event_id)
            return connection.execute(query).scalar() is not None

    try:
        wait_until(is_published)
    finally:
        relay.stop()
        thread.join(timeout=30)
    assert errors == []
