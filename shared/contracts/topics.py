"""The topics, a closed list. `headrace migrate` creates them; nothing creates one by accident."""

from collections.abc import Mapping
from enum import StrEnum


class Topic(StrEnum):
    """A topic's name before the environment's prefix. The record key is always the dataset."""

    LOAD_REQUESTED = "load-requested"
    """Somebody wants a slice loaded, or withdrawn: commands, as `promotion-requested` has them; all
    others are facts."""
    SLICE_LOADED = "slice-loaded"
    """The ingestor staged a whole slice, or has put a withdrawal in line."""
    SLICE_REJECTED = "slice-rejected"
    """The ingestor or the validator refused a slice; nothing that people read has changed."""
    VALIDATED = "validated"
    """A staged slice met every expectation, or it is a withdrawal's turn."""
    SNAPSHOTTED = "snapshotted"
    """A slice was merged, or taken out, and the dataset frozen as (as_of, known_at)."""
    DATASET_READY = "dataset-ready"
    """A training dataset was built from a snapshot."""
    PROMOTION_REQUESTED = "promotion-requested"
    """Somebody wants a model version to be champion: commands, of a topic of their own, so that
    none waits behind a training."""
    MODEL_PUBLISHED = "model-published"
    """A model version was registered, and promoted or not."""
    DRIFT_DETECTED = "drift-detected"
    """A training dataset is far from the one that the champion was trained on."""
    DEAD_LETTERS = "dead-letters"
    """Records that a service could not process."""


CONSUMERS: Mapping[Topic, tuple[str, ...]] = {
    Topic.LOAD_REQUESTED: ("ingestor",),
    Topic.SLICE_LOADED: ("validator",),
    Topic.SLICE_REJECTED: ("notifier",),
    Topic.VALIDATED: ("snapshotter",),
    Topic.SNAPSHOTTED: ("trainer",),
    Topic.DATASET_READY: ("trainer",),
    Topic.PROMOTION_REQUESTED: ("trainer",),
    Topic.MODEL_PUBLISHED: ("notifier", "trainer"),
    Topic.DRIFT_DETECTED: ("notifier",),
    Topic.DEAD_LETTERS: ("notifier",),
}
"""The services that have to do each event of a topic, by the names in their inbox marks."""
