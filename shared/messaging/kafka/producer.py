"""Publishing."""

from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from shared.contracts.envelope import Headers, RawHeaders
from shared.contracts.topics import Topic
from shared.messaging.kafka.connection import connecting
from shared.messaging.kafka.errors import kafka_errors
from shared.messaging.kafka.header_names import HeaderName
from shared.settings import Settings

SEND_TIMEOUT_SECONDS = 15.0
_REQUEST_TIMEOUT_MS = 10_000


class Producer:
    """Publishes records, each acknowledged by all in-sync replicas. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        with connecting(settings) as options:
            self._producer = KafkaProducer(
                **options,
                client_id="headrace-relay",
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                request_timeout_ms=_REQUEST_TIMEOUT_MS,
                delivery_timeout_ms=int(SEND_TIMEOUT_SECONDS * 1000),
                max_block_ms=5_000,
                bootstrap_timeout_ms=5_000,
                reconnect_backoff_max_ms=2_000,
                metrics_enabled=False,
            )

    def send(
        self,
        topic: str,
        key: bytes | None,
        headers: Headers,
        value: bytes | None,
        raw_headers: RawHeaders | None = None,
    ) -> Any:
        """Begin to publish to our topic `topic`; `wait` waits for what is returned.

        `raw_headers`, where there are any, take the place of `headers`. Raises `RecordTooLarge`
        where it is known already that the record is.
        """
        named = [(name, text.encode()) for name, text in headers.items()]
        if raw_headers is not None:  # kafka-python 3.0 can't send one without a value
            named = [(HeaderName.of(name), text or b"") for name, text in raw_headers]
        with kafka_errors():
            return self._producer.send(
                self._settings.topic(topic) if topic in set(Topic) else topic,
                key=key,
                headers=named,
                value=value,
            )

    def publish(
        self,
        topic: str,
        key: bytes | None,
        headers: Headers,
        value: bytes | None,
        raw_headers: RawHeaders | None = None,
    ) -> None:
        """Publish one record and wait for the broker's word."""
        self.wait(self.send(topic, key, headers, value, raw_headers))

    def wait(self, sent: Any) -> None:
        """Wait for what `send` returned. Raises `RecordTooLarge` where the broker says so."""
        with kafka_errors():
            sent.get(timeout=SEND_TIMEOUT_SECONDS)

    def close(self) -> None:
        """Give up the connection; what is not acknowledged is not published. Raises nothing."""
        try:
            self._producer.close(timeout=2)
        except KafkaError:
            # It raises where records are not settled by then, and leaves its thread and its
            # connections as they are, for good: kafka-python 3.0 has no other way to end them.
            self._producer._sender.force_close()
