"""What the trainer keeps in the control tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, func, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from shared.contracts.decisions import Decision
from shared.contracts.manifest import DatasetManifest
from shared.database.tables import loads, promotions, snapshots, training_datasets

_EARLIER_SLICES = """
    SELECT count(*)
    FROM headrace.slices AS s
    JOIN headrace.loads AS l USING (load_id)
    WHERE s.dataset = :dataset AND s.slice_key <> :slice_key
        AND CASE
            WHEN CAST(:percentage AS double precision) IS NULL THEN s.as_of < :as_of
            ELSE l.percentage < :percentage
        END
"""


_DECIDED_AT = """
    (
        SELECT greatest(clock_timestamp(), max(other.decided_at) + INTERVAL '1 microsecond')
        FROM headrace.promotions AS other
        WHERE other.model_name = :of_model
    )
"""


@dataclass(frozen=True)
class SliceStanding:
    """Where a slice stands among those of its dataset."""

    week: int
    """How many published slices come before it, so 0 for the first: by the share they reach where
    slices are increments, by their `as_of` otherwise."""
    percentage: float | None
    """The share of the source that is reached with it; None where slices are no increments."""


def slice_standing(
    connection: Connection, dataset: str, slice_key: str, load_id: str, as_of: date
) -> SliceStanding:
    """Where the slice of a load stands now; a slice that comes late moves those after it."""
    percentage = connection.execute(
        select(loads.c.percentage).where(loads.c.load_id == load_id)
    ).scalar()
    week = connection.execute(
        text(_EARLIER_SLICES),
        {"dataset": dataset, "slice_key": slice_key, "as_of": as_of, "percentage": percentage},
    ).scalar_one()
    return SliceStanding(week, percentage)


def newest_snapshot(connection: Connection, dataset: str, until: date | None) -> RowMapping | None:
    """The dataset's snapshot of the latest date, at or before `until` if given, and of several of
    that date the one last known.
    """
    query = (
        select(snapshots)
        .where(snapshots.c.dataset == dataset)
        .order_by(snapshots.c.as_of.desc(), snapshots.c.known_at.desc())
        .limit(1)
    )
    if until is not None:
        query = query.where(snapshots.c.as_of <= until)
    return connection.execute(query).mappings().first()


def keep_dataset(
    connection: Connection,
    manifest: DatasetManifest,
    *,
    snapshot_id: str,
    manifest_uri: str,
    run_id: str,
) -> None:
    """Record the dataset; where it is known already, the snapshot that gave it first stays."""
    connection.execute(
        upsert(training_datasets)
        .values(
            dataset=manifest.dataset,
            dataset_version=manifest.dataset_version,
            snapshot_id=snapshot_id,
            as_of=manifest.as_of,
            manifest_uri=manifest_uri,
            train_uri=manifest.train.uri,
            test_uri=manifest.test.uri,
            train_rows=manifest.train.rows,
            test_rows=manifest.test.rows,
            class_counts=manifest.class_counts,
            run_id=run_id,
        )
        .on_conflict_do_nothing()
    )


def keep_promotion(connection: Connection, **values: Any) -> None:
    """Record a decision; `values` are the columns of `promotions`.

    It is later than every other one about the model, also where the clock was put back: the order
    of the decisions says who was champion before whom. To be called under the model's lock.
    """
    decided_at = text(_DECIDED_AT).bindparams(of_model=values["model_name"])
    connection.execute(insert(promotions).values(decided_at=decided_at, **values))


def decisions(connection: Connection, model: str) -> list[tuple[str, Decision]]:
    """(version, decision) of everything decided about `model`, in order."""
    query = (
        select(promotions.c.model_version, promotions.c.decision)
        .where(promotions.c.model_name == model)
        .order_by(promotions.c.decided_at)
    )
    return [(version, Decision(decision)) for version, decision in connection.execute(query)]


def latest_promotion(connection: Connection, model: str, version: str) -> RowMapping | None:
    """The newest decision about a version, with the `slice_key` of its load."""
    query = (
        select(promotions, func.coalesce(loads.c.slice_key, "").label("slice_key"))
        .outerjoin_from(promotions, loads, loads.c.load_id == promotions.c.load_id)
        .where(promotions.c.model_name == model, promotions.c.model_version == version)
        .order_by(promotions.c.decided_at.desc())
        .limit(1)
    )
    return connection.execute(query).mappings().first()


def kept_digest(connection: Connection, model: str, version: str) -> str | None:
    """The SHA-256 of the version's file as it was first recorded; None where it never was."""
    query = (
        select(promotions.c.model_sha256)
        .where(
            promotions.c.model_name == model,
            promotions.c.model_version == version,
            promotions.c.model_sha256.is_not(None),
        )
        .order_by(promotions.c.decided_at)
        .limit(1)
    )
    return connection.execute(query).scalar()


@contextmanager
def registry_lock(engine: Engine, model: str) -> Iterator[Connection]:
    """Hold the registered model for oneself: of two who register, decide or move an alias, the
    second waits. Gives the connection that holds the lock, whose transaction ends with the block.
    """
    with engine.begin() as connection:
        lock_model(connection, model)
        yield connection


def lock_model(connection: Connection, model: str) -> None:
    """Hold the registered model, as `registry_lock` does, until this transaction ends."""
    _lock(connection, f"headrace.model/{model}")


@contextmanager
def building_lock(engine: Engine, dataset: str) -> Iterator[Connection]:
    """Hold the making of a dataset on demand for oneself: of two who ask, the second waits.

    Gives the connection that holds the lock, whose transaction ends with the block.
    """
    with engine.begin() as connection:
        _lock(connection, f"headrace.dataset/{dataset}")
        yield connection


def _lock(connection: Connection, name: str) -> None:
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name}
    )
