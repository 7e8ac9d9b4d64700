"""What a group goes through on a real broker: members that come and die, records that go."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic
from kafka.structs import TopicPartition
from members import Member, consuming
from sqlalchemy import Engine, select, text

from infra.embedded.environment import Broker
from infra.embedded.stack import Stack
from shared.contracts.envelope import Event, Record
from shared.contracts.events import LoadRequested, Payload
from shared.contracts.topics import Topic
from shared.database.tables import dead_letters, outbox
from shared.errors import InvalidSettings
from shared.messaging import outbox as outbox_module
from shared.messaging.kafka import Admin, Producer, RecordSource, follow
from shared.messaging.relay import Relay
from shared.observability.metrics import Metrics
from shared.settings import Settings
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("apache_kafka")

Effects = Callable[[], dict[str, list[str]]]
Publish = Callable[[int], list[str]]
Start = Callable[..., Member]
SESSION_SECONDS = 6.0


def done_once(effects: Effects, ids: list[str], *, seconds: float = 120) -> dict[str, list[str]]:
    """Every event's effect, when all are there; each must be there once."""
    done = wait_until(lambda: (found := effects()).keys() >= set(ids) and found, seconds=seconds)
    assert [len(done[each]) for each in ids] == [1] * len(ids)
    return done


def partitions_of(settings: Settings, topic: Topic) -> list[TopicPartition]:
    return [
        TopicPartition(settings.topic(topic), number) for number in range(settings.topic_partitions)
    ]


def create_topics(settings: Settings) -> None:
    admin = Admin(settings)
    admin.create_topics()
    admin.close()


@pytest.fixture
def kafka_admin(settings: Settings) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    yield client
    client.close()


def test_a_member_that_joins_and_one_that_is_killed_lose_nothing_and_double_nothing(
    member: Start, effects: Effects, request_loads: Publish
) -> None:
    first = member("first")
    wait_until(first.is_at_work)
    ids = request_loads(150)
    wait_until(lambda: len(effects()) > 5)
    second = member("second")
    wait_until(second.is_at_work)
    ids += request_loads(150)
    wait_until(lambda: any("second" in by for by in effects().values()))
    first.kill()
    ids += request_loads(50)

    done = done_once(effects, ids)
    assert {by for (by,) in done.values()} == {"first", "second"}
    second.stop()


def test_a_static_member_that_comes_back_in_time_causes_no_rebalance(topics: Settings) -> None:
    def member(instance: str) -> Settings:
        return topics.model_copy(update={"consumer_instance_id": instance})

    def generation(source: RecordSource) -> int:
        return source._consumer.group_metadata().generation_id

    nothing = lambda record, cancelled: None  # noqa: E731
    with consuming(member("b"), nothing) as b:
        with consuming(member("a"), nothing) as a:
            wait_until(lambda: a.consumer.partitions == 3 == b.consumer.partitions)
            mine, theirs = a.sources[0].assigned(), b.sources[0].assigned()
            before = generation(b.sources[0])
        left = time.monotonic()
        with consuming(member("a"), nothing) as again:
            wait_until(lambda: again.consumer.partitions == 3, seconds=SESSION_SECONDS)
            assert time.monotonic() - left < SESSION_SECONDS / 2
            assert again.sources[0].assigned() == mine
            assert b.sources[0].assigned() == theirs
            assert generation(b.sources[0]) == before == generation(again.sources[0])
        wait_until(lambda: b.consumer.partitions == 6, seconds=SESSION_SECONDS * 3)
        assert time.monotonic() - left > SESSION_SECONDS, "its partitions were kept for it"
        assert generation(b.sources[0]) > before


def test_a_leader_has_no_reason_to_join_again(topics: Settings) -> None:
    source = RecordSource(topics, "subject", [Topic.VALIDATED])
    try:
        known = {topics.topic(Topic.VALIDATED): set(range(6))}
        coordinator = source._consumer._coordinator
        assert coordinator._metadata_snapshot == known, "before it joins, not when it hears of it"
        wait_until(lambda: source.poll(0.25) or len(source.assigned()) == 6)
        joined = time.monotonic()
        wait_until(lambda: source.poll(0.25) or time.monotonic() - joined > SESSION_SECONDS / 2)
        assert coordinator._metadata_snapshot == coordinator._assignment_snapshot == known
        assert source._consumer.group_metadata().generation_id == 1
    finally:
        source.close()


def test_whoever_leads_the_group_knows_the_partitions_when_it_joins(topics: Settings) -> None:
    for number in range(25):
        source = RecordSource(topics, f"group{number}", [Topic.VALIDATED])
        try:
            wait_until(lambda source=source: not source.poll(0.1) and source.assigned(), seconds=10)
        finally:
            source.close()


