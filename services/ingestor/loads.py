"""What the ingestor records of a load, and what it must know of the loads before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, TextClause, func, insert, null, select, text, true, update
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from services.ingestor.shares.row_ranges import RowRange
from services.ingestor.staging import StagedTable
from shared.contracts.envelope import Event
from shared.contracts.events import LoadRequested, TableLoad
from shared.contracts.increment import Increment
from shared.database.dataset_tables import quoted, staging_schema
from shared.database.statuses import LoadKind, LoadStatus
from shared.database.tables import loads, quarantined_rows, slices
from shared.errors import InconsistentState
from shared.load_requests import IN_PROGRESS, REFUSED


@dataclass(frozen=True)
class Predecessor:
    """The state of a slice before this load: what is on its way, else what is published."""

    load_id: str
    as_of: date | None
    revision: int | None
    content_sha256: str


_STARTED_AT = """
    (
        SELECT greatest(clock_timestamp(), max(other.started_at) + INTERVAL '1 microsecond')
        FROM headrace.loads AS other
        WHERE other.dataset = :of_dataset AND other.load_id <> :but_load
    )
"""


def after_all_loads(dataset: str, load_id: str) -> TextClause:
    """Now, or whatever is later than `started_at` of every other load of the dataset."""
    return text(_STARTED_AT).bindparams(of_dataset=dataset, but_load=load_id)


def lock_slice(connection: Connection, dataset: str, slice_key: str) -> None:
    """Wait until no other handler works on the slice; held until the transaction ends.

    A second delivery of an event, after a rebalance say, would otherwise replace the staging
    tables under the validator's feet.
    """
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtext('headrace slice'), hashtext(:slice))"),
        {"slice": f"{dataset}/{slice_key}"},
    )


def begin_load(connection: Connection, load_id: str, event: Event[LoadRequested]) -> None:
    """Show the load as loading. Another try of a load begins it anew.

    So does its `started_at`: the order in which loads of a dataset began is the order in which
    their events lie in the validator's topic, which waits for those before. So it is later than
    that of every other load of the dataset, also where the clock was put back.
    """
    payload = event.payload
    values = {
        "dataset": payload.dataset,
        "slice_key": payload.slice_key,
        "as_of": payload.as_of,
        "revision": None,
        "status": LoadStatus.LOADING.value,
        "source_uri": payload.source_uri,
        "requested_by": payload.requested_by,
        "requested_at": event.time,
        "kind": (LoadKind.CORRECTION if payload.correction else LoadKind.LOAD).value,
        "trains": payload.trains,
        "corrects": payload.correction.load_id if payload.correction else None,
        "correction": null(),
        "started_at": after_all_loads(payload.dataset, load_id),
        "landing_uri": None,
        "content_sha256": None,
        "percentage": None,
        "first_row": None,
        "end_row": None,
        "source_rows": None,
        "finished_at": None,
    }
    statement = insert_or_update(loads).values(load_id=load_id, **values)
    connection.execute(
        statement.on_conflict_do_update(index_elements=[loads.c.load_id], set_=values)
    )


def predecessor(
    connection: Connection, dataset: str, slice_key: str, load_id: str
) -> Predecessor | None:
    """The slice's newest load in progress whose content is known, else the published one.

    What a withdrawal in progress is about to take back is no predecessor.
    """
    withdrawn_at = connection.execute(
        select(func.max(loads.c.started_at)).where(
            loads.c.dataset == dataset,
            loads.c.slice_key == slice_key,
            loads.c.kind == LoadKind.WITHDRAWAL.value,
            loads.c.status.in_(IN_PROGRESS),
        )
    ).scalar()
    in_progress = (
        select(loads.c.load_id, loads.c.as_of, loads.c.revision, loads.c.content_sha256)
        .where(
            loads.c.dataset == dataset,
            loads.c.slice_key == slice_key,
            loads.c.load_id != load_id,
            loads.c.status.in_(IN_PROGRESS),
            loads.c.content_sha256.is_not(None),
            true() if withdrawn_at is None else loads.c.started_at > withdrawn_at,
        )
        .order_by(loads.c.revision.desc().nulls_last(), loads.c.started_at.desc())
        .limit(1)
    )
    published = select(
        slices.c.load_id, slices.c.as_of, slices.c.revision, slices.c.content_sha256
    ).where(slices.c.dataset == dataset, slices.c.slice_key == slice_key)
    for query in (in_progress, published) if withdrawn_at is None else (in_progress,):
        if (row := connection.execute(query).first()) is not None:
            return Predecessor(*row)
    return None


def next_revision(connection: Connection, dataset: str, slice_key: str, load_id: str) -> int:
    """One more than any other load of the slice has."""
    query = select(func.coalesce(func.max(loads.c.revision), 0) + 1).where(
        loads.c.dataset == dataset, loads.c.slice_key == slice_key, loads.c.load_id != load_id
    )
    return int(connection.execute(query).scalar_one())


def record_share(connection: Connection, load_id: str, share: Decimal | None) -> None:
    """Put the percentage on the load, where its slice is a share."""
    if share is not None:
        connection.execute(
            update(loads).where(loads.c.load_id == load_id).values(percentage=float(share))
        )


def record_range(connection: Connection, load_id: str, rows: RowRange, source_rows: int) -> None:
    """Put on the load which rows it takes, and of how many."""
    connection.execute(
        update(loads)
        .where(loads.c.load_id == load_id)
        .values(first_row=rows.first_row, end_row=rows.end_row, source_rows=source_rows)
    )


def record_correction(
    connection: Connection, load_id: str, base: Mapping[str, Any], facts: Mapping[str, Any]
) -> None:
    """Put on the load what it corrects of the load `base`, and that load's range of rows."""
    rows = {name: base[name] for name in ("first_row", "end_row", "source_rows")}
    connection.execute(
        update(loads).where(loads.c.load_id == load_id).values(correction=dict(facts), **rows)
    )


