"""From a model version back to its rows: run, dataset, snapshot, load, slice and landed files."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Table, select

from services.trainer.prediction.serving import known_digest
from services.trainer.records import latest_promotion
from services.trainer.registry import Registry
from services.trainer.runs import (
    COMMIT_TAG,
    DATASET_TAG,
    DATASET_VERSION_TAG,
    LOAD_TAG,
    SLICE_TAG,
    SNAPSHOT_TAG,
    SPEC_TAG,
    TEST_SHA256_TAG,
    TRAIN_SHA256_TAG,
    RegisteredVersion,
)
from services.trainer.training_dataset.snapshot import read_manifest
from shared.contracts.manifest import DatasetManifest, FilePart, SnapshotManifest
from shared.database.tables import loads, slices, snapshots, training_datasets
from shared.errors import InconsistentState, SourceNotFound
from shared.object_store import ObjectStore, ObjectUri, StoredObject

_CHUNK_BYTES = 1 << 20
_NOTHING = "unknown"
_LOAD = (
    "load_id", "status", "revision", "source_uri", "landing_uri", "content_sha256", "requested_by",
    "requested_at", "rows_in", "rows_loaded", "rows_quarantined", "first_row", "end_row",
)  # fmt: skip


@dataclass(frozen=True)
class Landed:
    """A file in the landing bucket, and the slice and the load that brought it."""

    slice_key: str
    load_id: str
    file: StoredObject


@dataclass(frozen=True)
class Lineage:
    """All that a version came of. Manifests have been checked against the digests kept of them."""

    model: str
    version: str
    source: str
    model_sha256: str | None
    git_commit: str
    spec_digest: str
    run_id: str
    decision: str
    reason: str
    dataset: DatasetManifest
    dataset_manifest_uri: str
    snapshot: SnapshotManifest
    snapshot_manifest_uri: str
    load: dict[str, Any]
    slice_key: str
    slice_revision: int | None
    """The revision that is published now; None where the load's own never was."""
    as_of: date
    percentage: float | None
    landing: tuple[Landed, ...]
    """Of every load that the snapshot knew, the oldest first: its rows are all from these."""

    def parts(self) -> Iterator[FilePart]:
        """Every Parquet file on the way, each with its digest."""
        yield from (self.dataset.train, self.dataset.test)
        for table in self.snapshot.tables.values():
            yield from table.parts

    def facts(self) -> dict[str, Any]:
        """The same for a program, from the version to the files."""
        sides = {"train": self.dataset.train, "test": self.dataset.test}
        return {
            "model": {
                "name": self.model,
                "version": self.version,
                "source": self.source,
                "model_sha256": self.model_sha256,
                "git_commit": self.git_commit,
                "spec_digest": self.spec_digest,
                "decision": self.decision,
                "reason": self.reason,
            },
            "run": {"run_id": self.run_id, "experiment": f"{self.dataset.dataset}_training"},
            "dataset": {
                "dataset": self.dataset.dataset,
                "dataset_version": self.dataset.dataset_version,
                "manifest_uri": self.dataset_manifest_uri,
                **{name: part.model_dump() for name, part in sides.items()},
            },
            "snapshot": {
                "snapshot_id": self.snapshot.snapshot_id,
                "as_of": self.snapshot.as_of,
                "known_at": self.snapshot.known_at,
                "manifest_uri": self.snapshot_manifest_uri,
                "tables": {
                    name: [part.model_dump() for part in table.parts]
                    for name, table in self.snapshot.tables.items()
                },
            },
            "load": self.load,
            "slice": {
                "slice_key": self.slice_key,
                "as_of": self.as_of,
                "revision": self.slice_revision,
                "percentage": self.percentage,
            },
            "files": [
                {
                    "slice_key": landed.slice_key,
                    "load_id": landed.load_id,
                    "bytes": landed.file.size,
                    "uri": str(landed.file.uri),
                }
                for landed in self.landing
            ],
        }


@dataclass(frozen=True)
class Verdict:
    """Whether a file is what its manifest says; `found` is its digest, None where it is gone."""

    part: FilePart
    found: str | None

    @property
    def is_same(self) -> bool:
        """Whether not one bit differs."""
        return self.found == self.part.sha256


