"""The validator's front door: a loaded slice is validated or rejected."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection, insert, select

from services.validator.changes import changes
from services.validator.images import image_counts, image_shares, previous_image_counts
from services.validator.integrity import foreign_keys
from services.validator.profiles import Profile, previous_profiles, profile, store_profiles
from services.validator.report import Report
from services.validator.results import ValidationResult
from services.validator.spec_check import expectation_faults
from services.validator.suites import Suites
from services.validator.turn import wait_for_turn
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.envelope import Event
from shared.contracts.events import (
    SliceLoaded,
    SliceRejected,
    Stage,
    Validated,
    WithdrawalAdmitted,
    WithdrawalQueued,
)
from shared.contracts.spec_file import find_spec
from shared.database.image_rows import keep_staged_images
from shared.database.loads import set_status, status_of
from shared.database.statuses import LoadStatus
from shared.database.tables import loads, validation_results
from shared.errors import InconsistentState, InvalidSpec
from shared.fail_points import FailPoint, reached
from shared.messaging.unit_of_work import Transaction, UnitOfWork
from shared.object_store import Bucket, ObjectStore
from shared.observability.spans import step
from shared.settings import Settings

logger = logging.getLogger(__name__)

_TO_DO = frozenset({LoadStatus.LOADED, LoadStatus.FAILED})
"""A failed load is one whose event is in the dead letters, and comes again when it is redriven."""


@dataclass(frozen=True)
class Validator:
    """Handles `slice-loaded`."""

    settings: Settings
    store: ObjectStore
    suites: Suites

    def on_slice_loaded(self, event: Event[SliceLoaded], unit: UnitOfWork) -> None:
        """Evaluate the slice's expectations; publish `validated`, or `slice-rejected` and why.

        Waits for the slices of the dataset that were loaded before. A load that has got past
        validation, or was superseded meanwhile, is left as it is.
        """
        with unit.engine.connect() as connection:
            status = _status(connection, event.payload)
        if status not in _TO_DO:
            with unit.transaction():
                logger.info("load %s is %s: nothing to validate", event.payload.load_id, status)
            return
        wait_for_turn(unit.engine, event.payload.load_id)
        report = self._audit(event.payload, unit)
        report_uri = self._store(report)
        with unit.transaction() as tx:
            if _status(tx.connection, event.payload, lock=True) in _TO_DO:
                _conclude(tx, event.payload, report, report_uri)

    def on_withdrawal_queued(self, event: Event[WithdrawalQueued], unit: UnitOfWork) -> None:
        """Let a withdrawal pass when it is its turn: there is nothing to audit in it.

        Waits, as a slice does, for what was loaded before; what is loaded after waits for it.
        """
        queued = event.payload
        wait_for_turn(unit.engine, queued.load_id)
        with unit.transaction() as tx:
            if _status(tx.connection, queued, lock=True) in _TO_DO:
                set_status(tx.connection, queued.load_id, LoadStatus.VALIDATED, finished_at=None)
                tx.emit(
                    WithdrawalAdmitted(
                        dataset=queued.dataset,
                        slice_key=queued.slice_key,
                        load_id=queued.load_id,
                    )
                )

    @step("audit")
    def _audit(self, loaded: SliceLoaded, unit: UnitOfWork) -> Report:
        spec = find_spec(self.settings.datasets_dir, loaded.dataset)
        if faults := expectation_faults(spec):
            raise InvalidSpec("\n".join(map(str, faults)))
        staged = {part.table: part.staging_table for part in loaded.tables if part.present}
        if unknown := staged.keys() - spec.tables.keys():
            raise InconsistentState(f"the spec has no table {', '.join(sorted(unknown))}")
        staged = {table: staged[table] for table in spec.tables if table in staged}
        with unit.engine.connect() as connection:
            profiles = {
                table: profile(connection, spec, table, name) for table, name in staged.items()
            }
            own = self._own_checks(connection, spec, loaded, staged, profiles)
        results = []
        for table, name in staged.items():
            with step("run the suite of a table", table=table):
                results += self.suites.run(spec, table, name, profiles[table].rows)
            results += own[table]
        return Report(
            dataset=loaded.dataset,
            slice_key=loaded.slice_key,
            as_of=loaded.as_of,
            load_id=loaded.load_id,
            revision=loaded.revision,
            keys={table: spec.tables[table].key for table in staged},
            profiles=profiles,
            results=results,
        )

    def _own_checks(
        self,
        connection: Connection,
        spec: DatasetSpec,
        loaded: SliceLoaded,
        staged: Mapping[str, str],
        profiles: Mapping[str, Profile],
    ) -> dict[str, list[ValidationResult]]:
        place = (loaded.dataset, loaded.slice_key, loaded.as_of)
        before = previous_profiles(connection, staged, *place)
        with_images = [table for table in staged if spec.tables[table].images is not None]
        images_before = previous_image_counts(connection, with_images, *place)
        images = image_counts(connection, loaded.load_id)
        kept = self.settings.failing_keys_kept
        return {
            table: [
                *(
                    replace(result, element_count=profiles[table].rows)
                    for result in foreign_keys(connection, spec, table, staged, kept)
                ),
                *changes(table, spec.tables[table].stability, profiles[table], before.get(table)),
                *image_shares(table, spec.tables[table], images, images_before.get(table)),
            ]
            for table in staged
        }

    @step("store the report")
    def _store(self, report: Report) -> str:
        """Write the report under the load's own name; the address of its HTML page."""
        place = self.store.uri(
            Bucket.REPORTS, f"{report.dataset}/{report.slice_key}/{report.load_id}"
        )
        page = place.child("report.html")
        reached(FailPoint.REPORT_STORING)
        self.store.put_bytes(
            place.child("report.json"), report.as_json(), content_type="application/json"
        )
        reached(FailPoint.REPORT_HALF_STORED)
        self.store.put_bytes(page, report.as_html(), content_type="text/html; charset=utf-8")
        reached(FailPoint.REPORT_STORED)
        return str(page)


