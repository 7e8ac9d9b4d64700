"""What the control tables' states may be: closed lists, each member with its meaning."""

from enum import StrEnum


class LoadStatus(StrEnum):
    """Where a load stands. The last five are final."""

    LOADING = "loading"
    """The ingestor is at work on it."""
    LOADED = "loaded"
    """Staged; the validator's turn."""
    VALIDATED = "validated"
    """Every expectation met; the snapshotter's turn."""
    PUBLISHED = "published"
    """In the current tables and frozen in a snapshot."""
    REJECTED = "rejected"
    """Refused by the ingestor or the validator; `reasons` says why."""
    UNCHANGED = "unchanged"
    """The slice is in already with this very content; nothing was done."""
    SUPERSEDED = "superseded"
    """A later revision of the slice was published before this one could be."""
    FAILED = "failed"
    """A service gave up on one of its events; see the dead letters."""


class StageState(StrEnum):
    """Where one stage's work on one event stands."""

    RUNNING = "running"
    """A handler has it."""
    DONE = "done"
    """Committed."""
    FAILED = "failed"
    """Given up: the event is in the dead letters."""


class CoverageKind(StrEnum):
    """Which of a table's known keys a slice had, besides those that it changed."""

    ALL = "all"
    """Every one."""
    NONE = "none"
    """None."""
    LISTED = "listed"
    """Those in `<table>_coverage`."""
    ALL_BUT_LISTED = "all_but_listed"
    """All except those in `<table>_coverage`."""
    WHOLE = "whole"
    """Every one that there is: what the slice hadn't is not there (`absence: delete`)."""
