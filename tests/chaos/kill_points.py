"""The kill matrix: each service with each fail point that it passes."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.fail_points import FailPoint as P

_OF_EVERY_SERVICE = (
    P.RECORD_RECEIVED,
    P.INBOX_CLAIMED,
    P.UNIT_COMMITTING,
    P.UNIT_COMMITTED,
    P.OFFSET_COMMITTING,
    P.OFFSET_COMMITTED,
    P.DEAD_LETTER_BURYING,
    P.DEAD_LETTER_BURIED,
    P.RELAY_SENDING,
    P.RELAY_HANDED_OVER,
    P.RELAY_SENT,
    P.RELAY_MARKED,
    P.RELAY_COMMITTED,
)
_OF_SHARES = frozenset(
    {
        *(P.SCHEDULE_FIRING, P.SCHEDULE_FIRED, P.INDEX_KEEPING, P.INDEX_KEPT),
        *(P.RANGE_RECORDING, P.RANGE_RECORDED),
    }
)
"""Passed by a dataset of slices by share that is loaded by its schedule."""

PASSED_BY: Final[dict[str, tuple[P, ...]]] = {
    "ingestor": (
        *_OF_EVERY_SERVICE,
        P.STAGE_STARTED,
        P.REQUEST_ACCEPTING,
        P.REQUEST_ACCEPTED,
        P.SCHEDULE_FIRING,
        P.SCHEDULE_FIRED,
        P.LOAD_BEGINNING,
        P.LOAD_BEGUN,
        P.TABLES_MAKING,
        P.TABLES_MADE,
        P.INDEX_KEEPING,
        P.INDEX_KEPT,
        P.RANGE_RECORDING,
        P.RANGE_RECORDED,
        P.CORRECTION_RECORDING,
        P.CORRECTION_RECORDED,
        P.LANDING_STORING,
        P.LANDING_STORED,
        P.REVISION_RECORDING,
        P.REVISION_RECORDED,
        P.STAGING_FILLING,
        P.STAGING_FILLED,
        P.DUPLICATES_REMOVING,
        P.DUPLICATES_REMOVED,
        P.IMAGE_STORING,
        P.IMAGE_STORED,
        P.IMAGES_STAGING,
        P.IMAGES_STAGED,
    ),
    "validator": (
        *_OF_EVERY_SERVICE,
        P.STAGE_STARTED,
        P.REPORT_STORING,
        P.REPORT_HALF_STORED,
        P.REPORT_STORED,
    ),
    "snapshotter": (
        *_OF_EVERY_SERVICE,
        P.STAGE_STARTED,
        P.TABLE_MERGED,
        P.TABLE_TAKEN_BACK,
        P.PART_STORING,
        P.PART_STORED,
        P.MANIFEST_STORING,
        P.MANIFEST_STORED,
    ),
    "trainer": (
        *_OF_EVERY_SERVICE,
        P.STAGE_STARTED,
        P.SIDE_STORING,
        P.SIDE_STORED,
        P.DATASET_STORING,
        P.DATASET_STORED,
        P.RUN_MAKING,
        P.RUN_MADE,
        P.RUN_LOGGED,
        P.RUN_FINISHED,
        P.MODEL_MADE,
        P.MODEL_STORED,
        P.MODEL_READY,
        P.MODEL_LINKED,
        P.VERSION_REGISTERING,
        P.VERSION_REGISTERED,
        P.RULING_KEEPING,
        P.RULING_KEPT,
        P.ALIAS_SETTING,
        P.ALIAS_SET,
        P.ALIAS_RELEASING,
        P.ALIAS_RELEASED,
        P.VERSION_WITHDRAWING,
        P.VERSION_WITHDRAWN,
        P.DRIFT_MEASURED,
        P.DRIFT_KEEPING,
    ),
    # It is no stage, and publishes nothing but what it gives up.
    "notifier": (
        *_OF_EVERY_SERVICE,
        P.MESSAGE_CLAIMING,
        P.MESSAGE_CLAIMED,
        P.MESSAGE_SENT,
        P.MESSAGE_SETTLED,
    ),
}


class Kind(StrEnum):
    """What a dataset goes through; see `tests/chaos/kill_datasets.py`."""

    MODEL = "model"
    """Slices that are loaded, rejected and revised, and a model."""
    PLAIN = "plain"
    """The same without a model, which takes most of the time."""
    SHARE = "share"
    """Slices by share, the first asked for by its schedule."""


@dataclass(frozen=True)
class Kill:
    """One service dies at one point, at the first or a later passing of it."""

    service: str
    point: P
    passing: int = 1

    @property
    def is_of_shares(self) -> bool:
        """Whether it takes a dataset by share to pass it."""
        return self.point in _OF_SHARES

    @property
    def place(self) -> str:
        """Where it is, as the setting `FAIL_POINT` has it."""
        return self.point if self.passing == 1 else f"{self.point}:{self.passing}"

    def __str__(self) -> str:
        return f"{self.service}:{self.place}"


def kind_of(kills: Sequence[Kill], *, is_full: bool) -> Kind:
    """The kind of dataset that passes these points; with a model wherever there is time for one."""
    if any(kill.is_of_shares for kill in kills):
        return Kind.SHARE
    needs_model = any(kill.service == "trainer" for kill in kills)
    return Kind.MODEL if is_full or needs_model else Kind.PLAIN


BY_HAND: Final = (
    Kill("trainer", P.ALIAS_SETTING, 4),
    Kill("trainer", P.ALIAS_SET, 4),
    Kill("trainer", P.VERSION_WITHDRAWING, 2),
    Kill("trainer", P.VERSION_WITHDRAWN, 2),
    Kill("trainer", P.ALIAS_SETTING, 5),
    Kill("trainer", P.ALIAS_SET, 5),
)
"""After the three trainings of a dataset: its promotion by hand is the fourth to set an alias, the
rollback after it the fifth, and the first that marks a version as withdrawn."""
MATRIX: Final = (
    *(Kill(service, point) for service, of in PASSED_BY.items() for point in of),
    *BY_HAND,
)
