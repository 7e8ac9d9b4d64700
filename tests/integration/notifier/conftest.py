"""The notifier as its composition root builds it, with targets on a real HTTP server."""

import io
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from services.notifier.app import build
from services.notifier.sending import Sender
from services.notifier.targets import read_targets
from shared.contracts.envelope import Event, Record
from shared.contracts.events import (
    DriftDetected,
    DriftedFeature,
    ModelPublished,
    Payload,
    Reason,
    SliceRejected,
    Stage,
)
from shared.messaging.processor import Processor
from shared.object_store import ObjectStore
from shared.observability.metrics import Metrics
from shared.service import Resources
from shared.settings import Settings
from tests.integration.notifier.receiver import Receiver
from tests.waiting import wait_until

NOW = datetime(2024, 1, 8, 0, 5, tzinfo=UTC)


class Hands:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **time: float) -> None:
        self.now += timedelta(**time)


class Notifying:
    """The service's handlers and companion, its database and its clock."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.engine = engine
        self.clock = Hands()
        resources = Resources(settings, engine, ObjectStore(settings), self.clock, lambda: None)
        self.service = build(resources)
        self.sender = self.service.companions[0]
        self.targets = read_targets(settings).usable
        self._offsets = iter(range(1, 1_000_000))

    def another_sender(self) -> Sender:
        """A replica's."""
        targets = read_targets(self.settings).usable
        return Sender(self.engine, targets, self.settings, self.clock, Metrics())

    def deliver(self, *events: Event[Payload]) -> None:
        """Have the service handle each event, as its consumer does."""
        for event in events:
            topic = self.settings.topic(event.payload.topic)
            self.deliver_record(
                Record(topic, 0, next(self._offsets), b"k", event.headers(), event.value())
            )

    def deliver_record(self, record: Record) -> None:
        """Have it handle a record."""
        processor = Processor(
            service=self.service.name,
            handlers=self.service.handlers,
            stage_of=self.service.stage_of,
            engine=self.engine,
            clock=self.clock,
            settings=self.settings,
            metrics=Metrics(),
            wake_relay=lambda: None,
        )
        processor.process(record, threading.Event())

    def rejected(self, slice_key: str = "43%") -> Event[Payload]:
        """An event that says so."""
        payload = SliceRejected(
            dataset="rakuten",
            slice_key=slice_key,
            load_id="load-1",
            as_of=date(2024, 1, 8),
            stage=Stage.VALIDATE,
            reasons=(Reason(code="c", message="products.designation: 2 values are missing"),),
        )
        return Event(payload=payload, source="validator", time=self.clock())

    def published(self, **changes: Any) -> Event[Payload]:
        """An event that says that a version is champion."""
        facts = {
            "dataset": "rakuten",
            "slice_key": "43%",
            "load_id": "load-1",
            "snapshot_id": "snap-1",
            "as_of": date(2024, 1, 8),
            "dataset_version": "d1g3st",
            "model_name": "rakuten_classifier",
            "model_version": "3",
            "run_id": "run-1",
            "alias": "champion",
            "promoted": True,
            "decision": "beats_champion",
            "reason": "better",
            "metrics": {"weighted_f1": 0.8412},
        }
        payload = ModelPublished(**{**facts, **changes})
        return Event(
            payload=payload, source="trainer", time=self.clock(), causation_id="dataset-ready-1"
        )

    def drifted(self) -> Event[Payload]:
        """An event that says that a dataset has drifted."""
        payload = DriftDetected(
            dataset="rakuten",
            slice_key="43%",
            load_id="load-1",
            snapshot_id="snap-1",
            as_of=date(2024, 1, 8),
            dataset_version="d1g3st",
            model_name="rakuten_classifier",
            champion_version="2",
            baseline_as_of=date(2024, 1, 1),
            baseline_version="d1g3st-before",
            features_compared=3,
            features_drifted=1,
            features=(
                DriftedFeature(
                    feature="products.designation",
                    measure="vocabulary",
                    value=0.0812,
                    threshold=0.02,
                ),
            ),
        )
        return Event(payload=payload, source="trainer", time=self.clock())

    def sql(self, statement: str, **parameters: Any) -> list[Mapping[str, Any]]:
        """The rows that a statement gives."""
        with self.engine.begin() as connection:
            found = connection.execute(text(statement), parameters)
            return [dict(row) for row in found.mappings()] if found.returns_rows else []

    def rows(self) -> list[Mapping[str, Any]]:
        """The messages, in order."""
        return self.sql("SELECT * FROM headrace.notifications ORDER BY created_at, title, target")

    def states(self) -> list[str]:
        """Their states."""
        return [row["state"] for row in self.rows()]

    def failed(self, tries: int) -> bool:
        """Whether the only message failed so many times and waits to be tried again."""
        (row,) = self.rows()
        return row["state"] == "pending" and row["attempts"] >= tries

    def settled(self) -> None:
        """Wait until no message is to be sent."""
        wait_until(lambda: not {"pending", "sending"} & set(self.states()))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.up()
    yield receiver
    receiver.down()


@pytest.fixture
def notifying(
    settings: Settings, engine: Engine, receiver: Receiver
) -> Iterator[Callable[..., Notifying]]:
    """Builds the notifier for targets at these paths, with short pauses."""
    made: list[Notifying] = []

    def make(*paths: str, **changes: Any) -> Notifying:
        values = {
            "notify_urls": " ".join(map(receiver.url, paths)),
            "notify_timeout_seconds": 0.5,
            "notify_retry_floor_seconds": 0.05,
            "notify_retry_ceiling_seconds": 0.2,
            "relay_interval_seconds": 0.1,
            **changes,
        }
        own = Settings.model_validate({**settings.model_dump(), **values})
        made.append(Notifying(own, engine))
        return made[-1]

    yield make
    receiver.release.set()
    for each in made:
        each.sender.stop()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a process's log would get at its most talkative, less the libraries that are quiet."""
    written = io.StringIO()
    monkeypatch.setattr(logging.root, "handlers", [logging.StreamHandler(written)])
    monkeypatch.setattr(logging.root, "level", logging.DEBUG)
    monkeypatch.setattr(logging.getLogger("urllib3"), "level", logging.WARNING)
    return written
