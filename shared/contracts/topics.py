"""The topics, a closed list. `headrace migrate` creates them; nothing creates one by accident."""

from enum import StrEnum


class Topic(StrEnum):
    """A topic's name before the environment's prefix. The record key is always the dataset."""

    LOAD_REQUESTED = "load-requested"
    """Somebody wants a slice loaded. The one command; all others are facts."""
    SLICE_LOADED = "slice-loaded"
    """The ingestor staged a whole slice."""
    SLICE_REJECTED = "slice-rejected"
    """The ingestor or the validator refused a slice; nothing that people read has changed."""
    VALIDATED = "validated"
    """A staged slice met every expectation."""
    SNAPSHOTTED = "snapshotted"
    """A slice was merged and the dataset frozen as (as_of, known_at)."""
    DATASET_READY = "dataset-ready"
    """A training dataset was built from a snapshot."""
    MODEL_PUBLISHED = "model-published"
    """A model version was registered, and promoted or not."""
    DEAD_LETTERS = "dead-letters"
    """Records that a service could not process."""
