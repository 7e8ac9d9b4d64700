"""The handlers of a slice without a broker: a test delivers their events, in whatever order."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Row, text

from services.ingestor.handlers import Ingestor
from services.snapshotter.handlers import Snapshotter
from services.validator.handlers import Validator
from services.validator.suites import Suites
from shared.clock import utc_now
from shared.contracts.envelope import Event, Record
from shared.contracts.events import LoadRequested, Payload, SliceLoaded, Stage, Validated
from shared.contracts.topics import Topic
from shared.messaging import outbox
from shared.messaging.processor import Handler, Later, Processor
from shared.object_store import ObjectStore
from shared.observability.metrics import Metrics
from shared.settings import Settings
from tests.chaos.drops import write_drop, write_spec

NEVER: Any = None
"""For `process_once`, which waits for nothing."""


@dataclass
class Deliveries:
    """A dataset whose events lie in the outbox, and the services that take them from there."""

    engine: Engine
    processors: Mapping[str, Processor]
    root: Path
    dataset: str
    content: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Slice and seed of each load."""

    def request(self, slice_key: str, seed: int, *, guests: int = 8) -> str:
        """Ask for a slice with the content that `seed` gives."""
        folder = write_drop(self.root / f"{seed}", slice_key, seed=seed, guests=guests)
        payload = LoadRequested(
            dataset=self.dataset, slice_key=slice_key, source_uri=str(folder / slice_key)
        )
        event: Event[Payload] = Event(payload=payload, source="test", time=utc_now())
        with self.engine.begin() as connection:
            outbox.put(connection, event)
        self.content[event.id] = (slice_key, seed)
        return event.id

    def events(self) -> list[Row[Any]]:
        """All that the services have to do, done or not, in the order in which it came about."""
        query = """
            SELECT * FROM headrace.outbox WHERE topic = ANY (:topics) ORDER BY outbox_id
        """
        with self.engine.connect() as connection:
            return list(connection.execute(text(query), {"topics": list(self.processors)}))

    def of_load(self, load_id: str) -> list[Row[Any]]:
        """Those of one load."""
        return [each for each in self.events() if each.headers["ce_correlationid"] == load_id]

    def deliver(self, event: Row[Any]) -> bool:
        """Hand an event to its service; False where it has to wait for another one."""
        record = Record(
            event.topic,
            0,
            event.outbox_id,
            event.key.encode(),
            event.headers,
            bytes(event.value),
        )
        try:
            self.processors[event.topic].process_once(record, NEVER)
        except Later as later:
            assert later.after is not None, "nothing but the order may keep an event waiting"
            return False
        return True

    def drain(self, *, most_rounds: int = 50) -> None:
        """Deliver everything until nothing new comes of it and nothing waits."""
        for _ in range(most_rounds):
            before = self.events()
            waiting = [event for event in before if not self.deliver(event)]
            if not waiting and len(self.events()) == len(before):
                return
        raise AssertionError("the events wait for one another for ever")

    def query(self, statement: str, **parameters: Any) -> list[Any]:
        """Rows from the database."""
        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), parameters))

    def published(self) -> list[Any]:
        """What was published: load, slice, date, moment; in the order of the moments."""
        return self.query(
            """
            SELECT load_id, slice_key, as_of, known_at FROM headrace.snapshots
            WHERE dataset = :dataset ORDER BY known_at
            """,
            dataset=self.dataset,
        )

    def replayed(self) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """What the tables must say: the published loads' files, in the order of their dates."""
        guests: dict[Any, Any] = {}
        stays: dict[Any, Any] = {}
        for load in sorted(self.published(), key=lambda load: (load.as_of, load.known_at)):
            slice_key, seed = self.content[load.load_id]
            folder = self.root / f"{seed}" / slice_key
            for row in _rows(folder / "guests.csv"):
                guests[row["guest"]] = (int(row["age"]), row["regular"] == "true")
            for row in _rows(folder / "stays.csv"):
                stays[row["guest"], int(row["night"])] = float(row["price"])
        return guests, stays

    def current(self) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """What they say."""
        guests = self.query(f'SELECT guest, age, regular FROM "{self.dataset}".guests')
        stays = self.query(f'SELECT guest, night, price FROM "{self.dataset}".stays')
        return (
            {row.guest: (row.age, row.regular) for row in guests},
            {(row.guest, row.night): row.price for row in stays},
        )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def make_deliveries(
    engine: Engine,
    settings: Settings,
    store: ObjectStore,
    suites: Suites,
    root: Path,
    dataset: str,
) -> Deliveries:
    """The three services that bring a slice in, on the test's servers."""
    specs = root / "specs"
    specs.mkdir(exist_ok=True)
    write_spec(specs, dataset, with_training=False)
    own = settings.model_copy(update={"datasets_dir": specs})
    handlers: dict[Topic, tuple[str, type[Payload], Stage, Handler]] = {
        Topic.LOAD_REQUESTED: (
            *("ingestor", LoadRequested, Stage.INGEST),
            Ingestor(own, store).on_load_requested,
        ),
        Topic.SLICE_LOADED: (
            *("validator", SliceLoaded, Stage.VALIDATE),
            Validator(own, store, suites).on_slice_loaded,
        ),
        Topic.VALIDATED: (
            *("snapshotter", Validated, Stage.SNAPSHOT),
            Snapshotter(specs, store, 1000).on_validated,
        ),
    }
    return Deliveries(
        engine,
        {
            topic.value: _processor(engine, own, service, payload, stage, handler)
            for topic, (service, payload, stage, handler) in handlers.items()
        },
        root,
        dataset,
    )


def _processor(
    engine: Engine,
    settings: Settings,
    service: str,
    payload: type[Payload],
    stage: Stage,
    handler: Handler,
) -> Processor:
    nothing: Callable[[], None] = lambda: None  # noqa: E731
    return Processor(
        service=service,
        handlers={payload: handler},
        stage_of={payload: stage},
        engine=engine,
        clock=utc_now,
        settings=settings,
        metrics=Metrics(),
        wake_relay=nothing,
    )
