"""Places where a test kills the process: before and after each step that lasts.

Off unless the setting `FAIL_POINT` names one of those below: `unit.committed`, `relay.sent:3` (at
the third passing) or `landing.stored@streamflow` (where that dataset is in hand), or both as
`relay.sent:3@streamflow`. The process then ends by SIGKILL, as by a lack of memory or a node that
is lost. A call of `reached` with nothing armed is a call and a comparison.
"""

import os
import re
import signal
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn

from shared.errors import InvalidSettings
from shared.observability.logs import dataset_in_hand

MARK = "killed at the fail point"
"""What the process writes to standard error as its last words, before the point's name."""
_FORM = re.compile(r"(?P<name>[a-z_.]+)(:(?P<passing>[1-9]\d*))?(@(?P<dataset>[a-z0-9_]+))?")


class FailPoint(StrEnum):
    """Every fail point. What is in a transaction that is open has no effect yet."""

    # Every service: an event
    RECORD_RECEIVED = "record.received"
    """An event is decoded; nothing is written."""
    STAGE_STARTED = "stage.started"
    """It is recorded that a handler has the event."""
    INBOX_CLAIMED = "inbox.claimed"
    """The inbox mark is written, in the open transaction of the effects."""
    UNIT_COMMITTING = "unit.committing"
    """So is all else; the commit is next."""
    UNIT_COMMITTED = "unit.committed"
    """Effects, inbox mark and outgoing events are committed."""
    DEAD_LETTER_BURYING = "dead_letter.burying"
    """A dead letter is written, in an open transaction."""
    DEAD_LETTER_BURIED = "dead_letter.buried"
    """It is committed."""
    OFFSET_COMMITTING = "offset.committing"
    """A record is done for good; its offset isn't committed."""
    OFFSET_COMMITTED = "offset.committed"
    """It is."""

    # Every service: its outbox
    RELAY_SENDING = "relay.sending"
    """An event of the outbox is next to be sent."""
    RELAY_HANDED_OVER = "relay.handed_over"
    """The client has it; the broker hasn't said that it has."""
    RELAY_SENT = "relay.sent"
    """The broker has said so."""
    RELAY_MARKED = "relay.marked"
    """The event is marked as published, in an open transaction."""
    RELAY_COMMITTED = "relay.committed"
    """That is committed."""

    # The ingestor
    REQUEST_ACCEPTING = "request.accepting"
    """A load that was asked for over HTTP is in the outbox, in an open transaction."""
    REQUEST_ACCEPTED = "request.accepted"
    """It is committed, and not yet answered."""
    SCHEDULE_FIRING = "schedule.firing"
    """Moments of a schedule are decided, in an open transaction."""
    SCHEDULE_FIRED = "schedule.fired"
    """They are committed."""
    LOAD_BEGINNING = "load.beginning"
    """The load's row is written, in an open transaction."""
    LOAD_BEGUN = "load.begun"
    """It is committed."""
    TABLES_MAKING = "tables.making"
    """The dataset's tables are made, in an open transaction."""
    TABLES_MADE = "tables.made"
    """They are committed."""
    INDEX_KEEPING = "index.keeping"
    """Where the rows of a file begin is known and not kept."""
    INDEX_KEPT = "index.kept"
    """It is committed."""
    RANGE_RECORDING = "range.recording"
    """Which rows of its source a load takes is written, in an open transaction."""
    RANGE_RECORDED = "range.recorded"
    """It is committed."""
    CORRECTION_RECORDING = "correction.recording"
    """What a load corrects of another one is written, in an open transaction."""
    CORRECTION_RECORDED = "correction.recorded"
    """It is committed."""
    LANDING_STORING = "landing.storing"
    """A file is next to be written to the landing bucket."""
    LANDING_STORED = "landing.stored"
    """It is there."""
    REVISION_RECORDING = "revision.recording"
    """The load's content and revision are written, in an open transaction."""
    REVISION_RECORDED = "revision.recorded"
    """They are committed."""
    STAGING_FILLING = "staging.filling"
    """A staging table is made and filled, in an open transaction."""
    STAGING_FILLED = "staging.filled"
    """It is committed."""
    DUPLICATES_REMOVING = "duplicates.removing"
    """Rows that repeat a key are taken out of staging, in an open transaction."""
    DUPLICATES_REMOVED = "duplicates.removed"
    """That is committed."""
    IMAGE_STORING = "image.storing"
    """A picture is next to be written."""
    IMAGE_STORED = "image.stored"
    """It is there."""
    IMAGES_STAGING = "images.staging"
    """What there is of a table's pictures is staged, in an open transaction."""
    IMAGES_STAGED = "images.staged"
    """It is committed."""

    # The validator
    REPORT_STORING = "report.storing"
    """The slice is audited; nothing of its report is written."""
    REPORT_HALF_STORED = "report.half_stored"
    """One of its two objects is."""
    REPORT_STORED = "report.stored"
    """Both are."""

    # The snapshotter
    TABLE_MERGED = "table.merged"
    """A table is merged, in an open transaction."""
    TABLE_TAKEN_BACK = "table.taken_back"
    """What a slice brought to a table is withdrawn, in an open transaction."""
    PART_STORING = "part.storing"
    """A Parquet file of the snapshot is next to be written."""
    PART_STORED = "part.stored"
    """It is there."""
    MANIFEST_STORING = "manifest.storing"
    """All files of the snapshot are there; its manifest isn't."""
    MANIFEST_STORED = "manifest.stored"
    """It is."""

    # The trainer
    SIDE_STORING = "side.storing"
    """A file of the training dataset is next to be written."""
    SIDE_STORED = "side.stored"
    """It is there."""
    DATASET_STORING = "dataset.storing"
    """Both sides are there; the manifest isn't."""
    DATASET_STORED = "dataset.stored"
    """It is."""
    RUN_MAKING = "run.making"
    """MLflow has no run of the event."""
    RUN_MADE = "run.made"
    """It has an empty one."""
    RUN_LOGGED = "run.logged"
    """It has all that the run says."""
    RUN_FINISHED = "run.finished"
    """The run is marked as finished."""
    MODEL_MADE = "model.made"
    """MLflow knows of the model, and has no file of it."""
    MODEL_STORED = "model.stored"
    """It has them, and no version."""
    MODEL_READY = "model.ready"
    """It is marked as ready; its run doesn't name it."""
    MODEL_LINKED = "model.linked"
    """Its run does."""
    VERSION_REGISTERING = "version.registering"
    """The registry has the model's name; its version is next to be registered."""
    VERSION_REGISTERED = "version.registered"
    """There is a version."""
    RULING_KEEPING = "ruling.keeping"
    """It is decided about the version; the decision is kept nowhere."""
    RULING_KEPT = "ruling.kept"
    """The decision is kept with the run."""
    ALIAS_SETTING = "alias.setting"
    """The version's tags say it; its alias is next to be set."""
    ALIAS_SET = "alias.set"
    """It is set."""
    ALIAS_RELEASING = "alias.releasing"
    """The champion is next to lose the challenger's alias."""
    ALIAS_RELEASED = "alias.released"
    """Nobody has it."""
    VERSION_WITHDRAWING = "version.withdrawing"
    """A version's mark of a rollback is next to be set, or taken away."""
    VERSION_WITHDRAWN = "version.withdrawn"
    """It is."""

    DRIFT_MEASURED = "drift.measured"
    """It is known how far a dataset has drifted; nothing of it is kept."""
    DRIFT_KEEPING = "drift.keeping"
    """It is written, in an open transaction."""

    # The notifier
    MESSAGE_CLAIMING = "message.claiming"
    """A message is claimed, in an open transaction."""
    MESSAGE_CLAIMED = "message.claimed"
    """It is committed."""
    MESSAGE_SENT = "message.sent"
    """The target has it."""
    MESSAGE_SETTLED = "message.settled"
    """What became of it is committed."""


