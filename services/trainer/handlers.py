"""What the trainer does: a dataset from each snapshot, a model version from each dataset, and how
far that dataset is from the champion's.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from services.trainer.accounts import training_id, training_run
from services.trainer.computing import Computing, Fitted
from services.trainer.drift.comparing import compare
from services.trainer.drift.keeping import detected, keep_drift
from services.trainer.drift.pairs import find_pair
from services.trainer.evaluation.importance import importances
from services.trainer.in_process import InProcess
from services.trainer.prediction.serving import known_digest
from services.trainer.promotion.ruling import carry_out, rule
from services.trainer.records import keep_dataset, keep_promotion, registry_lock
from services.trainer.registry import Registry, Tracking
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
from services.trainer.training_dataset.building import make_dataset
from services.trainer.training_dataset.snapshot import FrozenSnapshot
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.drift_spec import Drift
from shared.contracts.envelope import Event
from shared.contracts.events import DatasetReady, ModelPublished, Snapshotted
from shared.contracts.manifest import DatasetManifest
from shared.contracts.spec_file import find_spec
from shared.contracts.training_spec import Training
from shared.errors import InconsistentState
from shared.fail_points import FailPoint, reached
from shared.messaging import inbox
from shared.messaging.unit_of_work import AlreadyDone, UnitOfWork
from shared.object_store import ObjectStore, ObjectUri
from shared.observability.spans import step


@dataclass(frozen=True)
class Trainer:
    """The handlers and what they need."""

    datasets_dir: Path
    store: ObjectStore
    tracking: Tracking
    registry: Registry
    git_commit: str = "unknown"
    """Of the code that runs, for the tags of what it makes."""
    computing: Computing | None = None
    """Where datasets are built and models fitted; in this process unless it is given."""
    drift_sample_rows: int = 50_000
    """Of how many rows of each dataset drift is measured, about."""

    def on_snapshotted(self, event: Event[Snapshotted], unit: UnitOfWork) -> None:
        """Build the snapshot's training dataset.

        Without a `training` in the spec, and where the event says that it trains nothing, do
        nothing.
        """
        started, payload = unit.clock(), event.payload
        spec = find_spec(self.datasets_dir, payload.dataset)
        training = spec.training
        if training is None or not payload.trains:
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
            computing=self.computing,
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
        manifest = self._manifest(payload.manifest_uri, payload.dataset_version)
        self.tracking.check()  # or each try in its outage would fit anew
        computing = self.computing or InProcess(self.store)
        with ExitStack() as held:
            with step("fit", kind=training.model.kind):
                fitted = held.enter_context(computing.fit(training, manifest))
            self._publish(event, unit, started, spec, training, manifest, fitted)

    def _publish(
        self,
        event: Event[DatasetReady],
        unit: UnitOfWork,
        started: datetime,
        spec: DatasetSpec,
        training: Training,
        manifest: DatasetManifest,
        fitted: Fitted,
    ) -> None:
        payload, model, test = event.payload, fitted.model, fitted.test
        model_name = training.model.name
        with step("measure"):
            evaluation = test.measure(model)
        head = test.head
        weights = importances(model, head, test.target[: len(head)], seed=training.model.seed)
        identity = training_id(manifest.dataset_version, training)
        record = training_run(event, started, training, manifest, fitted, evaluation, weights)
        with step("log the run"):
            run = self.tracking.record(record)
        with registry_lock(unit.engine, model_name) as connection:
            # By another delivery, during the fit: a person may have had their word since.
            if inbox.is_done(connection, unit.consumer, event.id):
                raise AlreadyDone(event.id)
            with step("register the version"):
                version = self.registry.find(model_name, identity) or self.registry.register(
                    model_name,
                    model,
                    run=run,
                    inputs=fitted.inputs,
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
            with step("decide"):
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

    def on_model_published(self, event: Event[ModelPublished], unit: UnitOfWork) -> None:
        """Measure how far the dataset is from the champion's; tell it where that is far.

        The model is decided about whatever comes of this.
        """
        payload = event.payload
        spec = find_spec(self.datasets_dir, payload.dataset)
        with unit.engine.connect() as connection:
            pair = find_pair(connection, event) if spec.training else None
        if spec.training is None or pair is None:
            with unit.transaction():
                return
        with step("compare with the champion's dataset"):
            found = compare(
                self.store,
                spec.training,
                spec.drift or Drift(),
                *(
                    self._manifest(dataset.manifest_uri, dataset.dataset_version)
                    for dataset in (pair.baseline, pair.current)
                ),
                rows=self.drift_sample_rows,
            )
        reached(FailPoint.DRIFT_MEASURED)
        told = detected(payload.dataset, pair, found)
        with unit.transaction() as tx:
            keep_drift(tx.connection, payload.dataset, pair, found, event.id)
            if told is not None:
                tx.emit(told)
            reached(FailPoint.DRIFT_KEEPING)

    def _manifest(self, uri: str, dataset_version: str) -> DatasetManifest:
        data = self.store.get_bytes(ObjectUri.parse(uri))
        manifest = DatasetManifest.from_bytes(data, uri=uri)
        if manifest.dataset_version != dataset_version:
            raise InconsistentState(
                f"{uri} is of {manifest.dataset_version}, the event says {dataset_version}"
            )
        return manifest
