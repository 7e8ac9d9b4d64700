"""Topics, and whether the broker answers."""

from collections.abc import Mapping
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import TopicAlreadyExistsError

from shared.contracts.topics import Topic
from shared.errors import HeadraceError
from shared.messaging.kafka.connection import connecting
from shared.messaging.kafka.errors import kafka_errors
from shared.settings import Settings


class Admin:
    """Topics, and whether the broker answers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        with connecting(settings) as options:
            self._client = KafkaAdminClient(
                **options,
                request_timeout_ms=5_000,
                bootstrap_timeout_ms=3_000,
            )

    def create_topics(self) -> list[str]:
        """Create those of our topics that aren't there; their names."""
        created = []
        with kafka_errors():
            there = set(self._client.list_topics())
            for topic in Topic:
                name = self._settings.topic(topic)
                if name in there:
                    continue
                partitions = 1 if topic is Topic.DEAD_LETTERS else self._settings.topic_partitions
                wanted = NewTopic(name, partitions, self._settings.topic_replication)
                try:
                    self._client.create_topics([wanted])
                except TopicAlreadyExistsError:
                    continue
                created.append(name)
        return created

    def partitions(self) -> dict[Topic, int]:
        """How many partitions each of our topics has; one that isn't there is left out."""
        names = {self._settings.topic(topic): topic for topic in Topic}
        with kafka_errors():
            found = self._client.describe_topics(sorted(names))
        return {
            names[each["name"]]: len(each["partitions"]) for each in found if each["partitions"]
        }

    def longest_retention_days(self) -> float | None:
        """How long a record of any of our topics may still be read; None: for good, or unknown.

        A segment goes when all of it is too old, and one that is written to doesn't: so the time
        after which a new one begins counts too.
        """
        names = [self._settings.topic(topic) for topic in Topic]
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        try:
            with kafka_errors():
                answer = self._client.describe_configs(asked, config_filter="all")
        except HeadraceError:
            return None
        told = {name: said for of_type in answer.values() for name, said in of_type.items()}
        longest = 0.0
        for name in names:
            configs = told.get(name, {})
            times = [_milliseconds(configs.get(key)) for key in ("retention.ms", "segment.ms")]
            if None in times or "delete" not in str(_value(configs.get("cleanup.policy"))):
                return None
            longest = max(longest, sum(time or 0 for time in times) / 86_400_000)
        return longest

    def check(self) -> None:
        """Return if the broker answers."""
        with kafka_errors():
            self._client.list_topics()

    def close(self) -> None:
        """Give up the connection."""
        self._client.close()


def _value(config: Any) -> Any:
    return config.get("value") if isinstance(config, Mapping) else config


def _milliseconds(config: Any) -> int | None:
    """A time that is set; None where it is not, or without end."""
    try:
        found = int(_value(config))
    except (TypeError, ValueError):
        return None
    return found if found >= 0 else None
