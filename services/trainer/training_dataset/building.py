"""Making a snapshot's training dataset: its files, its manifest, its run; for an event or a person.

Everything here lies outside the database and has a name that follows from its content or from the
key of the run, so doing it again gives the same thing.
"""

import tempfile
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

from sqlalchemy import Engine

from services.trainer.accounts import dataset_run
from services.trainer.computing import Computing
from services.trainer.in_process import InProcess
from services.trainer.records import (
    building_lock,
    keep_dataset,
    newest_snapshot,
    slice_standing,
)
from services.trainer.registry import Tracking
from services.trainer.training_dataset.contents import describe
from services.trainer.training_dataset.snapshot import FrozenSnapshot, read_manifest
from shared.clock import Clock, utc_now
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.manifest import DatasetManifest, SnapshotManifest
from shared.contracts.training_spec import Training
from shared.errors import InconsistentState, PermanentError
from shared.fail_points import FailPoint, reached
from shared.object_store import Bucket, ObjectStore, ObjectUri
from shared.observability.spans import step

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
    computing: Computing | None = None,
) -> MadeDataset:
    """Build the dataset of `snapshot`, store it, and log it in the experiment of the dataset.

    The run is that of the event; without one it is that of the snapshot and the dataset's version,
    so asking twice gives one run. The same snapshot and spec give the same bytes either way, and
    wherever it is computed; in this process unless `computing` says otherwise.
    """
    prefix = store.uri(Bucket.DATASETS, snapshot.dataset)
    with engine.connect() as connection:
        standing = slice_standing(
            connection, snapshot.dataset, snapshot.slice_key, snapshot.load_id, snapshot.as_of
        )
    found = _manifest(store, snapshot)
    tracking.check()  # or each try in its outage would build it anew
    work = computing or InProcess(store)
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        with (
            step("build the dataset"),
            work.dataset(spec, training, snapshot.as_of, found) as built,
        ):
            manifest, files = describe(
                spec, training, snapshot.as_of, built, str(prefix), Path(folder)
            )
        for uri, path in files.items():
            reached(FailPoint.SIDE_STORING)
            with step("store a side", file=path.name):
                store.put_file(ObjectUri.parse(uri), path, content_type=_PARQUET)
            reached(FailPoint.SIDE_STORED)
        manifest_uri = prefix.child(f"{manifest.dataset_version}/manifest.json")
        reached(FailPoint.DATASET_STORING)
        store.put_bytes(manifest_uri, manifest.to_bytes(), content_type=_JSON)
        reached(FailPoint.DATASET_STORED)
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
    computing: Computing | None = None,
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
        if row["pruned_at"] is not None:
            raise NoDataset(
                f"the files of {spec.dataset}'s snapshot {row['snapshot_id']} were pruned on "
                f"{row['pruned_at']:%Y-%m-%d}: ask for a later date, see `headrace snapshots "
                f"{spec.dataset}`"
            )
        made = make_dataset(
            engine,
            store,
            tracking,
            spec,
            spec.training,
            FrozenSnapshot.of_row(row),
            started_at=clock(),
            computing=computing,
        )
        keep_dataset(
            connection,
            made.manifest,
            snapshot_id=made.snapshot.snapshot_id,
            manifest_uri=made.manifest_uri,
            run_id=made.run_id,
        )
    return made


def _manifest(store: ObjectStore, snapshot: FrozenSnapshot) -> SnapshotManifest:
    manifest = read_manifest(store, snapshot.manifest_uri, snapshot.manifest_sha256)
    if (manifest.dataset, manifest.snapshot_id, manifest.as_of) != (
        snapshot.dataset,
        snapshot.snapshot_id,
        snapshot.as_of,
    ):
        raise InconsistentState(f"{snapshot.manifest_uri} is of another snapshot")
    return manifest
