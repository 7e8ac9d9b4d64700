"""Kafka: records in and out, topics, offsets. The only importer of kafka-python.

Errors that may pass are raised as `ServerUnavailable`, a refused login as `LoginRefused`.
"""

from shared.messaging.kafka.admin import Admin
from shared.messaging.kafka.follow import follow
from shared.messaging.kafka.onlooker import Onlooker
from shared.messaging.kafka.producer import Producer
from shared.messaging.kafka.source import Partition, RecordSource

__all__ = ["Admin", "Onlooker", "Partition", "Producer", "RecordSource", "follow"]
