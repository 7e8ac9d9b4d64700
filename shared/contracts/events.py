"""The events' payloads: facts in the past tense, and the one command `LoadRequested`.

A payload carries references (ids, URIs, counts, digests), never the data. An unknown field is
ignored, a missing one is an error; a new major version is a new type.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

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


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TableLoad(_Part):
    """One table's part of a slice. `rows_in = rows_loaded + rows_quarantined`, always."""

    table: str
    staging_table: str
    """Name in the schema `<dataset>_staging`."""
    rows_in: int
    rows_loaded: int
    rows_quarantined: int
    present: bool = True
    """False where an optional table's file was not in the slice."""


class Reason(_Part):
    """One cause of a rejection, precise enough to mend the drop."""

    code: str
    """Of `services/ingestor/quarantine.py` or the expectation's type."""
    message: str
    table: str | None = None
    column: str | None = None
    count: int = 1
    sample: tuple[str, ...] = ()
    """Keys or raw texts of the first offenders."""


class TableChanges(_Part):
    """What merging one table did to its rows."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0


class LoadRequested(Payload):
    """Bring this slice in. `as_of` is derived from the spec's slice naming when absent."""

    topic: ClassVar[Topic] = Topic.LOAD_REQUESTED
    type: ClassVar[str] = "headrace.load-requested.v1"

    source_uri: str
    """Folder of the slice's files: a path, `file://…` or `s3://bucket/prefix`."""
    as_of: date | None = None
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


class Snapshotted(Payload):
    """The slice is in the current tables and their history, and the dataset is frozen."""

    topic: ClassVar[Topic] = Topic.SNAPSHOTTED
    type: ClassVar[str] = "headrace.snapshotted.v1"

    load_id: str
    snapshot_id: str
    as_of: date
    known_at: datetime
    manifest_uri: str
    manifest_sha256: str
    changes: dict[str, TableChanges]


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
    """A member of `services.trainer.promotion.Decision`."""
    reason: str
    metrics: dict[str, float]


class DeadLettered(Payload):
    """A record that a service could not process, with all that is needed to redrive it."""

    topic: ClassVar[Topic] = Topic.DEAD_LETTERS
    type: ClassVar[str] = "headrace.dead-lettered.v1"

    service: str
    event_id: str | None
    event_type: str | None
    correlation_id: str | None
    original_topic: str
    original_partition: int
    original_offset: int
    error_class: str
    reason: str
    attempts: int


EVENTS: tuple[type[Payload], ...] = (
    LoadRequested,
    SliceLoaded,
    SliceRejected,
    Validated,
    Snapshotted,
    DatasetReady,
    ModelPublished,
    DeadLettered,
)
EVENT_OF_TYPE: dict[str, type[Payload]] = {event.type: event for event in EVENTS}