def _status(
    connection: Connection, loaded: SliceLoaded | WithdrawalQueued, *, lock: bool = False
) -> LoadStatus:
    if lock:
        row = select(loads.c.load_id).where(loads.c.load_id == loaded.load_id).with_for_update()
        connection.execute(row)
    status = status_of(connection, loaded.load_id)
    if status is None:
        raise InconsistentState(f"there is no load {loaded.load_id}")
    return status


def _conclude(tx: Transaction, loaded: SliceLoaded, report: Report, report_uri: str) -> None:
    """Everything that follows from the report, in the transaction."""
    tx.connection.execute(
        validation_results.delete().where(validation_results.c.load_id == loaded.load_id)
    )
    if report.results:
        rows = [_row(loaded, result) for result in report.results]
        tx.connection.execute(insert(validation_results), rows)
    store_profiles(tx.connection, loaded.load_id, report.profiles)
    if report.is_met:
        keep_staged_images(tx.connection, loaded.dataset, report.keys, loaded.load_id)
        set_status(
            tx.connection,
            loaded.load_id,
            LoadStatus.VALIDATED,
            report_uri=report_uri,
            finished_at=None,
        )
        tx.emit(
            Validated(
                dataset=loaded.dataset,
                slice_key=loaded.slice_key,
                load_id=loaded.load_id,
                as_of=loaded.as_of,
                expectations=len(report.results),
                flagged=len(report.flagged),
                report_uri=report_uri,
                tables=loaded.tables,
            )
        )
        return
    reasons = tuple(result.reason(report.keys[result.table]) for result in report.failed)
    set_status(
        tx.connection,
        loaded.load_id,
        LoadStatus.REJECTED,
        reasons=[reason.model_dump(mode="json") for reason in reasons],
        report_uri=report_uri,
    )
    tx.emit(
        SliceRejected(
            dataset=loaded.dataset,
            slice_key=loaded.slice_key,
            load_id=loaded.load_id,
            as_of=loaded.as_of,
            stage=Stage.VALIDATE,
            reasons=reasons,
            report_uri=report_uri,
        )
    )


def _row(loaded: SliceLoaded, result: ValidationResult) -> dict[str, object]:
    return {
        "load_id": loaded.load_id,
        "dataset": loaded.dataset,
        "table_name": result.table,
        "expectation": result.expectation,
        "kwargs": result.kwargs,
        "success": result.success,
        "severity": result.severity.value,
        "observed_value": result.observed_value,
        "element_count": result.element_count,
        "unexpected_count": result.unexpected_count,
        "failing_keys": result.failing_keys,
        "message": result.message,
    }
