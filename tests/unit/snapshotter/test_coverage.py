"""How a load says, in the fewest words, which known keys its slice had unchanged."""

import pytest

from services.snapshotter.coverage import Counts
from shared.contracts.events import TableChanges
from shared.database.statuses import CoverageKind


def counts(*, inserted: int = 0, updated: int = 0, unchanged: int = 0, absent: int = 0) -> Counts:
    return Counts(
        inserted=inserted,
        updated=updated,
        deleted=0,
        staged=inserted + updated + unchanged,
        known=updated + unchanged + absent,
    )


@pytest.mark.parametrize(
    ("compared", "kind"),
    [
        (counts(), CoverageKind.NONE),
        (counts(inserted=3, updated=2, absent=4), CoverageKind.NONE),
        (counts(unchanged=3), CoverageKind.ALL),
        (counts(inserted=1, updated=2, unchanged=3), CoverageKind.ALL),
        (counts(updated=9, unchanged=3, absent=3), CoverageKind.LISTED),
        (counts(unchanged=4, absent=3), CoverageKind.ALL_BUT_LISTED),
    ],
)
def test_the_shorter_list_is_kept(compared: Counts, kind: CoverageKind) -> None:
    assert compared.kind(is_whole=False) is kind


@pytest.mark.parametrize("compared", [counts(), counts(unchanged=2, absent=1), counts(updated=1)])
def test_a_slice_that_is_the_whole_table_needs_no_list(compared: Counts) -> None:
    assert compared.kind(is_whole=True) is CoverageKind.WHOLE


def test_every_staged_row_is_accounted_for() -> None:
    compared = counts(inserted=1, updated=2, unchanged=3, absent=4)
    assert compared.changes() == TableChanges(inserted=1, updated=2, unchanged=3, deleted=0)
    assert compared.absent == 4