@dataclass
class Armed:
    """The point at which the process dies: at the `passing`-th, where `dataset` is in hand."""

    point: FailPoint
    passing: int = 1
    dataset: str | None = None
    _passed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def pass_by(self, point: FailPoint, datasets: tuple[str, ...]) -> None:
        """Kill the process where this is it."""
        if point is not self.point:
            return
        if self.dataset is not None and self.dataset not in (datasets or (dataset_in_hand(),)):
            return
        with self._lock:
            self._passed += 1
            if self._passed == self.passing:
                _die(point)


_armed: Armed | None = None


def parse(text: str) -> Armed | None:
    """What the setting says; None where it is empty. Raises `InvalidSettings`."""
    if not text:
        return None
    found = _FORM.fullmatch(text)
    if found is None or found["name"] not in set(FailPoint):
        raise InvalidSettings(
            f"FAIL_POINT={text}: there is no such fail point; those that there are stand in "
            "shared/fail_points.py. It is for tests: leave it unset"
        )
    return Armed(FailPoint(found["name"]), int(found["passing"] or 1), found["dataset"])


def arm(text: str) -> None:
    """Have the process die where `text` says; nowhere if it is empty. For composition roots."""
    global _armed
    _armed = parse(text)


def reached(point: FailPoint, *datasets: str) -> None:
    """Say that the process is at `point`: it doesn't return from the one that is armed.

    `datasets` are those concerned; by default it is that of the event in hand.
    """
    if _armed is not None:
        _armed.pass_by(point, datasets)


def _die(point: FailPoint) -> NoReturn:
    os.write(2, f"{MARK} {point}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)
    while True:  # the signal is on its way, and nothing may happen after the point
        signal.pause()
