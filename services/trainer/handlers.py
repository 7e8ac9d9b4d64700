"""What the trainer does: a dataset from each snapshot, a model version from each dataset."""

from dataclasses import dataclass
from pathlib import Path

from services.trainer.accounts import training_id, training_run
from services.trainer.building import make_dataset
from services.trainer.evaluation import evaluate
from services.trainer.fit import fit
from services.trainer.frame import model_inputs, model_target
from services.trainer.importance import importances
from services.trainer.prediction.serving import known_digest
from services.trainer.records import keep_dataset, keep_promotion, registry_lock
from services.trainer.registry import Registry, Tracking
from services.trainer.ruling import carry_out, rule
from services.trainer.runs import (
    AS_OF_TAG,
    COMMIT_TAG,
    DATASET_TAG,
    DATASET_VERSION_TAG,
    LOAD_TAG,
    SLICE_TAG,
    SNAPSHOT_TAG,
    SPEC_TAG,
    SPLIT_TAG,
    TARGET_TAG,
    TEST_SHA256_TAG,
    TRAIN_SHA256_TAG,
    TRAINING_TAG,
)
from services.trainer.snapshot import FrozenSnapshot, read_part
from services.trainer.weights import distinct_rows
from shared.contracts.envelope import Event
from shared.contracts.events import DatasetReady, ModelPublished, Snapshotted
from shared.contracts.manifest import DatasetManifest
from shared.contracts.spec_file import find_spec
from shared.errors import InconsistentState
from shared.messaging.unit_of_work import UnitOfWork
from shared.object_store import ObjectStore, ObjectUri


@dataclass(frozen=True)
class Trainer:
    """The handlers and what they need."""

    datasets_dir: Path
    store: ObjectStore
    tracking: Tracking
    registry: Registry
    git_commit: str = "unknown"
    """Of the code that runs, for the tags of what it makes."""

    def on_snapshotted(self, event: Event[Snapshotted], unit: UnitOfWork) -> None:
        """Build the snapshot's training dataset. Without a `training` in the spec, do nothing."""
        started, payload = unit.clock(), event.payload
        spec = find_spec(self.datasets_dir, payload.dataset)
        training = spec.training
        if training is None:
            with unit.transaction():
                return
        made = make_dataset(
            unit.engine,
            self.store,
            self.tracking,
            spec,
            training,
            FrozenSnapshot.of_event(payload),
            started_at=started,
            event_id=event.id,
        )
        manifest = made.manifest
        with unit.transaction() as tx:
            keep_dataset(
                tx.connection,
                manifest,
                snapshot_id=payload.snapshot_id,
                manifest_uri=made.manifest_uri,
                run_id=made.run_id,
            )
            tx.emit(
                DatasetReady(
                    dataset=payload.dataset,
                    slice_key=payload.slice_key,
                    load_id=payload.load_id,
                    snapshot_id=payload.snapshot_id,
                    as_of=payload.as_of,
                    dataset_version=manifest.dataset_version,
                    manifest_uri=made.manifest_uri,
                    train_uri=manifest.train.uri,
                    test_uri=manifest.test.uri,
                    train_rows=manifest.train.rows,
                    test_rows=manifest.test.rows,
                )
            )

    def on_dataset_ready(self, event: Event[DatasetReady], unit: UnitOfWork) -> None:
        """Fit, measure, register and decide. One training gives one version, however often."""
        started, payload = unit.clock(), event.payload
        spec = find_spec(self.datasets_dir, payload.dataset)
        training = spec.training
        if training is None:
            with unit.transaction():
                return
        manifest = self._manifest(payload)
        train, test = read_part(self.store, manifest.train), read_part(self.store, manifest.test)
        train, copies = distinct_rows(train, manifest.entity)
        choice, model_name = training.model, training.model.name
        inputs = model_inputs(train, manifest.features)
        test_inputs = model_inputs(test, manifest.features)
        test_target = model_target(test[manifest.target])
        target = model_target(train[manifest.target])
        model = fit(choice, manifest.features, inputs, target, text=training.text, copies=copies)
        evaluation = evaluate(model, test_inputs, test_target)
        weights = importances(model, test_inputs, test_target, seed=choice.seed)
        identity = training_id(manifest.dataset_version, training)
        record = training_run(event, started, training, manifest, train, test, evaluation, weights)
        run = self.tracking.record(record)
        with registry_lock(unit.engine, model_name) as connection:
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
                    AS_OF_TAG: manifest.as_of.isoformat(),
                    DATASET_TAG: manifest.dataset,
                    DATASET_VERSION_TAG: manifest.dataset_version,
                    TRAIN_SHA256_TAG: manifest.train.sha256,
                    TEST_SHA256_TAG: manifest.test.sha256,
                    SNAPSHOT_TAG: payload.snapshot_id,
                    LOAD_TAG: payload.load_id,
                    SLICE_TAG: payload.slice_key,
                    SPEC_TAG: spec.digest(),
                    COMMIT_TAG: self.git_commit,
                },
            )
            digest = known_digest(connection, version)
            ruling = rule(
                connection,
                self.tracking,
                self.registry,
                training,
                manifest,
                test,
                version,
                evaluation.metrics,
                run,
            )
            alias = carry_out(self.registry, model_name, ruling, unit.clock())
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
                    model_sha256=digest,
                )
                tx.emit(published)

    def _manifest(self, payload: DatasetReady) -> DatasetManifest:
        data = self.store.get_bytes(ObjectUri.parse(payload.manifest_uri))
        manifest = DatasetManifest.from_bytes(data, uri=payload.manifest_uri)
        if manifest.dataset_version != payload.dataset_version:
            raise InconsistentState(
                f"{payload.manifest_uri} is of {manifest.dataset_version}, "
                f"the event says {payload.dataset_version}"
            )
        return manifest
