"""The front door: a validated slice is merged, frozen and exported, all of it or nothing; and a
withdrawn one is taken out likewise.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from services.snapshotter import publication as publications
from services.snapshotter import withdrawals
from services.snapshotter.export import Exported, export
from services.snapshotter.merge import merge
from services.snapshotter.publication import Publication
from services.snapshotter.relations import Relations
from shared.contracts.envelope import Event
from shared.contracts.events import Snapshotted, TableChanges, Validated, WithdrawalAdmitted
from shared.contracts.spec_file import find_spec
from shared.database.dataset_tables import ensure_dataset
from shared.database.loads import set_status
from shared.database.statuses import LoadStatus
from shared.fail_points import FailPoint, reached
from shared.messaging.unit_of_work import UnitOfWork
from shared.object_store import ObjectStore
from shared.observability.spans import step

logger = logging.getLogger(__name__)

# For this transaction only. The statements are few and large, so compiling them costs more than it
# saves, and the sorts and hashes of a million rows should stay in memory. The planner takes it that
# the difference has every row, and so would not read in parallel for fear of handing them on.
_TUNING = """
    SET LOCAL jit = off;
    SET LOCAL parallel_tuple_cost = 0;
    SET LOCAL parallel_setup_cost = 0;
    SET LOCAL work_mem = '64MB';
    SET LOCAL maintenance_work_mem = '256MB';
"""


@dataclass(frozen=True)
class Snapshotter:
    """Handlers of the events that the snapshotter consumes."""

    datasets_dir: Path
    store: ObjectStore
    row_group_rows: int

    def on_validated(self, event: Event[Validated], unit: UnitOfWork) -> None:
        """Merge the staged slice into current and history, freeze the dataset, export it.

        Everything but the exported objects is one transaction. The objects are written within it,
        under a name that only this try uses; should it fail, nothing refers to them.
        """
        load = event.payload
        spec = find_spec(self.datasets_dir, load.dataset)
        with unit.transaction() as transaction:
            connection = transaction.connection
            connection.execute(text(_TUNING))
            publication = publications.admit(connection, spec, load)
            if publication is None:
                set_status(connection, load.load_id, LoadStatus.SUPERSEDED)
                publications.drop_staging(connection, load)
                logger.info("a later revision of %s is published already", event.subject)
                return
            ensure_dataset(connection, spec)
            publications.require_staging(connection, spec, load)

            parts = {part.table: part for part in load.tables if part.present}
            changes = {}
            for table in (name for name in spec.parents_first() if name in parts):
                with step("merge a table", table=table):
                    changes[table] = merge(
                        connection,
                        publication,
                        Relations.of(spec, table, parts[table].staging_table),
                        rows_loaded=parts[table].rows_loaded,
                    )
                reached(FailPoint.TABLE_MERGED)
            exported = export(
                connection, publication, self.store, row_group_rows=self.row_group_rows
            )
            publications.drop_staging(connection, load)
            publications.record(
                connection,
                publication,
                changes,
                manifest_uri=str(exported.uri),
                manifest_sha256=exported.sha256,
                tables=exported.summary(),
            )
            transaction.emit(_snapshotted(load, publication, exported, changes))

    def on_withdrawal_admitted(self, event: Event[WithdrawalAdmitted], unit: UnitOfWork) -> None:
        """Take the slice's effects back by history, freeze the dataset without it, export it.

        As with a slice, everything but the objects is one transaction. Without a published load
        of the slice there is nothing to take back, and nothing is done.
        """
        load = event.payload
        spec = find_spec(self.datasets_dir, load.dataset)
        with unit.transaction() as transaction:
            connection = transaction.connection
            connection.execute(text(_TUNING))
            withdrawal = withdrawals.admit(connection, spec, load)
            if withdrawal is None:
                set_status(connection, load.load_id, LoadStatus.UNCHANGED)
                logger.info("%s is not published: nothing to withdraw", event.subject)
                return
            ensure_dataset(connection, spec)
            publication = withdrawal.publication
            changes = {}
            for table in spec.parents_first():
                with step("take a table back", table=table):
                    changes[table] = withdrawals.take_back(connection, withdrawal, table)
                reached(FailPoint.TABLE_TAKEN_BACK)
            exported = export(
                connection, publication, self.store, row_group_rows=self.row_group_rows
            )
            withdrawals.record(
                connection,
                withdrawal,
                changes,
                manifest_uri=str(exported.uri),
                manifest_sha256=exported.sha256,
                tables=exported.summary(),
            )
            transaction.emit(
                _snapshotted(load, publication, exported, changes, withdrawn=withdrawal.loads)
            )


def _snapshotted(
    load: Validated | WithdrawalAdmitted,
    publication: Publication,
    exported: Exported,
    changes: dict[str, TableChanges],
    *,
    withdrawn: tuple[str, ...] = (),
) -> Snapshotted:
    """What is told of the snapshot that `load` came to, or that a withdrawal left."""
    return Snapshotted(
        dataset=load.dataset,
        slice_key=load.slice_key,
        load_id=load.load_id,
        snapshot_id=publication.snapshot_id,
        as_of=publication.as_of,
        known_at=publication.known_at,
        manifest_uri=str(exported.uri),
        manifest_sha256=exported.sha256,
        changes=changes,
        trains=publication.trains,
        withdrawn_loads=withdrawn,
    )