def test_closing_a_static_member_takes_no_longer_than_closing_another(topics: Settings) -> None:
    def seconds_to_close(settings: Settings) -> float:
        source = RecordSource(settings, "closing", [Topic.VALIDATED])
        wait_until(lambda: not source.poll(0.1) and source.assigned())
        begun = time.monotonic()
        source.close()
        return time.monotonic() - begun

    assert seconds_to_close(topics) < 2
    assert seconds_to_close(topics.model_copy(update={"consumer_instance_id": "a"})) < 2


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_a_record_that_somebody_has_compressed_is_read(topics: Settings, codec: str) -> None:
    value = b"a slice " * 1000
    done: list[bytes | None] = []
    producer = KafkaProducer(
        bootstrap_servers=topics.kafka_bootstrap_servers, compression_type=codec
    )
    try:
        producer.send(topics.topic(Topic.VALIDATED), key=b"k", value=value).get(timeout=30)
    finally:
        producer.close()
    with consuming(topics, lambda record, cancelled: done.append(record.value)):
        wait_until(lambda: done)
    assert done == [value]


def test_a_session_that_the_broker_does_not_take_ends_the_service_and_says_which_settings(
    topics: Settings,
) -> None:
    settings = topics.model_copy(
        update={"session_timeout_seconds": 0.5, "heartbeat_interval_seconds": 0.1}
    )
    with consuming(settings, lambda record, cancelled: None) as member:
        (error,) = wait_until(lambda: member.errors, seconds=20)
    assert isinstance(error, InvalidSettings)
    assert "SESSION_TIMEOUT_SECONDS" in str(error)
    assert "group.min.session.timeout.ms" in str(error)


def test_of_two_processes_with_one_instance_id_the_elder_ends_and_says_why(
    topics: Settings,
) -> None:
    settings = topics.model_copy(update={"consumer_instance_id": "same"})
    release = threading.Event()

    def hold(record: Record, cancelled: threading.Event) -> None:
        release.wait(30)

    producer = Producer(topics)
    with consuming(settings, hold) as elder:
        producer.publish(Topic.VALIDATED, b"k", {}, b"held")
        wait_until(lambda: elder.consumer._work)
        with consuming(settings, lambda record, cancelled: None) as younger:
            wait_until(lambda: younger.consumer.partitions == 6)
            release.set()
            (error,) = wait_until(lambda: elder.errors)
            assert isinstance(error, InvalidSettings)
            assert "CONSUMER_INSTANCE_ID" in str(error)
            assert not younger.errors
    producer.close()


def test_a_broker_killed_in_mid_work_loses_nothing_it_acknowledged(
    settings: Settings,
    tmp_path: Path,
    engine: Engine,
    effects: Effects,
    member: Start,
    event_of: Callable[..., Event[Payload]],
) -> None:
    given = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "S3_ENDPOINT_URL": settings.s3_endpoint_url or "",
    }
    stack = Stack(tmp_path / "stack", given=given, broker=Broker.KAFKA, mlflow=False)
    try:
        servers = stack.start(services=())["KAFKA_BOOTSTRAP_SERVERS"]
        here = settings.model_copy(update={"kafka_bootstrap_servers": servers})
        create_topics(here)
        worker = member("worker", kafka_bootstrap_servers=servers)
        wait_until(worker.is_at_work)
        events = [
            event_of(LoadRequested(dataset=f"d{n % 12}", slice_key=str(n), source_uri="/x"))
            for n in range(200)
        ]
        producer = Producer(here)
        for event in events:
            producer.publish(
                Topic.LOAD_REQUESTED, event.key.encode(), event.headers(), event.value()
            )
        producer.close()
        wait_until(lambda: len(effects()) > 5)
        (broker,) = [each for each in stack.status() if each.name == "kafka"]
        os.kill(broker.pid or 0, signal.SIGKILL)
        wait_until(lambda: [death.name for death in stack.dead()] == ["kafka"])
        assert len(effects()) < len(events), "it was in mid-work"

        stack.start(services=())

        done_once(effects, [event.id for event in events])
        worker.stop()
    finally:
        stack.stop()


def test_records_that_retention_took_are_told_and_come_again_from_the_outbox(
    topics: Settings,
    engine: Engine,
    kafka_admin: KafkaAdminClient,
    event_of: Callable[..., Event[Payload]],
    member: Start,
    effects: Effects,
) -> None:
    relay = Relay(engine, "test", lambda: Producer(topics), Metrics(), interval_seconds=1)

    def publish(first: int, end: int) -> list[str]:
        ids = []
        for number in range(first, end):
            event = event_of(LoadRequested(dataset="d", slice_key=str(number), source_uri="/x"))
            with engine.begin() as connection:
                outbox_module.put(connection, event)
            ids.append(event.id)
        while relay.publish_batch():
            pass
        return ids

    worker = member("before")
    wait_until(worker.is_at_work)
    ids = publish(0, 4)
    done_once(effects, ids)
    wait_until(lambda: sum(worker.info()["lag"].values()) == 0)
    worker.stop()
    gone = publish(4, 10)
    kafka_admin.delete_records(dict.fromkeys(partitions_of(topics, Topic.LOAD_REQUESTED), -1))
    still = publish(10, 12)

    again = member("after")
    done_once(effects, still)
    assert not effects().keys() & set(gone)
    said = again.log.read_text()
    assert "the records from 4 to 9 are gone" in said
    assert "`headrace recover` publishes again what was under way" in said

    with engine.begin() as connection:
        connection.execute(text("UPDATE headrace.outbox SET published_at = NULL"))
    while relay.publish_batch():
        pass
    done_once(effects, [*ids, *gone, *still])
    again.stop()


