"""What the control tables' states may be: closed lists, each member with its meaning."""

from enum import StrEnum


class LoadStatus(StrEnum):
    """Where a load stands. Those after `validated` are final."""

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
    """The slice is in already with this very content, or a withdrawal found it out; nothing was
    done."""
    SUPERSEDED = "superseded"
    """A later revision of the slice was published before this one could be."""
    FAILED = "failed"
    """A service gave up on one of its events; see the dead letters."""
    WITHDRAWN = "withdrawn"
    """It has taken back what the slice's loads before it had brought."""


class LoadKind(StrEnum):
    """What a load does with its slice."""

    LOAD = "load"
    """It brings the slice as its source has it."""
    CORRECTION = "correction"
    """It brings what an earlier load brought, with rows that a person has mended."""
    WITHDRAWAL = "withdrawal"
    """It brings nothing: it takes back what was brought."""


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


class ScheduleOutcome(StrEnum):
    """What became of a moment of a schedule."""

    REQUESTED = "requested"
    """The next slice was asked for."""
    NOTHING_TO_LOAD = "nothing_to_load"
    """The dataset has reached the whole of its source."""
    MISSED = "missed"
    """It passed while every ingestor was down, and `missed` says to leave it."""
    PAUSED = "paused"
    """It passed while the schedule was paused."""
    REFUSED = "refused"
    """No load could be asked for; `detail` says why."""


class ImageState(StrEnum):
    """Where a row's picture is."""

    STORED = "stored"
    """In the store, under its content's hash."""
    REFERENCED = "referenced"
    """Where the source has it."""
    MISSING = "missing"
    """The source has none."""


class AuditOutcome(StrEnum):
    """What came of what a person did at the console."""

    DONE = "done"
    """It is so."""
    ASKED = "asked"
    """The event that asks for it is on its way: what became of it is seen there."""
    REFUSED = "refused"
    """It was not done; `detail` says why, as `error`."""


class NotificationState(StrEnum):
    """Where a message to a target stands."""

    PENDING = "pending"
    """To be sent, or to be tried again."""
    SENDING = "sending"
    """Handed over; what is found like this after a crash may have arrived, and isn't repeated."""
    SENT = "sent"
    """The target took it."""
    GIVEN_UP = "given_up"
    """The target refused it for too long; `error` says how."""
