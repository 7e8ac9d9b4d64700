"""What the trainer does: a dataset from each snapshot, a model version from each dataset."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from services.trainer.accounts import dataset_run, training_id, training_run
from services.trainer.dataset import TrainingDataset, build, describe
from services.trainer.fit import evaluate, fit, importances
from services.trainer.frame import model_inputs, model_target
from services.trainer.records import keep_dataset, keep_promotion, registry_lock
from services.trainer.registry import Registry, Tracking
from services.trainer.ruling import carry_out, rule
from services.trainer.runs import (
    AS_OF_TAG,
    SPLIT_TAG,
    TARGET_TAG,
    TRAINING_TAG,
)
from services.trainer.snapshot import read_manifest, read_part, read_table
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.envelope import Event
from shared.contracts.events import DatasetReady, ModelPublished, Snapshotted
from shared.contracts.manifest import DatasetManifest
from shared.contracts.spec_file import find_spec
from shared.contracts.table_spec import ColumnType
from shared.contracts.training_spec import Training
from shared.errors import InconsistentState
from shared.messaging.unit_of_work import UnitOfWork
from shared.object_store import Bucket, ObjectStore, ObjectUri

_PARQUET, _JSON = "application/vnd.apache.parquet", "application/json"


@dataclass(frozen=True)
class Trainer:
    """The handlers and what they need."""

    datasets_dir: Path
    store: ObjectStore
    tracking: Tracking
    registry: Registry

    def on_snapshotted(self, event: Event[Snapshotted], unit: UnitOfWork) -> None:
        """Build the snapshot's training dataset. Without a `training` in the spec, do nothing."""
        started, payload = unit.clock(), event.payload
        spec = find_spec(self.datasets_dir, payload.dataset)
        training = spec.training
        if training is None:
            with unit.transaction():
                return
        built = self._build(spec, training, payload)
        prefix = str(self.store.uri(Bucket.DATASETS, payload.dataset))
        manifest, files = describe(spec, training, payload.as_of, built, prefix)
        for uri, data in files.items():
            self.store.put_bytes(ObjectUri.parse(uri), data, content_type=_PARQUET)
        manifest_uri = f"{prefix}/{manifest.dataset_version}/manifest.json"
        self.store.put_bytes(ObjectUri.parse(manifest_uri), manifest.to_bytes(), content_type=_JSON)
        run = self.tracking.record(dataset_run(event, started, manifest, built))
        self.tracking.finish(run.run_id)
        with unit.transaction() as tx:
            keep_dataset(
                tx.connection,
                manifest,
                snapshot_id=payload.snapshot_id,
                manifest_uri=manifest_uri,
                run_id=run.run_id,
            )
            tx.emit(
                DatasetReady(
                    dataset=payload.dataset,
                    slice_key=payload.slice_key,
                    load_id=payload.load_id,
                    snapshot_id=payload.snapshot_id,
                    as_of=payload.as_of,
                    dataset_version=manifest.dataset_version,
                    manifest_uri=manifest_uri,
                    train_uri=manifest.train.uri,
                    test_uri=manifest.test.uri,
                    train_rows=manifest.train.rows,
                    test_rows=manifest.test.rows,
                )
            )

    def on_dataset_ready(self, event: Event[DatasetReady], unit: UnitOfWork) -> None:
        """Fit, measure, register and decide. One training gives one version, however often."""
        started, payload = unit.clock(), event.payload
        training = find_spec(self.datasets_dir, payload.dataset).training
        if training is None:
            with unit.transaction():
                return
        manifest = self._manifest(payload)
        train, test = read_part(self.store, manifest.train), read_part(self.store, manifest.test)
        choice, model_name = training.model, training.model.name
        inputs = model_inputs(train, manifest.features)
        test_inputs = model_inputs(test, manifest.features)
        test_target = model_target(test[manifest.target])
        model = fit(choice, manifest.features, inputs, model_target(train[manifest.target]))
        evaluation = evaluate(model, test_inputs, test_target)
        weights = importances(model, test_inputs, test_target, seed=choice.seed)
        identity = training_id(manifest.dataset_version, training)
        record = training_run(event, started, training, manifest, train, test, evaluation, weights)
        run = self.tracking.record(record)
        with registry_lock(unit.engine, model_name):
            version = self.registry.find(model_name, identity) or self.registry.register(
                model_name,
                model,
                run=run,
                inputs=inputs,
                params=record.params,
                tags={
                    TRAINING_TAG: identity,
                    TARGET_TAG: manifest.target,
                    SPLIT_TAG: manifest.split.model_dump_json(),
                    "headrace.dataset": manifest.dataset,
                    "headrace.dataset_version": manifest.dataset_version,
                    "headrace.snapshot_id": payload.snapshot_id,
                    AS_OF_TAG: manifest.as_of.isoformat(),
                },
            )
            ruling = rule(
                self.tracking,
                self.registry,
                training,
                manifest,
                test,
                version,
                evaluation.metrics,
                run,
            )
            alias = carry_out(self.registry, model_name, ruling)
            self.tracking.finish(run.run_id)
            published = ModelPublished(
                dataset=payload.dataset,
                slice_key=payload.slice_key,
                load_id=payload.load_id,
                snapshot_id=payload.snapshot_id,
                as_of=payload.as_of,
                dataset_version=manifest.dataset_version,
                model_name=model_name,
                model_version=version.version,
                run_id=run.run_id,
                alias=alias,
                promoted=ruling.promoted,
                decision=ruling.decision,
                reason=ruling.reason,
                metrics=evaluation.metrics,
            )
            with unit.transaction() as tx:
                keep_promotion(
                    tx.connection,
                    event_id=event.id,
                    **published.model_dump(exclude={"slice_key"}),
                    metric=training.metric.value,
                    score=ruling.score,
                    champion_version=ruling.champion_version,
                    champion_score=ruling.champion_score,
                )
                tx.emit(published)

    def _build(
        self, spec: DatasetSpec, training: Training, payload: Snapshotted
    ) -> TrainingDataset:
        snapshot = read_manifest(self.store, payload.manifest_uri, payload.manifest_sha256)
        if (snapshot.dataset, snapshot.snapshot_id, snapshot.as_of) != (
            payload.dataset,
            payload.snapshot_id,
            payload.as_of,
        ):
            raise InconsistentState(f"{payload.manifest_uri} is of another snapshot")

        def read(table: str, columns: Mapping[str, ColumnType]) -> pa.Table:
            return read_table(self.store, snapshot, table, columns)

        return build(spec, training, payload.as_of, read)

    def _manifest(self, payload: DatasetReady) -> DatasetManifest:
        data = self.store.get_bytes(ObjectUri.parse(payload.manifest_uri))
        manifest = DatasetManifest.from_bytes(data, uri=payload.manifest_uri)
        if manifest.dataset_version != payload.dataset_version:
            raise InconsistentState(
                f"{payload.manifest_uri} is of {manifest.dataset_version}, "
                f"the event says {payload.dataset_version}"
            )
        return manifest