def test_a_new_group_on_a_topic_whose_beginning_is_gone_says_so(
    topics: Settings, kafka_admin: KafkaAdminClient, caplog: pytest.LogCaptureFixture
) -> None:
    producer = Producer(topics)
    for number in range(3):
        producer.publish(Topic.DEAD_LETTERS, b"k", {}, str(number).encode())
    kafka_admin.delete_records({TopicPartition(topics.topic(Topic.DEAD_LETTERS), 0): 2})
    producer.close()
    seen: list[Record] = []
    with (
        caplog.at_level(logging.WARNING, "shared.messaging.kafka.source"),
        consuming(topics, lambda record, _: seen.append(record), topic=Topic.DEAD_LETTERS),
    ):
        wait_until(lambda: seen)
    assert [record.value for record in seen] == [b"2"]
    assert "records before 2 are gone" in caplog.text


@pytest.mark.parametrize(
    ("limit", "characters"),
    [(None, 1_200_000), (20_000, 30_000)],
    ids=["of the client", "of the topic"],
)
def test_an_event_over_the_size_limit_is_a_dead_letter_and_those_behind_it_go_on(
    settings: Settings,
    engine: Engine,
    kafka_admin: KafkaAdminClient,
    event_of: Callable[..., Event[Payload]],
    limit: int | None,
    characters: int,
) -> None:
    if limit is not None:
        configs = {"max.message.bytes": str(limit)}
        name = settings.topic(Topic.LOAD_REQUESTED)
        kafka_admin.create_topics([NewTopic(name, 1, 1, topic_configs=configs)])
    create_topics(settings)
    ids = []
    for size in (10, 10, characters, 10, 10):
        event = event_of(LoadRequested(dataset="d", slice_key="s", source_uri="x" * size))
        with engine.begin() as connection:
            outbox_module.put(connection, event)
        ids.append(event.id)
    relay = Relay(engine, "test", lambda: Producer(settings), Metrics(), interval_seconds=1)
    while relay.publish_batch():
        pass
    relay.stop()
    relay.run()

    def published(topic: Topic) -> list[str]:
        return [
            record.headers["ce_id" if topic is Topic.LOAD_REQUESTED else "ce_causationid"]
            for record in follow(
                settings,
                [topic],
                from_beginning=True,
                stop=threading.Event(),
                until_idle_seconds=1.5,
            )
        ]

    refused = ids.pop(2)
    assert list(dict.fromkeys(published(Topic.LOAD_REQUESTED))) == ids
    with engine.connect() as connection:
        (dead,) = connection.execute(select(dead_letters)).all()
        left = connection.execute(select(outbox).where(outbox.c.published_at.is_(None))).all()
    assert (dead.event_id, dead.error_class) == (refused, "RecordTooLarge")
    assert "too large" in dead.reason
    assert left == [], "nothing waits"
    assert published(Topic.DEAD_LETTERS) == [refused]


def test_lag_is_what_the_group_has_not_committed_also_while_it_works(
    topics: Settings, member: Start, effects: Effects, request_loads: Publish
) -> None:
    worker = member("worker", lag_interval_seconds=0.1)
    wait_until(worker.is_at_work)
    assert worker.info()["lag"] == {topics.topic(Topic.LOAD_REQUESTED): 0}
    ids = request_loads(300)
    seen = []

    def is_done() -> bool:
        seen.append(sum(worker.info()["lag"].values()))
        return len(effects()) == len(ids)

    wait_until(is_done, seconds=60)
    assert max(seen) > 200, "it waits, though one is always in work"
    assert sorted(set(seen[seen.index(max(seen)) :]), reverse=True)[-1] < 100
    wait_until(lambda: sum(worker.info()["lag"].values()) == 0)
    line = f'headrace_lag_records{{service="member",topic="{topics.topic(Topic.LOAD_REQUESTED)}"}}'
    assert f"{line} 0.0" in worker.metrics()
    worker.kill()
    request_loads(7)
    other = member("other", lag_interval_seconds=0.1)
    wait_until(lambda: len(effects()) == len(ids) + 7)
    other.stop()