def slices_by_share(
    connection: Connection, dataset: str, increment: Increment, load_id: str
) -> tuple[dict[Decimal, RowRange], set[Decimal]]:
    """The shares that are published or on their way, with their rows; and those refused.

    Without the load `load_id` itself. Where a slice is published and also on its way, the published
    one counts: the other may still be rejected.
    """
    query = text("""
        SELECT DISTINCT ON (l.slice_key) l.slice_key, l.first_row, l.end_row,
            l.status = ANY (:held) AS is_held
        FROM headrace.loads AS l
        LEFT JOIN headrace.slices AS s ON s.dataset = l.dataset AND s.load_id = l.load_id
        WHERE l.dataset = :dataset AND l.load_id <> :load_id
            AND (l.status = ANY (:held) AND l.end_row IS NOT NULL OR l.status = ANY (:refused))
        ORDER BY l.slice_key, s.load_id IS NULL, l.status <> :published,
            l.status <> ALL (:held), l.revision DESC NULLS LAST, l.started_at DESC
    """)
    parameters = {
        "dataset": dataset,
        "load_id": load_id,
        "held": [status.value for status in (LoadStatus.PUBLISHED, *IN_PROGRESS)],
        "refused": [status.value for status in REFUSED],
        "published": LoadStatus.PUBLISHED.value,
    }
    held, refused = {}, set()
    for row in connection.execute(query, parameters):
        try:
            share = increment.share(row.slice_key)
        except ValueError:  # from before the spec had an increment
            continue
        if row.is_held:
            held[share] = RowRange(row.first_row, row.end_row)
        else:
            refused.add(share)
    return held, refused


def keep_quarantined(
    connection: Connection, load_id: str, dataset: str, tables: Sequence[StagedTable]
) -> None:
    """Write the quarantined rows that are kept, by file and record."""
    rows: list[dict[str, Any]] = [
        {
            "load_id": load_id,
            "dataset": dataset,
            "table_name": staged.table,
            "file": row.file,
            "record_number": row.record_number,
            "column_name": row.column,
            "code": row.code.value,
            "reason": row.reason,
            "raw": row.raw,
        }
        for staged in tables
        for row in sorted(staged.quarantine.rows, key=lambda row: (row.file, row.record_number))
    ]
    if rows:
        connection.execute(insert(quarantined_rows), rows)


def count_staged(connection: Connection, dataset: str, staged: StagedTable) -> int:
    """How many rows the staging table has.

    Raises `InconsistentState` where they and the quarantined ones are not all the rows of the
    input.
    """
    name = quoted(staging_schema(dataset), staged.name)
    rows_loaded = int(connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one())
    if rows_loaded + staged.quarantine.count != staged.rows_in:
        raise InconsistentState(
            f"table {staged.table}: {staged.rows_in} rows in, but {rows_loaded} in staging and "
            f"{staged.quarantine.count} in quarantine"
        )
    return rows_loaded


def record_rows(connection: Connection, load_id: str, tables: Sequence[TableLoad]) -> None:
    """Put the counts, by table and in all, on the load."""
    connection.execute(
        update(loads)
        .where(loads.c.load_id == load_id)
        .values(
            rows_in=sum(table.rows_in for table in tables),
            rows_loaded=sum(table.rows_loaded for table in tables),
            rows_quarantined=sum(table.rows_quarantined for table in tables),
            tables=[table.model_dump(mode="json") for table in tables],
        )
    )