def trace(
    engine: Engine, store: ObjectStore, registry: Registry, model: str, version: str
) -> Lineage:
    """Walk back from a version to the files that its rows came in.

    Raises `InconsistentState` where a link is missing or leads to something else, saying which.
    """
    registered = registry.version(model, version)
    if registered is None:
        raise InconsistentState(f"{model} has no version {version}: see `headrace models`")
    tags = _Tags(registered)
    with engine.connect() as connection:
        of_dataset = _row(
            connection,
            training_datasets,
            dataset=tags[DATASET_TAG],
            dataset_version=tags[DATASET_VERSION_TAG],
        )
        of_snapshot = _row(connection, snapshots, snapshot_id=tags[SNAPSHOT_TAG])
        load = _row(connection, loads, load_id=tags[LOAD_TAG])
        published = connection.execute(
            select(slices.c.revision).where(
                slices.c.dataset == load["dataset"], slices.c.slice_key == load["slice_key"]
            )
        ).scalar()
        decided = latest_promotion(connection, model, version)
        digest = known_digest(connection, registered)
        earlier = _loads_until(connection, of_snapshot)
    snapshot = read_manifest(store, of_snapshot["manifest_uri"], of_snapshot["manifest_sha256"])
    if (snapshot.snapshot_id, snapshot.load_id) != (tags[SNAPSHOT_TAG], tags[LOAD_TAG]):
        raise InconsistentState(
            f"{model} version {version} says that its snapshot {tags[SNAPSHOT_TAG]} is of load "
            f"{tags[LOAD_TAG]}, but {of_snapshot['manifest_uri']} is of load {snapshot.load_id}"
        )
    return Lineage(
        model=model,
        version=version,
        source=registered.source,
        model_sha256=digest,
        git_commit=registered.tags.get(COMMIT_TAG, _NOTHING),
        spec_digest=registered.tags.get(SPEC_TAG, _NOTHING),
        run_id=registered.run_id,
        decision=decided["decision"] if decided else _NOTHING,
        reason=decided["reason"] if decided else "",
        dataset=_dataset(store, of_dataset["manifest_uri"], tags),
        dataset_manifest_uri=of_dataset["manifest_uri"],
        snapshot=snapshot,
        snapshot_manifest_uri=of_snapshot["manifest_uri"],
        load={name: load[name] for name in _LOAD},
        slice_key=tags[SLICE_TAG],
        slice_revision=published,
        as_of=of_snapshot["as_of"],
        percentage=load["percentage"],
        landing=tuple(landed for row in earlier for landed in _landed(store, row)),
    )


def verify(store: ObjectStore, lineage: Lineage) -> Iterator[Verdict]:
    """Read every Parquet file of `lineage` and compare its digest: takes as long as that."""
    for part in lineage.parts():
        digest = hashlib.sha256()
        try:
            with store.open(ObjectUri.parse(part.uri)) as source:
                while chunk := source.read(_CHUNK_BYTES):
                    digest.update(chunk)
        except SourceNotFound:
            yield Verdict(part, None)
        else:
            yield Verdict(part, digest.hexdigest())


class _Tags:
    """A version's tags, of which none that is asked for may be missing."""

    def __init__(self, version: RegisteredVersion) -> None:
        self._version = version

    def __getitem__(self, name: str) -> str:
        if name not in self._version.tags:
            raise InconsistentState(
                f"{self._version.model} version {self._version.version} has no tag {name}: "
                "Headrace didn't make it, or somebody has taken the tag away"
            )
        return self._version.tags[name]


def _row(connection: Connection, table: Table, **key: str) -> RowMapping:
    query = select(table).filter_by(**key)
    found = connection.execute(query).mappings().first()
    if found is None:
        named = ", ".join(f"{name} {value}" for name, value in key.items())
        raise InconsistentState(f"headrace.{table.name} has no row of {named}")
    return found


def _dataset(store: ObjectStore, uri: str, tags: _Tags) -> DatasetManifest:
    manifest = DatasetManifest.from_bytes(store.get_bytes(ObjectUri.parse(uri)), uri=uri)
    said = {
        DATASET_VERSION_TAG: manifest.dataset_version,
        TRAIN_SHA256_TAG: manifest.train.sha256,
        TEST_SHA256_TAG: manifest.test.sha256,
    }
    for tag, found in said.items():
        if tags[tag] != found:
            raise InconsistentState(f"{uri} says {found}, the version's tag {tag} {tags[tag]}")
    return manifest


def _loads_until(connection: Connection, snapshot: RowMapping) -> Sequence[RowMapping]:
    """The published loads that `snapshot` may have rows of: no later by date nor by knowledge, and
    not withdrawn by then.
    """
    query = (
        select(loads.c.load_id, loads.c.slice_key, loads.c.landing_uri)
        .join(snapshots, snapshots.c.load_id == loads.c.load_id)
        .where(
            snapshots.c.dataset == snapshot["dataset"],
            snapshots.c.as_of <= snapshot["as_of"],
            snapshots.c.known_at <= snapshot["known_at"],
            loads.c.withdrawn_at.is_(None) | (loads.c.withdrawn_at > snapshot["known_at"]),
        )
        .order_by(snapshots.c.as_of, snapshots.c.known_at)
    )
    return connection.execute(query).mappings().all()


def _landed(store: ObjectStore, load: RowMapping) -> Iterator[Landed]:
    if load["landing_uri"] is None:
        return
    folder = ObjectUri.parse(load["landing_uri"])
    for file in store.list(ObjectUri(folder.bucket, f"{folder.key.rstrip('/')}/")):
        yield Landed(load["slice_key"], load["load_id"], file)
