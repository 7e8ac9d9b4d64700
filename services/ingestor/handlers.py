"""The ingestor's front door: a requested load becomes a staged slice, or a rejected one."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from sqlalchemy import Connection

from services.ingestor import loads
from services.ingestor.duplicates import quarantine_duplicates
from services.ingestor.images import ImageCounts, ImageFinder, has_images, record_images
from services.ingestor.landing import land
from services.ingestor.mending.correction import corrected_load, take_corrected
from services.ingestor.shares.taker import ShareTaker
from services.ingestor.staging import StagedTable, stage_table
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.envelope import Event, of_type
from shared.contracts.events import (
    Correction,
    LoadRequested,
    Payload,
    Reason,
    SliceLoaded,
    SliceRejected,
    Stage,
    TableLoad,
)
from shared.contracts.spec_file import find_spec
from shared.database.dataset_tables import ensure_dataset
from shared.database.loads import set_status
from shared.database.statuses import LoadStatus
from shared.fail_points import FailPoint, reached
from shared.load_requests import check_slice_key, date_of_slice, share_of
from shared.mending.landed import LandedSlice
from shared.messaging import inbox
from shared.messaging.unit_of_work import AlreadyDone, Transaction, UnitOfWork
from shared.object_store import ObjectStore
from shared.observability.spans import step
from shared.reading.quarantine import SliceFault
from shared.reading.sources import Source, find_files, open_source
from shared.reading.spool import SpooledFile, SpooledSlice, spool
from shared.reading.verdict import rejection
from shared.settings import Settings
from shared.source_roots import SourceRoots

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ingestor:
    """Handles `load-requested`."""

    settings: Settings
    store: ObjectStore

    def on_load_requested(self, event: Event[Payload], unit: UnitOfWork) -> None:
        """Land the slice's files and stage all its tables, typed, or reject the slice.

        Raises `PermanentError` where the request itself is wrong: no such dataset or source, a
        name that says no date.
        """
        requested = of_type(event, LoadRequested)
        dataset, slice_key = requested.payload.dataset, requested.payload.slice_key
        with unit.engine.begin() as guard:
            loads.lock_slice(guard, dataset, slice_key)
            if inbox.is_done(guard, unit.consumer, event.id):
                raise AlreadyDone(event.id)
            with unit.engine.begin() as connection:
                loads.begin_load(connection, event.correlation_id, requested)
                reached(FailPoint.LOAD_BEGINNING)
            reached(FailPoint.LOAD_BEGUN)
            check_slice_key(slice_key)
            spec = find_spec(self.settings.datasets_dir, dataset)
            as_of = requested.payload.as_of or date_of_slice(spec, slice_key, requested.time)
            share = share_of(spec, slice_key)
            with unit.engine.begin() as connection:
                ensure_dataset(connection, spec)
                loads.record_share(connection, event.correlation_id, share)
                reached(FailPoint.TABLES_MAKING)
            reached(FailPoint.TABLES_MADE)
            with tempfile.TemporaryDirectory(prefix="headrace-") as directory:
                load = _Load(self.settings, self.store, unit, requested, spec, as_of, share)
                load.run(Path(directory))


@dataclass(frozen=True)
class _Load:
    """One attempt at one slice."""

    settings: Settings
    store: ObjectStore
    unit: UnitOfWork
    event: Event[LoadRequested]
    spec: DatasetSpec
    as_of: date
    share: Decimal | None

    @property
    def load_id(self) -> str:
        return self.event.correlation_id

    @property
    def slice_key(self) -> str:
        return self.event.payload.slice_key

    def run(self, directory: Path) -> None:
        try:
            spooled = self._take(directory)
        except SliceFault as fault:
            with self.unit.transaction() as transaction:
                self._reject(transaction, (fault.reason,))
            return
        with self.unit.engine.connect() as connection:
            before = loads.predecessor(connection, self.spec.dataset, self.slice_key, self.load_id)
        if before and (before.content_sha256, before.as_of) == (spooled.content_sha256, self.as_of):
            self._leave_unchanged(before)
            return
        with step("land the files"):
            landing_uri = land(self.store, self.spec.dataset, self.slice_key, spooled)
        with self.unit.engine.begin() as connection:
            revision = loads.next_revision(
                connection, self.spec.dataset, self.slice_key, self.load_id
            )
            set_status(
                connection,
                self.load_id,
                LoadStatus.LOADING,
                as_of=self.as_of,
                revision=revision,
                landing_uri=str(landing_uri),
                content_sha256=spooled.content_sha256,
                spec_digest=self.spec.digest(),
            )
            reached(FailPoint.REVISION_RECORDING)
        reached(FailPoint.REVISION_RECORDED)
        staged, faults = self._stage(spooled.files)
        reasons = (*faults, *rejection(self.spec, staged))
        images = {} if reasons else self._images(staged)
        with self.unit.transaction() as transaction:
            tables = self._account_for(transaction.connection, staged, spooled)
            record_images(transaction.connection, self.load_id, images)
            if reasons:
                self._reject(transaction, reasons)
            else:
                set_status(transaction.connection, self.load_id, LoadStatus.LOADED)
                transaction.emit(
                    SliceLoaded(
                        dataset=self.spec.dataset,
                        slice_key=self.slice_key,
                        load_id=self.load_id,
                        as_of=self.as_of,
                        revision=revision,
                        content_sha256=spooled.content_sha256,
                        landing_uri=str(landing_uri),
                        tables=tables,
                    )
                )

    @step("take the files")
    def _take(self, directory: Path) -> SpooledSlice:
        if self.event.payload.correction is not None:
            return self._take_corrected(self.event.payload.correction, directory)
        source = self._source()
        files = find_files(self.spec, source.names())
        increment = self.spec.slices.increment
        if increment is None or self.share is None:
            return spool(source, files, directory)
        taker = ShareTaker(self.unit.engine, self.spec, increment, self.share, self.load_id)
        return taker.take(source, files, directory)

    def _take_corrected(self, correction: Correction, directory: Path) -> SpooledSlice:
        """Take what an earlier load brought, with the rows that were mended since."""
        with self.unit.engine.begin() as connection:
            base = corrected_load(connection, self.event.payload)
            landed = LandedSlice.of(
                self.spec, base, self.store, directory, self.settings.csv_block_bytes
            )
            spooled, facts = take_corrected(self.store, landed, correction)
            loads.record_correction(connection, self.load_id, base, facts)
            reached(FailPoint.CORRECTION_RECORDING)
        reached(FailPoint.CORRECTION_RECORDED)
        return spooled

    def _source(self) -> Source:
        roots = SourceRoots.of(self.settings)
        return open_source(self.event.payload.source_uri, self.store, roots)

    def _stage(
        self, files: Mapping[str, Sequence[SpooledFile]]
    ) -> tuple[list[StagedTable], list[Reason]]:
        """Stage every table, also after one at fault, so that all faults are told at once."""
        staged, faults = [], []
        for table in self.spec.tables:
            try:
                with step("stage a table", table=table):
                    loaded = stage_table(
                        self.settings, self.spec, table, self.load_id, files[table]
                    )
            except SliceFault as fault:
                faults.append(fault.reason.model_copy(update={"table": table}))
                continue
            with self.unit.engine.begin() as connection:
                quarantine_duplicates(connection, self.spec, loaded)
                reached(FailPoint.DUPLICATES_REMOVING)
            reached(FailPoint.DUPLICATES_REMOVED)
            staged.append(loaded)
        return staged, faults

    def _images(self, staged: Sequence[StagedTable]) -> dict[str, ImageCounts]:
        if not any(has_images(self.spec.tables[table.table]) for table in staged):
            return {}  # a correction's source may have gone
        finder = ImageFinder(
            self.unit.engine, self.store, self._source(), threads=self.settings.image_threads
        )
        with step("look for pictures"):
            return finder.stage(self.spec, self.load_id, staged)

    def _account_for(
        self, connection: Connection, staged: Sequence[StagedTable], spooled: SpooledSlice
    ) -> tuple[TableLoad, ...]:
        """Record what became of every row. Raises `InconsistentState` where one is missing."""
        tables = tuple(
            TableLoad(
                table=table.table,
                staging_table=table.name,
                rows_in=table.rows_in,
                rows_loaded=loads.count_staged(connection, self.spec.dataset, table),
                rows_quarantined=table.quarantine.count,
                present=bool(spooled.files[table.table]),
            )
            for table in staged
        )
        loads.keep_quarantined(connection, self.load_id, self.spec.dataset, staged)
        loads.record_rows(connection, self.load_id, tables)
        return tables

    def _reject(self, transaction: Transaction, reasons: tuple[Reason, ...]) -> None:
        set_status(
            transaction.connection,
            self.load_id,
            LoadStatus.REJECTED,
            as_of=self.as_of,
            spec_digest=self.spec.digest(),
            reasons=[reason.model_dump(mode="json") for reason in reasons],
        )
        transaction.emit(
            SliceRejected(
                dataset=self.spec.dataset,
                slice_key=self.slice_key,
                load_id=self.load_id,
                as_of=self.as_of,
                stage=Stage.INGEST,
                reasons=reasons,
            )
        )

    def _leave_unchanged(self, before: loads.Predecessor) -> None:
        with self.unit.transaction() as transaction:
            set_status(
                transaction.connection,
                self.load_id,
                LoadStatus.UNCHANGED,
                as_of=self.as_of,
                revision=before.revision,
                content_sha256=before.content_sha256,
                spec_digest=self.spec.digest(),
            )
        logger.info("slice %s is in already, by load %s", self.event.subject, before.load_id)
