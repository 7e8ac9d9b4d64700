import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, func, insert, select
from typer.testing import CliRunner, Result

from cli.main import app
from infra.embedded.mlflow_server import MlflowServer
from infra.embedded.ports import claim
from infra.embedded.process import find, launch
from services.trainer.handlers import Trainer
from services.trainer.registry import Registry, Tracking
from shared.arrow_types import arrow_schema
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.envelope import Event, Record, decode
from shared.contracts.events import DatasetReady, ModelPublished, Payload, Snapshotted
from shared.contracts.manifest import FilePart, SchemaField, SnapshotManifest, TableManifest
from shared.contracts.spec_file import find_spec
from shared.database.tables import loads, outbox, slices, snapshots
from shared.messaging.unit_of_work import AlreadyDone, UnitOfWork
from shared.object_store import Bucket, ObjectStore, ObjectUri
from shared.settings import Settings
from tests.conftest import REPOSITORY
from tests.waiting import wait_until


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real tracking server, as the embedded stack starts it, on files of its own."""
    root = tmp_path_factory.mktemp("mlflow")
    server = MlflowServer(
        port=claim(["mlflow"], {}, set())["mlflow"],
        backend_url=f"sqlite:///{root / 'mlflow.db'}",
        artifact_url=str(root / "artifacts"),
        store_environment={},
        inherited=dict(os.environ),
        needs=(),
    )
    record = launch(
        server.command(),
        root=root,
        log=root / "mlflow.log",
        stage=server.stage,
        stop_signal=server.stop_signal,
        grace_seconds=server.grace_seconds,
    )
    try:
        wait_until(server.is_ready, seconds=60, what="MLflow answers")
        yield server.address
    finally:
        if process := find(record):
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=10)


@dataclass
class Bench:
    """A trainer on real servers, with a dataset whose name and model are this test's alone."""

    trainer: Trainer
    engine: Engine
    store: ObjectStore
    spec: DatasetSpec
    directory: Path
    now: Callable[[], datetime]
    snapshots: int = field(default=0)

    @property
    def registry(self) -> Registry:
        return self.trainer.registry

    @property
    def model(self) -> str:
        assert self.spec.training is not None
        return self.spec.training.model.name

    def change_spec(self, change: Callable[[dict[str, Any]], None]) -> None:
        declared = json.loads(self.spec.model_dump_json())
        change(declared)
        (self.directory / f"{self.spec.dataset}.yaml").write_text(json.dumps(declared))
        self.spec = find_spec(self.directory, self.spec.dataset)

    def snapshot(self, tables: dict[str, pa.Table], as_of: date) -> Snapshotted:
        """Freeze `tables`, as the snapshotter would, each time with new ids."""
        self.snapshots += 1
        known_at, load_id = self.now(), str(uuid4())
        folder = f"{self.spec.dataset}/{load_id}"
        manifests = {}
        for name, declared in self.spec.tables.items():
            rows, half = tables[name], tables[name].num_rows // 2
            parts = []
            for number, part in enumerate((rows.slice(0, half), rows.slice(half))):
                sink = pa.BufferOutputStream()
                pq.write_table(part, sink)
                data = sink.getvalue().to_pybytes()
                uri = self.store.uri(Bucket.SNAPSHOTS, f"{folder}/{name}/part-{number}.parquet")
                self.store.put_bytes(uri, data, content_type="application/vnd.apache.parquet")
                parts.append(
                    FilePart(
                        uri=str(uri),
                        rows=part.num_rows,
                        bytes=len(data),
                        sha256=hashlib.sha256(data).hexdigest(),
                    )
                )
            manifests[name] = TableManifest(
                rows=rows.num_rows,
                fields=tuple(
                    SchemaField(name=column, type=described.type)
                    for column, described in declared.columns.items()
                ),
                parts=tuple(parts),
            )
        manifest = SnapshotManifest(
            dataset=self.spec.dataset,
            as_of=as_of,
            known_at=known_at,
            load_id=load_id,
            snapshot_id=f"{self.spec.dataset}-{self.snapshots}",
            spec_digest=self.spec.digest(),
            tables=manifests,
        )
        uri = self.store.uri(Bucket.SNAPSHOTS, f"{folder}/manifest.json")
        self.store.put_bytes(uri, manifest.to_bytes(), content_type="application/json")
        return Snapshotted(
            dataset=self.spec.dataset,
            slice_key=f"slice_{self.snapshots}",
            load_id=load_id,
            snapshot_id=manifest.snapshot_id,
            as_of=as_of,
            known_at=known_at,
            manifest_uri=str(uri),
            manifest_sha256=hashlib.sha256(manifest.to_bytes()).hexdigest(),
            changes={},
        )

    def publish(self, payload: Snapshotted, percentage: float | None = None) -> Snapshotted:
        """Record the load, the slice and the snapshot, as the stages before would have."""
        landing = self.store.uri(Bucket.LANDING, f"{payload.dataset}/{payload.slice_key}/abc")
        self.store.put_bytes(landing.child("users.csv"), b"as it came", content_type="text/csv")
        shared = {"dataset": payload.dataset, "slice_key": payload.slice_key}
        dated = {**shared, "as_of": payload.as_of, "load_id": payload.load_id}
        with self.engine.begin() as connection:
            connection.execute(
                insert(loads).values(
                    **dated,
                    revision=1,
                    status="published",
                    source_uri="/drops",
                    requested_by="test",
                    landing_uri=str(landing),
                    content_sha256="abc",
                    percentage=percentage,
                    requested_at=self.now(),
                )
            )
            connection.execute(
                insert(slices).values(
                    **dated, revision=1, content_sha256="abc", published_at=self.now()
                )
            )
            connection.execute(
                insert(snapshots).values(
                    **dated,
                    snapshot_id=payload.snapshot_id,
                    known_at=payload.known_at,
                    manifest_uri=payload.manifest_uri,
                    manifest_sha256=payload.manifest_sha256,
                    tables={},
                )
            )
        return payload

    def event(self, payload: Payload) -> Event[Any]:
        return Event(payload, source="test", time=self.now())

    def unit(self, event: Event[Any]) -> UnitOfWork:
        return UnitOfWork(self.engine, "trainer", event, self.now)

    def deliver(self, event: Event[Any]) -> bool:
        """Handle `event`, as the consumer would; False where it was done before."""
        handle = {
            Snapshotted: self.trainer.on_snapshotted,
            DatasetReady: self.trainer.on_dataset_ready,
            ModelPublished: self.trainer.on_model_published,
        }[type(event.payload)]
        try:
            handle(event, self.unit(event))
        except AlreadyDone:
            return False
        return True

    def build(self, payload: Snapshotted) -> DatasetReady:
        assert self.deliver(self.event(payload))
        return self.emitted(DatasetReady)[-1]

    def train(self, payload: DatasetReady) -> ModelPublished:
        assert self.deliver(self.event(payload))
        return self.emitted(ModelPublished)[-1]

    def event_of(self, payload_type: type[Any]) -> Event[Any]:
        """The newest event of that type, as it was put into the outbox."""
        query = (
            select(outbox)
            .where(outbox.c.topic == payload_type.topic.value)
            .order_by(outbox.c.outbox_id.desc())
        )
        with self.engine.connect() as connection:
            row = connection.execute(query).first()
        assert row is not None
        return decode(Record(row.topic, 0, 0, row.key.encode(), row.headers, bytes(row.value)))

    def emitted(self, payload_type: type[Any]) -> list[Any]:
        query = (
            select(outbox.c.value)
            .where(outbox.c.topic == payload_type.topic.value)
            .order_by(outbox.c.outbox_id)
        )
        with self.engine.connect() as connection:
            found = connection.execute(query).scalars().all()
        return [payload_type.model_validate_json(bytes(value)) for value in found]

    def count(self, table: Any) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(table)).scalar_one())

    def overwrite(self, uri: str, data: bytes) -> None:
        self.store.put_bytes(ObjectUri.parse(uri), data, content_type="application/octet-stream")


