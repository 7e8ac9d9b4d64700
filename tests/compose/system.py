"""The running system as somebody outside has it: its published ports, and Docker around it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import httpx
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.events import LoadRequested
from shared.contracts.topics import Topic
from shared.messaging.kafka import Producer
from shared.messaging.kafka.producer import SEND_TIMEOUT_SECONDS
from shared.object_store import ObjectStore
from shared.settings import Settings
from tests.compose.project import Project
from tests.compose.receiver import Receiver
from tests.compose.timings import Timings
from tests.waiting import wait_until

SERVICES = ("ingestor", "validator", "snapshotter", "trainer", "notifier", "console")
SERVERS = ("kafka", "postgres", "minio", "mlflow")
STAGES = ("ingest", "validate", "snapshot", "dataset", "train")
READY_SECONDS = 600.0
MODEL_SECONDS = 600.0
HTTP_SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    """What an HTTP request was answered."""

    status: int
    body: Any


@dataclass(frozen=True)
class System:
    """A compose project that is up, and the ways into it from this host."""

    project: Project
    settings: Settings
    engine: Engine
    variables: dict[str, str]
    timings: Timings
    specs: Path
    """The folder of specs that the services see as /datasets."""
    drops: Path
    """The folder that the ingestor sees as /drops."""
    receiver: Receiver
    loads: list[str] = field(default_factory=list)
    """The loads that `request` asked for."""

    def query(self, statement: str, **parameters: Any) -> list[Any]:
        """Rows from the database."""
        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), parameters))

    def scalar(self, statement: str, **parameters: Any) -> Any:
        """One value from the database."""
        return self.query(statement, **parameters)[0][0]

    def store(self) -> ObjectStore:
        """The S3 store through its published port."""
        return ObjectStore(self.settings)

    def request(
        self,
        dataset: str,
        slice_key: str,
        source: Path,
        as_of: date | None = None,
        *,
        codec: str | None = None,
    ) -> str:
        """Publish `load-requested` to Kafka's published port; the load's id.

        With a `codec` it comes compressed by it, as from somebody else's producer.
        """
        inside = Path("/drops") / source.relative_to(self.drops)
        payload = LoadRequested(
            dataset=dataset,
            slice_key=slice_key,
            source_uri=str(inside),
            as_of=as_of,
            requested_by="compose-e2e",
        )
        event = Event(payload=payload, source="compose-e2e", time=utc_now())
        if codec is not None:
            self._publish_compressed(event, codec)
        else:
            producer = Producer(self.settings)
            try:
                producer.publish(payload.topic, event.key.encode(), event.headers(), event.value())
            finally:
                producer.close()
        self.loads.append(event.id)
        return event.id

    def _publish_compressed(self, event: Event[LoadRequested], codec: str) -> None:
        producer = KafkaProducer(
            bootstrap_servers=self.settings.kafka_bootstrap_servers,
            acks="all",
            compression_type=codec,
        )
        try:
            producer.send(
                self.settings.topic(event.payload.topic),
                key=event.key.encode(),
                headers=[(name, text.encode()) for name, text in event.headers().items()],
                # What would not be smaller is sent as it is; blanks behind JSON mean nothing.
                value=event.value() + b" " * 4096,
            ).get(timeout=SEND_TIMEOUT_SECONDS)
        finally:
            producer.close()

    def await_stage(self, load_id: str, stage: str) -> None:
        """Wait until a service has begun with a stage of a load."""
        self._await(
            f"that {stage} of load {load_id} begins",
            "SELECT 1 FROM headrace.stage_runs WHERE load_id = :load AND stage = :stage",
            load=load_id,
            stage=stage,
        )

    def await_model(self, load_id: str) -> None:
        """Wait until a load has its model version, and that no event of it waits any longer."""
        self._await(
            f"a model of load {load_id}",
            """
            SELECT 1 FROM headrace.promotions WHERE load_id = :load
              AND NOT EXISTS (SELECT FROM headrace.outbox WHERE published_at IS NULL)
            """,
            load=load_id,
        )

    def await_status(self, load_id: str, status: str) -> None:
        """Wait until a load has a status."""
        self._await(
            f"that load {load_id} is {status}",
            "SELECT 1 FROM headrace.loads WHERE load_id = :load AND status = :status",
            load=load_id,
            status=status,
        )

    def _await(self, what: str, statement: str, **parameters: Any) -> None:
        last = ""

        def is_there() -> bool:
            nonlocal last
            try:
                return bool(self.query(statement, **parameters))
            except DBAPIError as error:  # the database may be the one that was killed
                last = str(error.orig)
                self.engine.dispose()
                return False

        try:
            wait_until(is_there, seconds=MODEL_SECONDS, what=what)
        except AssertionError as late:
            raise AssertionError(f"{late}; {last or self.standing(parameters['load'])}") from None

    def standing(self, load_id: str) -> str:
        """Where a load stands and what was given up, for the message of a failure."""
        stages = self.query(
            "SELECT stage, state, attempts, error FROM headrace.stage_runs WHERE load_id = :load",
            load=load_id,
        )
        dead = self.query("SELECT service, reason FROM headrace.dead_letters")
        unwell = {
            service: self.project.health(self.project.container(service))
            for service in (*SERVERS, *SERVICES)
        }
        return f"stages {stages}; dead letters {dead}; containers {unwell}"

    def await_ready(self, *services: str) -> None:
        """Wait until every container of the services is healthy (of all services by default)."""
        for service in services or (*SERVERS, *SERVICES):
            wait_until(
                lambda service=service: (
                    (found := self.project.containers(service, also_stopped=True))
                    and all(self.project.health(container) == "healthy" for container in found)
                ),
                seconds=READY_SECONDS,
                what=f"{service} is not healthy; `docker logs` has its reasons",
            )

    def http(
        self,
        method: str,
        url: str,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a request from this host; any status is an answer."""
        with httpx.Client(timeout=HTTP_SECONDS, trust_env=False) as client:
            answer = client.request(method, url, json=body, headers=headers)
        return Answer(answer.status_code, answer.json())

    def ask(self, container: str, path: str) -> Answer:
        """Send a GET request to a service from inside its container."""
        code = (
            "import sys, urllib.request, urllib.error\n"
            f"try: answer = urllib.request.urlopen('http://127.0.0.1:8000{path}', timeout=20)\n"
            "except urllib.error.HTTPError as error: answer = error\n"
            "print(answer.status); print(answer.read().decode())"
        )
        status, _, body = self.project.exec(container, "python", "-c", code).partition("\n")
        return Answer(int(status), json.loads(body) if body.startswith("{") else body)

    def events(self) -> list[tuple[str, dict[str, str]]]:
        """Topic and headers of every record on our topics, from their beginning, by the broker."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap_servers, enable_auto_commit=False
        )
        try:
            names = {self.settings.topic(topic): topic.value for topic in Topic}
            parts = [
                TopicPartition(name, number)
                for name in names
                for number in consumer.partitions_for_topic(name) or ()
            ]
            consumer.assign(parts)
            consumer.seek_to_beginning(*parts)
            ends = consumer.end_offsets(parts)
            found = []
            deadline = time.monotonic() + 60
            while any(consumer.position(part) < ends[part] for part in parts):
                assert time.monotonic() < deadline, "the topics could not be read to their ends"
                for messages in consumer.poll(timeout_ms=500).values():
                    for message in messages:
                        headers = {name: value.decode() for name, value in message.headers}
                        found.append((names[message.topic], headers))
            return found
        finally:
            consumer.close()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a block for the table at the end."""
        with self.timings.step(name):
            yield
