"""Withdrawing a slice: the tables say what they would had none of its loads ever been.

By history, like everything: rows are added, at the slice's date and at each later one where it
still made a difference, that restate what the remaining loads said. What was known before is what
it was; snapshots that exist stay as they are.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, delete, select, text, update

from services.snapshotter.publication import (
    Publication,
    next_known_at,
    record_snapshot,
    take_turn,
)
from services.snapshotter.relations import Relations
from services.snapshotter.restating import AFFECTED, restate
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.events import TableChanges, WithdrawalAdmitted
from shared.database.dataset_tables import staging_table
from shared.database.image_rows import forget_images
from shared.database.loads import set_status
from shared.database.statuses import LoadStatus
from shared.database.tables import coverage, loads, slices, snapshots
from shared.errors import InconsistentState


@dataclass(frozen=True)
class Withdrawal:
    """What is taken back: all published loads of the slice, from the date of the first on."""

    publication: Publication
    """Of the state without them, at the date at which the slice was published last."""
    loads: tuple[str, ...]
    since: date
    dates: tuple[date, ...]


def admit(
    connection: Connection, spec: DatasetSpec, asked: WithdrawalAdmitted
) -> Withdrawal | None:
    """Wait for the dataset's turn; None where the slice isn't published.

    Raises `InconsistentState` where the withdrawal is finished or unknown.
    """
    take_turn(connection, asked.dataset)
    query = select(loads.c.status).where(loads.c.load_id == asked.load_id).with_for_update()
    status = connection.execute(query).scalar()
    if status not in (LoadStatus.VALIDATED, LoadStatus.LOADED, LoadStatus.FAILED):
        raise InconsistentState(f"the withdrawal {asked.load_id} is {status or 'not known'}")
    published = connection.execute(
        select(slices).where(
            slices.c.dataset == asked.dataset, slices.c.slice_key == asked.slice_key
        )
    ).one_or_none()
    if published is None:
        return None
    taken = connection.execute(
        select(snapshots.c.load_id, snapshots.c.as_of)
        .join(loads, loads.c.load_id == snapshots.c.load_id)
        .where(
            loads.c.dataset == asked.dataset,
            loads.c.slice_key == asked.slice_key,
            loads.c.status == LoadStatus.PUBLISHED.value,
            loads.c.withdrawn_at.is_(None),
        )
        .order_by(snapshots.c.known_at)
    ).all()
    others = connection.execute(
        select(slices.c.slice_key)
        .where(slices.c.dataset == asked.dataset, slices.c.slice_key != asked.slice_key)
        .limit(1)
    ).first()
    publication = Publication(
        spec=spec,
        load_id=asked.load_id,
        slice_key=asked.slice_key,
        revision=published.revision,
        content_sha256=published.content_sha256,
        as_of=published.as_of,
        known_at=next_known_at(connection, asked.dataset),
        trains=others is not None,  # of empty tables nothing is learned
    )
    dates = tuple(sorted({load.as_of for load in taken}))
    return Withdrawal(publication, tuple(load.load_id for load in taken), dates[0], dates)


def take_back(connection: Connection, withdrawal: Withdrawal, table: str) -> TableChanges:
    """Take back what the loads did to one table; what became of its rows at the slice's date.

    A key is affected where one of them left a history row, or where another did at their date, to
    say what holds beside them: anywhere else they said what held anyway.
    """
    publication = withdrawal.publication
    spec, load_id = publication.spec, publication.load_id
    relations = Relations.of(spec, table, staging_table(table, load_id))
    # Against writers that know nothing of the dataset's lock.
    connection.execute(text(f"LOCK TABLE {relations.current} IN SHARE ROW EXCLUSIVE MODE"))
    statement = f"""
        CREATE TEMPORARY TABLE {AFFECTED} ON COMMIT DROP AS
        SELECT DISTINCT {relations.keys()} FROM {relations.history}
        WHERE load_id = ANY (:loads) OR as_of = ANY (CAST(:dates AS date[]))
    """
    parameters = {"loads": list(withdrawal.loads), "dates": list(withdrawal.dates)}
    connection.execute(text(statement), parameters)
    return restate(connection, publication, relations, withdrawal.since, withdrawn=withdrawal.loads)


def record(
    connection: Connection,
    withdrawal: Withdrawal,
    changes: dict[str, TableChanges],
    *,
    manifest_uri: str,
    manifest_sha256: str,
    tables: dict[str, Any],
) -> None:
    """Say in the control tables that the slice is out and the dataset frozen without it."""
    publication = withdrawal.publication
    spec, known_at = publication.spec, publication.known_at
    record_snapshot(
        connection,
        publication,
        manifest_uri=manifest_uri,
        manifest_sha256=manifest_sha256,
        tables=tables,
    )
    connection.execute(
        delete(slices).where(
            slices.c.dataset == spec.dataset, slices.c.slice_key == publication.slice_key
        )
    )
    for marked in (loads, coverage):
        connection.execute(
            update(marked)
            .where(marked.c.load_id.in_(withdrawal.loads))
            .values(withdrawn_at=known_at)
        )
    for name, table in spec.tables.items():
        if table.images is not None:
            forget_images(connection, spec, name, withdrawal.loads)
    set_status(
        connection,
        publication.load_id,
        LoadStatus.WITHDRAWN,
        as_of=publication.as_of,
        trains=publication.trains,
        changes={table: change.model_dump() for table, change in changes.items()},
    )