@pytest.fixture
def bench_of(
    engine: Engine,
    store: ObjectStore,
    mlflow_uri: str,
    tmp_path: Path,
    clock: Callable[[], datetime],
) -> Callable[[str], Bench]:
    """Makes a bench for a copy of one of the shipped specs."""

    def make(original: str) -> Bench:
        name = f"copy_{uuid4().hex[:8]}"
        declared = json.loads(find_spec(REPOSITORY / "datasets", original).model_dump_json())
        declared["dataset"] = name
        declared["training"]["model"]["name"] = f"{name}_model"
        (tmp_path / f"{name}.yaml").write_text(json.dumps(declared))
        trainer = Trainer(tmp_path, store, Tracking(mlflow_uri), Registry(mlflow_uri), "abc123")
        return Bench(trainer, engine, store, find_spec(tmp_path, name), tmp_path, clock)

    return make


@pytest.fixture
def bench(bench_of: Callable[[str], Bench]) -> Bench:
    """A bench for a copy of the Streamflow spec."""
    return bench_of("streamflow")


@pytest.fixture
def headrace(
    settings: Settings, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """The command, on a bench's servers: `headrace("models", "list")`."""
    for name, value in settings.model_dump(exclude_none=True).items():
        secret = value.get_secret_value() if isinstance(value, SecretStr) else value
        monkeypatch.setenv(name.upper(), str(secret))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.setenv("DATASETS_DIR", str(tmp_path))

    def run(*arguments: object) -> Result:
        root = tmp_path / "no-stack"
        return CliRunner().invoke(app, [*map(str, arguments), "--root", str(root)])

    return run


@pytest.fixture(scope="session")
def months(drops: Path) -> dict[str, dict[str, pa.Table]]:
    """The real drops' tables, typed, by month."""
    spec = find_spec(REPOSITORY / "datasets", "streamflow")
    found: dict[str, dict[str, pa.Table]] = {}
    for month in ("month_000", "month_001"):
        found[month] = {}
        for name, declared in spec.tables.items():
            schema = arrow_schema(declared)
            options = arrow_csv.ConvertOptions(
                column_types=schema,
                include_columns=schema.names,
                include_missing_columns=True,
                strings_can_be_null=True,
                null_values=[""],
            )
            found[month][name] = arrow_csv.read_csv(
                drops / month / f"{name}.csv", convert_options=options
            )
    return found


@pytest.fixture(scope="session")
def small(months: dict[str, dict[str, pa.Table]]) -> dict[str, pa.Table]:
    """January of two thousand users: enough to learn from, quickly."""
    return {name: rows.slice(0, 2000) for name, rows in months["month_000"].items()}
