"""The events' payloads: facts in the past tense, and the commands `LoadRequested`,
`WithdrawRequested` and `PromotionRequested`.

A payload carries references (ids, URIs, counts, digests), never the data. An unknown field is
ignored, a missing one is an error; a new major version is a new type.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from shared.contracts.event_parts import Correction as Correction
from shared.contracts.event_parts import DriftedFeature as DriftedFeature
from shared.contracts.event_parts import Reason as Reason
from shared.contracts.event_parts import TableChanges as TableChanges
from shared.contracts.event_parts import TableLoad as TableLoad
from shared.contracts.topics import Topic


class Payload(BaseModel):
    """What an event says. `topic` is where it is published, `type` its stable CloudEvents type."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: ClassVar[Topic]
    type: ClassVar[str]

    dataset: str
    slice_key: str


class Stage(StrEnum):
    """The stages of a slice, in order."""

    INGEST = "ingest"
    VALIDATE = "validate"
    SNAPSHOT = "snapshot"
    DATASET = "dataset"
    TRAIN = "train"


class LoadRequested(Payload):
    """Bring this slice in. `as_of` is derived from the spec's slice naming when absent."""

    topic: ClassVar[Topic] = Topic.LOAD_REQUESTED
    type: ClassVar[str] = "headrace.load-requested.v1"

    source_uri: str
    """Folder of the slice's files: a path, `file://…` or `s3://bucket/prefix`."""
    as_of: date | None = None
    requested_by: str = "unknown"
    trains: bool = True
    """Whether a dataset is built and a model trained of it; not for the slices of a backfill."""
    correction: Correction | None = None
    """Where the content is an earlier load's with mended rows. `source_uri` is that load's own."""


class WithdrawRequested(Payload):
    """Take back what the slice's loads brought, as though it had never been loaded.

    On the topic of the loads, so that it has its place among those of the dataset.
    """

    topic: ClassVar[Topic] = Topic.LOAD_REQUESTED
    type: ClassVar[str] = "headrace.withdraw-requested.v1"

    reason: str
    requested_by: str = "unknown"


class SliceLoaded(Payload):
    """Every table of the slice is typed in staging."""

    topic: ClassVar[Topic] = Topic.SLICE_LOADED
    type: ClassVar[str] = "headrace.slice-loaded.v1"

    load_id: str
    as_of: date
    revision: int
    content_sha256: str
    landing_uri: str
    tables: tuple[TableLoad, ...]


class WithdrawalQueued(Payload):
    """A withdrawal has its place among the loads of the dataset, behind those that began before."""

    topic: ClassVar[Topic] = Topic.SLICE_LOADED
    type: ClassVar[str] = "headrace.withdrawal-queued.v1"

    load_id: str
    """The withdrawal's own: it counts as an attempt at the slice, like a load."""


class SliceRejected(Payload):
    """The slice was refused at `stage`; current tables, snapshots and models are as before."""

    topic: ClassVar[Topic] = Topic.SLICE_REJECTED
    type: ClassVar[str] = "headrace.slice-rejected.v1"

    load_id: str
    as_of: date | None
    stage: Literal[Stage.INGEST, Stage.VALIDATE]
    reasons: tuple[Reason, ...]
    report_uri: str | None = None


class Validated(Payload):
    """The staged slice met every expectation that it would be rejected for."""

    topic: ClassVar[Topic] = Topic.VALIDATED
    type: ClassVar[str] = "headrace.validated.v1"

    load_id: str
    as_of: date
    expectations: int
    """How many were evaluated, all with success but those that `flagged` counts."""
    flagged: int = 0
    """How many were not met whose severity is only a warning."""
    report_uri: str
    tables: tuple[TableLoad, ...]


class WithdrawalAdmitted(Payload):
    """It is the withdrawal's turn: what was loaded before is published or given up."""

    topic: ClassVar[Topic] = Topic.VALIDATED
    type: ClassVar[str] = "headrace.withdrawal-admitted.v1"

    load_id: str


