"""How long the broker may still deliver a record, as it says itself."""

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from infra.embedded.environment import Broker
from shared.contracts.topics import Topic
from shared.messaging.kafka import Admin
from shared.settings import Settings

DAY_MS = 86_400_000


def longest(settings: Settings) -> float | None:
    admin = Admin(settings)
    try:
        return admin.longest_retention_days()
    finally:
        admin.close()


def test_the_embedded_brokers_keep_records_for_good_or_do_not_say(topics: Settings) -> None:
    assert longest(topics) is None


@pytest.mark.usefixtures("apache_kafka")
def test_it_is_that_of_the_topic_that_keeps_longest_with_its_last_segment(
    topics: Settings, broker: Broker
) -> None:
    client = KafkaAdminClient(bootstrap_servers=topics.kafka_bootstrap_servers)

    def configure(topic: Topic, **configs: object) -> None:
        named = {name.replace("_", "."): str(value) for name, value in configs.items()}
        resource = ConfigResource(ConfigResourceType.TOPIC, topics.topic(topic), named)
        client.alter_configs([resource])

    try:
        for topic in Topic:
            configure(topic, retention_ms=7 * DAY_MS, segment_ms=DAY_MS)
        assert longest(topics) == 8.0
        configure(Topic.VALIDATED, retention_ms=30 * DAY_MS, segment_ms=DAY_MS)
        assert longest(topics) == 31.0
        configure(Topic.VALIDATED, retention_ms=-1, segment_ms=DAY_MS)
        assert longest(topics) is None
        configure(Topic.VALIDATED, cleanup_policy="compact", retention_ms=DAY_MS)
        assert longest(topics) is None
    finally:
        client.close()
