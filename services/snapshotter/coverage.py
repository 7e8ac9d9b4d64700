"""Which keys a slice had although they left no history row.

A slice also states what it leaves unchanged, and a later correction of an earlier date must not
undo that. So every load leaves one row in `headrace.coverage` for each of its tables; where some of
the known keys were in the slice unchanged and some were absent, the fewer of them are listed.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, text

from services.snapshotter.publication import Publication
from services.snapshotter.relations import DIFFERENCE, Relations
from shared.contracts.events import TableChanges
from shared.database.statuses import CoverageKind
from shared.database.tables import coverage


@dataclass(frozen=True)
class Counts:
    """How many keys are staged and known, and how many of them differ."""

    inserted: int
    updated: int
    deleted: int
    staged: int
    known: int

    @property
    def unchanged(self) -> int:
        """Known keys that the slice has as they were."""
        return self.staged - self.inserted - self.updated

    @property
    def absent(self) -> int:
        """Known keys that the slice hasn't."""
        return self.known - self.unchanged - self.updated

    def changes(self) -> TableChanges:
        """The same as an event says it."""
        return TableChanges(
            inserted=self.inserted,
            updated=self.updated,
            unchanged=self.unchanged,
            deleted=self.deleted,
        )

    def kind(self, *, is_whole: bool) -> CoverageKind:
        """The shortest way to say which known keys were in the slice, unchanged."""
        if is_whole:
            return CoverageKind.WHOLE
        if not self.unchanged:
            return CoverageKind.NONE
        if not self.absent:
            return CoverageKind.ALL
        if self.unchanged <= self.absent:
            return CoverageKind.LISTED
        return CoverageKind.ALL_BUT_LISTED


def record_coverage(
    connection: Connection,
    publication: Publication,
    relations: Relations,
    counts: Counts,
    *,
    known: str,
) -> None:
    """Record what the slice covers of the rows of `known`, before they are changed."""
    kind = counts.kind(is_whole=relations.deletes_absent)
    connection.execute(
        insert(coverage).values(
            load_id=publication.load_id,
            table_name=relations.name,
            dataset=publication.spec.dataset,
            as_of=publication.as_of,
            recorded_at=publication.known_at,
            kind=kind.value,
        )
    )
    listed = {
        CoverageKind.LISTED: (relations.staging, DIFFERENCE),
        CoverageKind.ALL_BUT_LISTED: (known, relations.staging),
    }.get(kind)
    if listed is None:
        return
    rows, without = listed
    statement = f"""
        INSERT INTO {relations.coverage} ({relations.keys()}, as_of, load_id)
        SELECT {relations.keys("r")}, :as_of, :load_id
        FROM {rows} AS r
        WHERE NOT EXISTS (SELECT FROM {without} AS w WHERE {relations.same_key("w", "r")})
    """
    connection.execute(text(statement), publication.parameters)
