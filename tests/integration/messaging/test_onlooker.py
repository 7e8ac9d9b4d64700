"""Whoever only looks on sees everything from now on, and nobody else has less for it."""

from collections.abc import Callable, Iterator

import pytest

from shared.contracts.envelope import Event
from shared.contracts.events import LoadRequested, Payload, WithdrawRequested
from shared.contracts.topics import Topic
from shared.messaging.kafka import Admin, Onlooker, Producer
from shared.settings import Settings
from tests.waiting import wait_until

EventOf = Callable[..., Event[Payload]]


@pytest.fixture
def publish(topics: Settings) -> Iterator[Callable[[Event[Payload]], None]]:
    producer = Producer(topics)

    def put(event: Event[Payload]) -> None:
        producer.publish(event.payload.topic, event.key.encode(), event.headers(), event.value())

    yield put
    producer.close()


def seen(onlooker: Onlooker, number: int) -> list[str]:
    """The ids of the next `number` records."""
    found: list[str] = []

    def enough() -> bool:
        for records in onlooker.poll(0.2).values():
            found.extend(record.headers["ce_id"] for record in records)
        return len(found) >= number

    wait_until(enough, what=f"{number} records")
    return found


def test_each_onlooker_sees_every_record_of_every_topic_from_its_begin(
    topics: Settings,
    publish: Callable[[Event[Payload]], None],
    event_of: EventOf,
) -> None:
    before = event_of(LoadRequested(dataset="a", slice_key="0", source_uri="/x"))
    publish(before)
    admin = Admin(topics)
    both = [Onlooker(topics, "test", Topic) for _ in range(2)]
    try:
        for each in both:
            wait_until(lambda each=each: not each.poll(0.5), what="it has begun")
        events = [
            event_of(WithdrawRequested(dataset=name, slice_key="1", reason="r"))
            for name in ("a", "b", "c")
        ]
        for event in events:
            publish(event)
        for each in both:
            assert sorted(seen(each, 3)) == sorted(event.id for event in events)
            assert each.commit({}) is True
            assert each.lag() == {}
            assert each.is_member()
            assert len(each.assigned()) == sum(admin.partitions().values())
    finally:
        admin.close()
        for each in both:
            each.close()


def test_before_the_topics_are_made_it_says_who_makes_them(settings: Settings) -> None:
    with pytest.raises(Exception, match="headrace migrate"):
        Onlooker(settings, "test", Topic)
    admin = Admin(settings)
    admin.create_topics()
    admin.close()
    Onlooker(settings, "test", Topic).close()
