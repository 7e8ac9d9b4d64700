"""Making a snapshot's training dataset: its files, its manifest, its run; for an event or a person.

Everything here lies outside the database and has a name that follows from its content or from the
key of the run, so doing it again gives the same thing.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
from sqlalchemy import Engine

from services.trainer.accounts import dataset_run
from services.trainer.dataset import TrainingDataset, build, describe
from services.trainer.records import (
    building_lock,
    keep_dataset,
    newest_snapshot,
    slice_standing,
)
from services.trainer.registry import Tracking
from services.trainer.snapshot import FrozenSnapshot, read_manifest, read_table
from shared.clock import Clock, utc_now
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.manifest import DatasetManifest
from shared.contracts.table_spec import ColumnType
from shared.contracts.training_spec import Training
from shared.errors import InconsistentState, PermanentError
from shared.object_store import Bucket, ObjectStore, ObjectUri

_PARQUET, _JSON = "application/vnd.apache.parquet", "application/json"


class NoDataset(PermanentError):
    """A dataset can't be made on demand: there is no snapshot, or the spec declares no training."""


@dataclass(frozen=True)
class MadeDataset:
    """A training dataset that is in the store and has its run in MLflow."""

    snapshot: FrozenSnapshot
    manifest: DatasetManifest
    manifest_uri: str
    run_id: str


def make_dataset(
    engine: Engine,
    store: ObjectStore,
    tracking: Tracking,
    spec: DatasetSpec,
    training: Training,
    snapshot: FrozenSnapshot,
    *,
    started_at: datetime,
    event_id: str | None = None,
) -> MadeDataset:
    """Build the dataset of `snapshot`, store it, and log it in the experiment of the dataset.

    The run is that of the event; without one it is that of the snapshot and the dataset's version,
    so asking twice gives one run. The same snapshot and spec give the same bytes either way.
    """
    prefix = store.uri(Bucket.DATASETS, snapshot.dataset)
    with engine.connect() as connection:
        standing = slice_standing(
            connection, snapshot.dataset, snapshot.slice_key, snapshot.load_id, snapshot.as_of
        )
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        built = _built(store, spec, training, snapshot)
        manifest, files = describe(spec, training, snapshot.as_of, built, str(prefix), Path(folder))
        for uri, path in files.items():
            store.put_file(ObjectUri.parse(uri), path, content_type=_PARQUET)
        manifest_uri = prefix.child(f"{manifest.dataset_version}/manifest.json")
        store.put_bytes(manifest_uri, manifest.to_bytes(), content_type=_JSON)
        key = event_id or f"on-demand/{snapshot.snapshot_id}/{manifest.dataset_version}"
        record = dataset_run(key, started_at, snapshot, standing, manifest, built)
        run = tracking.record(
            replace(record, files={f"data/{path.name}": path for path in files.values()})
        )
        tracking.finish(run.run_id)
    return MadeDataset(snapshot, manifest, str(manifest_uri), run.run_id)


def make_on_demand(
    engine: Engine,
    store: ObjectStore,
    tracking: Tracking,
    spec: DatasetSpec,
    *,
    as_of: date | None = None,
    clock: Clock = utc_now,
) -> MadeDataset:
    """Make the dataset of the newest snapshot, or the newest at or before `as_of`, and record it.

    Trains nothing and publishes nothing. Raises `NoDataset` where there is no such snapshot or
    nothing declared to be learned.
    """
    if spec.training is None:
        raise NoDataset(
            f"the spec of {spec.dataset} declares no training: add one "
            f"(docs/datasets.md, Training fields) and ask again"
        )
    with building_lock(engine, spec.dataset) as connection:
        row = newest_snapshot(connection, spec.dataset, as_of)
        if row is None:
            until = f" at or before {as_of}" if as_of else ""
            raise NoDataset(
                f"{spec.dataset} has no snapshot{until}: see `headrace snapshots "
                f"{spec.dataset}`, or load a slice with `headrace load {spec.dataset} --wait`"
            )
        made = make_dataset(
            engine,
            store,
            tracking,
            spec,
            spec.training,
            FrozenSnapshot.of_row(row),
            started_at=clock(),
        )
        keep_dataset(
            connection,
            made.manifest,
            snapshot_id=made.snapshot.snapshot_id,
            manifest_uri=made.manifest_uri,
            run_id=made.run_id,
        )
    return made


def _built(
    store: ObjectStore, spec: DatasetSpec, training: Training, snapshot: FrozenSnapshot
) -> TrainingDataset:
    manifest = read_manifest(store, snapshot.manifest_uri, snapshot.manifest_sha256)
    if (manifest.dataset, manifest.snapshot_id, manifest.as_of) != (
        snapshot.dataset,
        snapshot.snapshot_id,
        snapshot.as_of,
    ):
        raise InconsistentState(f"{snapshot.manifest_uri} is of another snapshot")

    def read(table: str, columns: Mapping[str, ColumnType]) -> pa.Table:
        return read_table(store, manifest, table, columns)

    return build(spec, training, snapshot.as_of, read)
