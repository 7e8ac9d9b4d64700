"""A load on its way into the tables: admitted under the dataset's lock, recorded when it is in."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.events import TableChanges, Validated
from shared.database.dataset_tables import quoted, staging_schema
from shared.database.loads import set_status
from shared.database.statuses import LoadStatus
from shared.database.tables import slices, snapshots
from shared.errors import InconsistentState

# A failed load comes back when somebody redrives its dead letter.
_ADMITTED = frozenset({LoadStatus.LOADED, LoadStatus.VALIDATED, LoadStatus.FAILED})


@dataclass(frozen=True)
class Publication:
    """What is being published. `known_at` is later than that of every snapshot of the dataset."""

    spec: DatasetSpec
    load_id: str
    slice_key: str
    revision: int
    content_sha256: str
    as_of: date
    known_at: datetime
    trains: bool = True
    """Whether a dataset is to be built of it."""

    @property
    def snapshot_id(self) -> str:
        """The snapshot's name; it follows from the load."""
        return f"{self.spec.dataset}-{self.as_of.isoformat().replace('-', '')}-{self.load_id[:8]}"

    @property
    def parameters(self) -> dict[str, Any]:
        """What the merge's statements take."""
        return {
            "dataset": self.spec.dataset,
            "load_id": self.load_id,
            "as_of": self.as_of,
            "known_at": self.known_at,
        }


def admit(connection: Connection, spec: DatasetSpec, load: Validated) -> Publication | None:
    """Wait for the dataset's turn; None where a later revision of the slice is published.

    The turn lasts as long as the transaction, so what is read here stays true until its end, and
    the order of `known_at` is the order of the commits.

    Raises `InconsistentState` where the load isn't one that may be published, or not the event's.
    """
    parameters = {"dataset": load.dataset, "load_id": load.load_id, "slice_key": load.slice_key}
    take_turn(connection, load.dataset)
    found = connection.execute(text(_LOAD), parameters).one_or_none()
    if found is None:
        raise InconsistentState(f"there is no load {load.load_id}")
    if (found.dataset, found.slice_key, found.as_of) != (load.dataset, load.slice_key, load.as_of):
        raise InconsistentState(
            f"load {load.load_id} is of {found.dataset}/{found.slice_key} as of {found.as_of}, "
            f"its event says {load.dataset}/{load.slice_key} as of {load.as_of}"
        )
    if LoadStatus(found.status) not in _ADMITTED:
        raise InconsistentState(f"load {load.load_id} is {found.status}, it can't be published")
    if found.is_superseded:
        return None
    return Publication(
        spec=spec,
        load_id=load.load_id,
        slice_key=load.slice_key,
        revision=found.revision,
        content_sha256=found.content_sha256,
        as_of=load.as_of,
        trains=found.trains,
        known_at=next_known_at(connection, load.dataset),
    )


def take_turn(connection: Connection, dataset: str) -> None:
    """Wait until nobody else changes the dataset's tables; held until the transaction ends."""
    turn = text("SELECT pg_advisory_xact_lock(hashtext('headrace merge'), hashtext(:dataset))")
    connection.execute(turn, {"dataset": dataset})


def next_known_at(connection: Connection, dataset: str) -> datetime:
    """Now, or whatever is later than all snapshots of the dataset."""
    known_at: datetime = connection.execute(text(_KNOWN_AT), {"dataset": dataset}).scalar_one()
    return known_at.astimezone(UTC)


def require_staging(connection: Connection, spec: DatasetSpec, load: Validated) -> None:
    """Raises `InconsistentState` where staging hasn't the tables and columns of the spec."""
    for part in load.tables:
        if part.table not in spec.tables:
            raise InconsistentState(f"load {load.load_id} has {part.table!r}, the spec has not")
        if not part.present:
            continue
        where = {"schema": staging_schema(spec.dataset), "name": part.staging_table}
        columns = set(connection.execute(text(_COLUMNS), where).scalars())
        if not columns:
            raise InconsistentState(
                f"the staging table {part.staging_table!r} of load {load.load_id} is gone: "
                "load the slice again"
            )
        if missing := spec.tables[part.table].columns.keys() - columns:
            raise InconsistentState(
                f"{part.table!r} was staged before the spec had {', '.join(sorted(missing))}: "
                "load the slice again"
            )


def drop_staging(connection: Connection, load: Validated) -> None:
    """Drop what the ingestor staged."""
    for part in load.tables:
        name = quoted(staging_schema(load.dataset), part.staging_table)
        connection.execute(text(f"DROP TABLE IF EXISTS {name}"))


def record(
    connection: Connection,
    publication: Publication,
    changes: dict[str, TableChanges],
    *,
    manifest_uri: str,
    manifest_sha256: str,
    tables: dict[str, Any],
) -> None:
    """Say in the control tables that the slice is published and its snapshot frozen."""
    dataset, load_id = publication.spec.dataset, publication.load_id
    record_snapshot(
        connection,
        publication,
        manifest_uri=manifest_uri,
        manifest_sha256=manifest_sha256,
        tables=tables,
    )
    newest = {
        "as_of": publication.as_of,
        "revision": publication.revision,
        "load_id": load_id,
        "content_sha256": publication.content_sha256,
        "published_at": publication.known_at,
    }
    upsert = insert(slices).values(dataset=dataset, slice_key=publication.slice_key, **newest)
    connection.execute(
        upsert.on_conflict_do_update(
            index_elements=[slices.c.dataset, slices.c.slice_key], set_=newest
        )
    )
    set_status(
        connection,
        load_id,
        LoadStatus.PUBLISHED,
        changes={table: change.model_dump() for table, change in changes.items()},
    )


def record_snapshot(
    connection: Connection,
    publication: Publication,
    *,
    manifest_uri: str,
    manifest_sha256: str,
    tables: dict[str, Any],
) -> None:
    """Say in the control tables that the dataset is frozen."""
    connection.execute(
        insert(snapshots).values(
            snapshot_id=publication.snapshot_id,
            dataset=publication.spec.dataset,
            load_id=publication.load_id,
            slice_key=publication.slice_key,
            as_of=publication.as_of,
            known_at=publication.known_at,
            manifest_uri=manifest_uri,
            manifest_sha256=manifest_sha256,
            tables=tables,
        )
    )


# Two loads of one slice may have been given the same revision; the one that began later is later.
_LOAD = """
    SELECT l.dataset, l.slice_key, l.as_of, l.status, l.revision, l.content_sha256, l.trains,
           EXISTS (
               SELECT FROM headrace.slices AS s
               JOIN headrace.loads AS published ON published.load_id = s.load_id
               WHERE s.dataset = l.dataset AND s.slice_key = l.slice_key
                 AND (s.revision, published.started_at) > (l.revision, l.started_at)
           ) AS is_superseded
    FROM headrace.loads AS l
    WHERE l.load_id = :load_id
    FOR UPDATE OF l
"""
_KNOWN_AT = """
    SELECT greatest(clock_timestamp(), max(known_at) + INTERVAL '1 microsecond')
    FROM headrace.snapshots
    WHERE dataset = :dataset
"""
_COLUMNS = """
    SELECT column_name FROM information_schema.columns
    WHERE table_schema = :schema AND table_name = :name
"""