class Snapshotted(Payload):
    """The slice is in the current tables and their history, and the dataset is frozen.

    Or, where `withdrawn_loads` names any, it is out of them again.
    """

    topic: ClassVar[Topic] = Topic.SNAPSHOTTED
    type: ClassVar[str] = "headrace.snapshotted.v1"

    load_id: str
    snapshot_id: str
    as_of: date
    known_at: datetime
    manifest_uri: str
    manifest_sha256: str
    changes: dict[str, TableChanges]
    trains: bool = True
    """Whether a dataset is built of this snapshot."""
    withdrawn_loads: tuple[str, ...] = ()
    """The loads of the slice whose effects were taken back."""


class DatasetReady(Payload):
    """A training dataset exists. `dataset_version` is the digest of its content."""

    topic: ClassVar[Topic] = Topic.DATASET_READY
    type: ClassVar[str] = "headrace.dataset-ready.v1"

    load_id: str
    snapshot_id: str
    as_of: date
    dataset_version: str
    manifest_uri: str
    train_uri: str
    test_uri: str
    train_rows: int
    test_rows: int


class PromotionRequested(Payload):
    """Make a model version champion on a person's word; `slice_key` is of the data it learned from.

    The trainer answers with `model-published`, or refuses with a dead letter that says why. On a
    topic of its own: what it needs is its place among the promotions of its dataset, and none among
    the trainings, whose decisions it meets under the model's lock.
    """

    topic: ClassVar[Topic] = Topic.PROMOTION_REQUESTED
    type: ClassVar[str] = "headrace.promotion-requested.v1"

    action: Literal["promote", "roll_back"]
    """`roll_back` withdraws the present champion; `model_version` must be the one before it."""
    model_name: str
    model_version: str
    """Which is to be champion."""
    champion_version: str | None = None
    """The champion that the person saw: where it is another one by now, nothing is done."""
    reason: str = ""
    requested_by: str = "unknown"


class ModelPublished(Payload):
    """A model version is registered; `promoted` says whether it is the champion, `reason` why."""

    topic: ClassVar[Topic] = Topic.MODEL_PUBLISHED
    type: ClassVar[str] = "headrace.model-published.v1"

    load_id: str
    snapshot_id: str
    as_of: date
    dataset_version: str
    model_name: str
    model_version: str
    run_id: str
    alias: str | None
    """The alias this version holds after the decision."""
    promoted: bool
    decision: str
    """A member of `shared.contracts.decisions.Decision`."""
    reason: str
    metrics: dict[str, float]


class DriftDetected(Payload):
    """A training dataset is far from the one that the champion was trained on."""

    topic: ClassVar[Topic] = Topic.DRIFT_DETECTED
    type: ClassVar[str] = "headrace.drift-detected.v1"

    load_id: str
    snapshot_id: str
    as_of: date
    dataset_version: str
    model_name: str
    champion_version: str
    """The champion that the dataset came to, which may have been followed since."""
    baseline_as_of: date
    baseline_version: str
    """The dataset that this champion was trained on."""
    features_compared: int
    """The target counts as one."""
    features_drifted: int
    features: tuple[DriftedFeature, ...]
    """Of those that have drifted the worst, the worst first."""


class DeadLettered(Payload):
    """A record that a service could not process. All of it, its headers and its value too, is in
    `headrace.dead_letters`, from where it is redriven.
    """

    topic: ClassVar[Topic] = Topic.DEAD_LETTERS
    type: ClassVar[str] = "headrace.dead-lettered.v1"

    service: str
    event_id: str | None
    event_type: str | None
    correlation_id: str | None
    original_topic: str
    original_partition: int
    original_offset: int
    original_key: str | None = None
    """The beginning of the record's key; bytes that are no text stand as escapes."""
    error_class: str
    reason: str
    attempts: int
    dead_letter_id: int | None = None
    """Its row in `headrace.dead_letters`, for `headrace dead show`."""


EVENTS: tuple[type[Payload], ...] = (
    LoadRequested,
    WithdrawRequested,
    SliceLoaded,
    WithdrawalQueued,
    SliceRejected,
    Validated,
    WithdrawalAdmitted,
    Snapshotted,
    DatasetReady,
    PromotionRequested,
    ModelPublished,
    DriftDetected,
    DeadLettered,
)
EVENT_OF_TYPE: dict[str, type[Payload]] = {event.type: event for event in EVENTS}
