"""Every stage in this process, on real servers: what is sent runs through to its end."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text, update
from typer.testing import CliRunner, Result

from cli.main import app
from infra.embedded.environment import given_variables
from services.ingestor.app import build as build_ingestor
from services.snapshotter.app import build as build_snapshotter
from services.trainer.app import build as build_trainer
from services.validator.app import build as build_validator
from shared.contracts.envelope import Event, Record
from shared.contracts.events import LoadRequested, Payload, WithdrawRequested
from shared.contracts.topics import Topic
from shared.database.dataset_tables import quoted
from shared.database.tables import inbox, loads, outbox
from shared.messaging import outbox as outbox_of_events
from shared.messaging.processor import Processor
from shared.object_store import ObjectStore
from shared.service import Resources
from shared.settings import Settings
from tests.integration.trainer.conftest import mlflow_uri  # noqa: F401 - a fixture

BUILDERS = {
    "ingestor": build_ingestor,
    "validator": build_validator,
    "snapshotter": build_snapshotter,
    "trainer": build_trainer,
}
SPEC: dict[str, Any] = {
    "dataset": "people",
    "slices": {
        "naming": {"pattern": "day_{index:02d}", "first_as_of": "2024-03-01", "every": "day"}
    },
    "tables": {
        "users": {
            "key": ["user_id"],
            "quarantine_budget": 2,
            "columns": {"user_id": "integer", "score": "number", "label": "boolean"},
        }
    },
    "training": {
        "entity": "user_id",
        "target": {"table": "users", "column": "label"},
        "features": {"users": ["score"]},
        "model": {"name": "people_label", "kind": "logistic_regression"},
    },
}
_NEVER = threading.Event()


def users(first: int, last: int, *, shift: float = 0.0, bad: int = 0) -> bytes:
    """A drop of users; the label follows from the score."""
    lines = [
        f"{n},{(n * 37 % 100) / 10 + shift},{str(n * 37 % 100 > 50).lower()}"
        for n in range(first, last)
    ]
    lines += [f"{10_000 + n},much,true" for n in range(bad)]
    return ("user_id,score,label\n" + "\n".join(lines) + "\n").encode()


@dataclass
class Line:
    """The pipeline. A service that is `away` leaves its events lying."""

    settings: Settings
    engine: Engine
    store: ObjectStore
    folder: Path
    headrace: Callable[..., Result]
    spec: dict[str, Any]
    away: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.write_spec()
        resources = Resources(
            self.settings, self.engine, self.store, lambda: datetime.now(UTC), lambda: None
        )
        self._services = {name: build(resources) for name, build in BUILDERS.items()}
        self._resources = resources

    def write_spec(self) -> None:
        path = self.settings.datasets_dir / f"{self.dataset}.yaml"
        path.write_text(json.dumps(self.spec))

    @property
    def dataset(self) -> str:
        return str(self.spec["dataset"])

    def drop(self, slice_key: str, files: Mapping[str, bytes]) -> Path:
        folder = self.folder / "drops" / slice_key
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return folder

    def load(self, slice_key: str, content: bytes, **how: Any) -> dict[str, Any]:
        """Load a drop of users, all the way; the row of its load."""
        folder = self.drop(slice_key, {"users.csv": content})
        payload = LoadRequested(
            dataset=self.dataset, slice_key=slice_key, source_uri=str(folder), **how
        )
        return self.send(payload)

    def withdraw(self, slice_key: str, reason: str = "wrong") -> dict[str, Any]:
        payload = WithdrawRequested(
            dataset=self.dataset, slice_key=slice_key, reason=reason, requested_by="ada"
        )
        return self.send(payload)

    def send(self, payload: Payload) -> dict[str, Any]:
        event = Event(payload=payload, source="test", time=datetime.now(UTC))
        with self.engine.begin() as connection:
            outbox_of_events.put(connection, event)
        self.run()
        return self.load_of(event.id)

    def run(self) -> None:
        """Have every service do what is in the outbox until nothing is left.

        In the order of each topic; what is further on its way comes first, for others wait for it.
        """
        while True:
            with self.engine.begin() as connection:
                row = connection.execute(
                    select(outbox)
                    .where(outbox.c.published_at.is_(None))
                    .order_by(func.array_position(list(Topic), outbox.c.topic).desc(), "outbox_id")
                    .limit(1)
                ).first()
                if row is None:
                    return
                connection.execute(
                    update(outbox)
                    .where(outbox.c.outbox_id == row.outbox_id)
                    .values(published_at=text("clock_timestamp()"))
                )
            key, value = row.key.encode(), bytes(row.value)
            self.deliver(Record(row.topic, 0, row.outbox_id, key, row.headers, value))

    def deliver(self, record: Record) -> None:
        for name, service in self._services.items():
            if name in self.away or record.topic not in {p.topic for p in service.handlers}:
                continue
            Processor(
                service=name,
                handlers=service.handlers,
                stage_of=service.stage_of,
                engine=self.engine,
                clock=self._resources.clock,
                settings=self.settings,
                metrics=self._resources.metrics,
                wake_relay=lambda: None,
            ).process(record, _NEVER)
        if record.topic in ("slice-rejected", "model-published", "drift-detected", "dead-letters"):
            with self.engine.begin() as connection:  # as the notifier does without targets
                connection.execute(
                    inbox.insert().values(consumer="notifier", event_id=record.headers["ce_id"])
                )

    def load_of(self, load_id: str) -> dict[str, Any]:
        with self.engine.connect() as connection:
            row = (
                connection.execute(select(loads).where(loads.c.load_id == load_id)).mappings().one()
            )
            return dict(row)

    def query(self, statement: str, **parameters: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), parameters))

    def scalar(self, statement: str, **parameters: Any) -> Any:
        return self.query(statement, **parameters)[0][0]

    def change(self, statement: str, **parameters: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), parameters)

    def current(self, table: str = "users") -> dict[int, Any]:
        name = quoted(self.dataset, table)
        return {row.user_id: row.score for row in self.query(f"SELECT * FROM {name}")}

    def state_at(self, as_of: date) -> dict[int, Any]:
        name = quoted(self.dataset, "users_snapshots")
        rows = self.query(f"SELECT user_id, score FROM {name} WHERE as_of = :as_of", as_of=as_of)
        return {row.user_id: row.score for row in rows}

    def json(self, *words: object) -> Any:
        done = self.headrace(*words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


MakeLine = Callable[..., Line]


@pytest.fixture
def headrace(
    topics: Settings,
    mlflow_uri: str,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Result]:
    """The command, on the test's servers."""
    settings = topics.model_copy(
        update={"datasets_dir": tmp_path / "datasets", "mlflow_tracking_uri": mlflow_uri}
    )
    for name, value in given_variables(settings).items():
        monkeypatch.setenv(name, value)

    def run(*words: object) -> Result:
        return CliRunner().invoke(app, [*map(str, words), "--root", str(tmp_path / "no-stack")])

    return run


@pytest.fixture
def make_line(
    topics: Settings,
    engine: Engine,
    store: ObjectStore,
    mlflow_uri: str,  # noqa: F811
    tmp_path: Path,
    headrace: Callable[..., Result],
) -> MakeLine:
    """Makes a pipeline for a copy of the spec with parts of it replaced."""
    (tmp_path / "datasets").mkdir()
    settings = topics.model_copy(
        update={"datasets_dir": tmp_path / "datasets", "mlflow_tracking_uri": mlflow_uri}
    )

    def make(**parts: Any) -> Line:
        name = f"people_{settings.topic_prefix.strip('.')}"
        spec: dict[str, Any] = json.loads(json.dumps(SPEC)) | {"dataset": name} | parts
        if spec.get("training"):
            spec["training"]["model"]["name"] = f"{name}_label"
        else:
            spec.pop("training")
        return Line(settings, engine, store, tmp_path, headrace, spec)

    return make


@pytest.fixture
def line(make_line: MakeLine) -> Line:
    """A pipeline without a model, which is faster."""
    return make_line(training=None)
