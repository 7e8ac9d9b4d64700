"""What the trainer tells MLflow, without MLflow: runs, dataset inputs, versions, tags, aliases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from shared.contracts.manifest import FilePart

CHAMPION, CHALLENGER = "champion", "challenger"

EVENT_TAG = "headrace.event_id"
"""Of a run: the event that it is of."""
DECISION_TAG = "headrace.decision"
"""Of a run: what was decided about its version, before the alias was set."""
TRAINING_TAG = "headrace.training_id"
"""Of a run and of a version: what it was trained from and how. A training has one version."""
AS_OF_TAG = "headrace.as_of"
TARGET_TAG = "headrace.target"
SPLIT_TAG = "headrace.split"
WITHDRAWN_TAG = "headrace.withdrawn"
"""Of a version: why a person rolled it back."""


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
    """All that one event's run says. `artifacts` are contents by path."""

    experiment: str
    event_id: str
    name: str
    started_at: datetime
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[DatasetUse] = ()
    artifacts: Mapping[str, bytes] = field(default_factory=dict)


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
