"""What the trainer tells MLflow, without MLflow: runs, dataset inputs, versions, tags, aliases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from shared.contracts.manifest import FilePart

CHAMPION, CHALLENGER = "champion", "challenger"

EVENT_TAG = "headrace.event_id"
"""Of a run: the event that it is of, or the key of what a person asked for."""
DECISION_TAG = "headrace.decision"
"""Of a run: the whole ruling about its version as JSON, before the alias was set. Of a version:
the newest decision about it, a word of `Decision`."""
REASON_TAG = "headrace.decision_reason"
DECIDED_AT_TAG = "headrace.decided_at"
TRAINING_TAG = "headrace.training_id"
"""Of a run and of a version: what it was trained from and how. A training has one version."""
AS_OF_TAG = "headrace.as_of"
TARGET_TAG = "headrace.target"
SPLIT_TAG = "headrace.split"
WITHDRAWN_TAG = "headrace.withdrawn"
"""Of a version: why a person rolled it back."""
DATASET_TAG = "headrace.dataset"
DATASET_VERSION_TAG = "headrace.dataset_version"
SNAPSHOT_TAG = "headrace.snapshot_id"
LOAD_TAG = "headrace.load_id"
SLICE_TAG = "headrace.slice_key"
SPEC_TAG = "headrace.spec_digest"
COMMIT_TAG = "headrace.git_commit"
TRAIN_SHA256_TAG = "headrace.train_sha256"
TEST_SHA256_TAG = "headrace.test_sha256"
MODEL_SHA256_TAG = "headrace.model_sha256"
"""Of a version: the SHA-256 of its stored model file, as it was when it was registered."""


@dataclass(frozen=True)
class DatasetUse:
    """A file that a run used: logged by address and digest, never by value."""

    name: str
    part: FilePart
    columns: Mapping[str, str]
    """MLflow's types by column."""
    context: str


@dataclass(frozen=True)
class RunRecord:
    """All that one event's run says.

    `artifacts` are contents by path, `files` are local files by path; a path ends with the file's
    own name.
    """

    experiment: str
    event_id: str
    name: str
    started_at: datetime
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[DatasetUse] = ()
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class RegisteredVersion:
    """A model version as the registry has it."""

    model: str
    version: str
    run_id: str
    source: str
    tags: Mapping[str, str]

    @property
    def as_of(self) -> date | None:
        """The date of the data it learned from; None for a version that Headrace didn't make."""
        found = self.tags.get(AS_OF_TAG)
        return date.fromisoformat(found) if found else None
