"""A dataset that went the whole way, on real servers: what `headrace verify` looks at."""

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, select, text, update

import services.ingestor.app
import services.notifier.app
import services.snapshotter.app
import services.trainer.app
import services.validator.app
from cli.verify.audit import CHECKS
from cli.verify.findings import Finding
from cli.verify.ground import Ground
from shared.clock import utc_now
from shared.contracts.envelope import Event, Record
from shared.contracts.events import LoadRequested
from shared.database.engine import make_engine
from shared.database.tables import outbox
from shared.messaging.processor import Processor
from shared.object_store import ObjectStore
from shared.observability.metrics import Metrics
from shared.service import Resources
from shared.settings import Settings
from tests.conftest import _administration, _on_database
from tests.integration.trainer.conftest import mlflow_uri

__all__ = ["mlflow_uri"]

APPS = (
    services.ingestor.app,
    services.validator.app,
    services.snapshotter.app,
    services.trainer.app,
    services.notifier.app,
)
SPEC = """
dataset: streams
slices: {naming: {pattern: "day_{index:02d}", first_as_of: 2024-03-01, every: day}}
tables:
  people:
    key: [id]
    duplicates: keep_last
    quarantine_budget: 5
    absence: delete
    columns: {id: string, joined: date, plan: string, seen: timestamp}
    images: {file: "pictures/{id}.png"}
  labels:
    key: [id]
    columns: {id: string, churned: boolean, watched: number}
    foreign_keys: [{columns: [id], table: people}]
    expectations:
      - {type: expect_column_values_to_be_between, kwargs: {column: watched, min_value: 0}}
training:
  entity: id
  target: {table: labels, column: churned}
  features: {people: [joined, plan], labels: [watched]}
  balance: {strategy: random_oversample, seed: 1}
  model: {name: streams_model, kind: logistic_regression}
  metric: accuracy
drift: {thresholds: {psi: 0.0001}, significance: 0.999}
"""
_databases = itertools.count(1)


@dataclass
class World:
    """All services' handlers over a database of its own, without a broker."""

    settings: Settings
    engine: Engine
    store: ObjectStore
    folder: Path

    def drop(self, name: str, *, people: range, watched: int = 7, late: str = "") -> Path:
        """Write a slice of `people`; one row is no person, and the first one stands there twice.

        Two of them have a picture.
        """
        folder = self.folder / late / name
        (folder / "pictures").mkdir(parents=True)
        for key in ("p010", "p020"):
            (folder / "pictures" / f"{key}.png").write_bytes(key.encode())
        rows = [
            f"p{n:03d},2023-{1 + n % 12:02d}-15,{'abc'[n % 3]},2024-02-01T10:00:00Z" for n in people
        ]
        rows += [rows[0], "p900,never,a,"]
        (folder / "people.csv").write_text("id,joined,plan,seen\n" + "\n".join(rows) + "\n")
        labels = [
            f"p{n:03d},{'true' if n % 5 < 2 else 'false'},{watched if n == people[0] else n % 11}"
            for n in people
        ]
        (folder / "labels.csv").write_text("id,churned,watched\n" + "\n".join(labels) + "\n")
        return folder

    def load(self, folder: Path) -> str:
        """Load a slice the whole way; the load's id."""
        payload = LoadRequested(
            dataset="streams", slice_key=folder.name, source_uri=str(folder), requested_by="test"
        )
        event = Event(payload=payload, source="test", time=utc_now())
        self.process(Record(payload.topic.value, 0, 0, b"streams", event.headers(), event.value()))
        self.drain()
        return event.id

    def drain(self) -> None:
        """Have every event of the outbox done, until none is left."""
        unsent = select(outbox).where(outbox.c.published_at.is_(None)).order_by(outbox.c.outbox_id)
        while True:
            with self.engine.begin() as connection:
                row = connection.execute(unsent.limit(1)).first()
                if row is None:
                    return
                sent = update(outbox).where(outbox.c.outbox_id == row.outbox_id)
                connection.execute(sent.values(published_at=text("clock_timestamp()")))
            self.process(
                Record(row.topic, 0, row.outbox_id, row.key.encode(), row.headers, bytes(row.value))
            )

    def process(self, record: Record) -> None:
        """Have every service that consumes the record's type process it."""
        for processor in self._processors:
            if any(payload.topic == record.topic for payload in processor.handlers):
                processor.process(record, threading.Event())

    def __post_init__(self) -> None:
        metrics = Metrics()
        resources = Resources(
            self.settings, self.engine, self.store, utc_now, lambda: None, metrics
        )
        built = [app.build(resources) for app in APPS]
        self._processors = [
            Processor(
                service=service.name,
                handlers=service.handlers,
                stage_of=service.stage_of,
                engine=self.engine,
                clock=utc_now,
                settings=self.settings,
                metrics=metrics,
                wake_relay=lambda: None,
            )
            for service in built
        ]


@dataclass
class Stored:
    """A copy of what the world has stored: a database of the test's own, the same store."""

    settings: Settings
    engine: Engine
    store: ObjectStore

    def sql(self, statement: str, **parameters: Any) -> list[Any]:
        """Run a statement; its rows."""
        with self.engine.begin() as connection:
            found = connection.execute(text(statement), parameters)
            return list(found) if found.returns_rows else []

    def found(self, check: str) -> list[str]:
        """What one check of the audit finds."""
        finding = Finding(check, most=20)
        CHECKS[check](Ground.of(self.settings, self.engine, None), finding)
        return [str(difference) for difference in finding.differences]

    def scalar(self, statement: str, **parameters: Any) -> Any:
        """The one value of a query."""
        return self.sql(statement, **parameters)[0][0]


@pytest.fixture(scope="session")
def world(
    servers: Settings,
    template_database: str,
    mlflow_uri: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """Two slices of a dataset with a model: the second deletes, quarantines and rejects nothing;
    then a revision of the first, and a slice that is rejected.
    """
    root = tmp_path_factory.mktemp("world")
    (root / "specs").mkdir()
    (root / "specs" / "streams.yaml").write_text(SPEC)
    name = f"verify_{next(_databases)}"
    _create(servers, name, template_database)
    settings = _on_database(servers, name).model_copy(
        update={
            "bucket_prefix": f"{name.replace('_', '-')}-",
            "datasets_dir": root / "specs",
            "mlflow_tracking_uri": mlflow_uri,
        }
    )
    store = ObjectStore(settings)
    store.create_buckets()
    engine = make_engine(settings, application="test")
    world = World(settings, engine, store, root / "drops")
    world.load(world.drop("day_00", people=range(80)))
    world.load(world.drop("day_01", people=range(5, 90)))
    world.load(world.drop("day_00", people=range(81), watched=9, late="revised"))
    world.load(world.drop("day_02", people=range(90), watched=-5))
    world.load(root / "drops" / "day_03")
    engine.dispose()
    yield world
    engine.dispose()


@pytest.fixture
def stored(world: World, servers: Settings) -> Iterator[Stored]:
    """What the world has stored, to be spoiled: the database is the test's own."""
    name = f"spoiled_{next(_databases)}"
    original = make_url(world.settings.database_url.get_secret_value()).database
    world.engine.dispose()
    _create(servers, name, str(original))
    settings = _on_database(world.settings, name)
    engine = make_engine(settings, application="test")
    yield Stored(settings, engine, world.store)
    engine.dispose()
    with _administration(servers).connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def _create(servers: Settings, name: str, template: str) -> None:
    with _administration(servers).connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
