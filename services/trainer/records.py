"""What the trainer keeps in the control tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, func, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from services.trainer.promotion import Decision
from shared.contracts.manifest import DatasetManifest
from shared.database.tables import loads, promotions, training_datasets


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
    """Record a decision; `values` are the columns of `promotions`."""
    connection.execute(insert(promotions).values(**values))


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


@contextmanager
def registry_lock(engine: Engine, model: str) -> Iterator[Connection]:
    """Hold the registered model for oneself: of two who register, decide or move an alias, the
    second waits. Gives the connection that holds the lock, whose transaction ends with the block.
    """
    with engine.begin() as connection:
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended('headrace.model/' || :model, 0))"),
            {"model": model},
        )
        yield connection
