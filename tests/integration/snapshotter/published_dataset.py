"""A dataset to publish into, driven through the handler as the runtime would, without a broker."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Engine, insert, text

from services.snapshotter.handlers import Snapshotter
from services.snapshotter.history import state_query
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.envelope import Event
from shared.contracts.events import TableLoad, Validated, WithdrawalAdmitted
from shared.contracts.manifest import SnapshotManifest
from shared.database.dataset_tables import (
    column_list,
    create_staging,
    ensure_dataset,
    quoted,
    staging_schema,
    staging_table,
)
from shared.database.statuses import LoadKind, LoadStatus
from shared.database.tables import loads
from shared.messaging.unit_of_work import UnitOfWork
from shared.object_store import ObjectStore, ObjectUri

Rows = Sequence[tuple[Any, ...]]


def spec_of(dataset: str, tables: Mapping[str, Any]) -> DatasetSpec:
    """A spec with these tables and dated slices."""
    naming = {"pattern": "{date:%Y-%m-%d}"}
    return DatasetSpec.model_validate(
        {"dataset": dataset, "slices": {"naming": naming}, "tables": tables}
    )


@dataclass
class Dataset:
    """A dataset on the test's servers. Rows are tuples of values in the order of the columns."""

    spec: DatasetSpec
    engine: Engine
    store: ObjectStore
    datasets_dir: Path
    row_group_rows: int = 1000
    revisions: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        content = json.dumps(self.spec.model_dump(mode="json"))
        (self.datasets_dir / f"{self.spec.dataset}.yaml").write_text(content)
        with self.engine.begin() as connection:
            ensure_dataset(connection, self.spec)

    @property
    def snapshotter(self) -> Snapshotter:
        return Snapshotter(self.datasets_dir, self.store, self.row_group_rows)

    def stage(
        self,
        as_of: date,
        tables: Mapping[str, Rows | None],
        *,
        load_id: str = "",
        slice_key: str = "",
    ) -> Event[Validated]:
        """Stage a slice as the ingestor does, None for an absent table; its `validated` event."""
        load_id, slice_key = load_id or str(uuid4()), slice_key or as_of.isoformat()
        revision = self.revisions[slice_key] = self.revisions.get(slice_key, 0) + 1
        parts = []
        with self.engine.begin() as connection:
            for name, rows in tables.items():
                for statement in create_staging(self.spec, name, load_id):
                    connection.execute(text(statement))
                staged = quoted(staging_schema(self.spec.dataset), staging_table(name, load_id))
                columns = list(self.spec.tables[name].columns)
                if rows:
                    values = ", ".join(f":c{i}" for i in range(len(columns)))
                    connection.execute(
                        text(
                            f"INSERT INTO {staged} ({column_list(columns)}, record_number) "
                            f"VALUES ({values}, :number)"
                        ),
                        [
                            {"number": n, **{f"c{i}": _exact(value) for i, value in enumerate(row)}}
                            for n, row in enumerate(rows, 1)
                        ],
                    )
                connection.execute(text(f"ANALYZE {staged}"))
                count = len(rows or ())
                parts.append(
                    TableLoad(
                        table=name,
                        staging_table=staging_table(name, load_id),
                        rows_in=count,
                        rows_loaded=count,
                        rows_quarantined=0,
                        present=rows is not None,
                    )
                )
            connection.execute(
                insert(loads).values(
                    load_id=load_id,
                    dataset=self.spec.dataset,
                    slice_key=slice_key,
                    as_of=as_of,
                    revision=revision,
                    status=LoadStatus.VALIDATED.value,
                    source_uri="file:///nowhere",
                    requested_by="test",
                    content_sha256="0" * 64,
                    requested_at=datetime.now(UTC),
                )
            )
        payload = Validated(
            dataset=self.spec.dataset,
            slice_key=slice_key,
            load_id=load_id,
            as_of=as_of,
            expectations=0,
            report_uri="s3://nowhere/report.json",
            tables=tuple(parts),
        )
        return Event(payload, source="validator", time=datetime.now(UTC), correlation_id=load_id)

    def handle(self, event: Event[Validated]) -> None:
        """Have the handler do the event."""
        unit = UnitOfWork(self.engine, "snapshotter", event, lambda: datetime.now(UTC))
        self.snapshotter.on_validated(event, unit)

    def publish(
        self, as_of: date, tables: Mapping[str, Rows | None], *, slice_key: str = ""
    ) -> "Published":
        """Stage a slice and publish it."""
        event = self.stage(as_of, tables, slice_key=slice_key)
        self.handle(event)
        return self.published(event.payload.load_id)

    def admit_withdrawal(self, slice_key: str) -> Event[WithdrawalAdmitted]:
        """What the stages before record of a withdrawal; the event that it is its turn."""
        load_id = str(uuid4())
        with self.engine.begin() as connection:
            connection.execute(
                insert(loads).values(
                    load_id=load_id,
                    dataset=self.spec.dataset,
                    slice_key=slice_key,
                    status=LoadStatus.VALIDATED.value,
                    kind=LoadKind.WITHDRAWAL.value,
                    source_uri="file:///nowhere",
                    requested_by="test",
                    requested_at=datetime.now(UTC),
                )
            )
        payload = WithdrawalAdmitted(
            dataset=self.spec.dataset, slice_key=slice_key, load_id=load_id
        )
        return Event(payload, source="validator", time=datetime.now(UTC), correlation_id=load_id)

    def handle_withdrawal(self, event: Event[WithdrawalAdmitted]) -> None:
        """Have the handler do the event."""
        unit = UnitOfWork(self.engine, "snapshotter", event, lambda: datetime.now(UTC))
        self.snapshotter.on_withdrawal_admitted(event, unit)

    def withdraw(self, slice_key: str) -> "Published":
        """Withdraw a published slice; what the control tables say of it."""
        event = self.admit_withdrawal(slice_key)
        self.handle_withdrawal(event)
        return self.published(event.payload.load_id)

    def published(self, load_id: str) -> "Published":
        """What the control tables say of a published load."""
        row = self.query(
            """
            SELECT s.as_of, s.known_at, s.manifest_uri, s.manifest_sha256, l.changes, l.status
            FROM headrace.snapshots AS s JOIN headrace.loads AS l USING (load_id)
            WHERE s.load_id = :load_id
            """,
            load_id=load_id,
        )[0]
        return Published(load_id, *row)

    def query(self, sql: str, **parameters: Any) -> list[Any]:
        """The rows of a query."""
        with self.engine.connect() as connection:
            return list(connection.execute(text(sql), parameters))

    def scalar(self, sql: str, **parameters: Any) -> Any:
        """The one value of a query."""
        return self.query(sql, **parameters)[0][0]

    def name(self, relation: str) -> str:
        """The quoted name of one of the dataset's relations."""
        return quoted(self.spec.dataset, relation)

    def current(self, table: str) -> list[tuple[Any, ...]]:
        """The current rows, sorted."""
        columns = column_list(self.spec.tables[table].columns)
        return sorted(map(tuple, self.query(f"SELECT {columns} FROM {self.name(table)}")), key=repr)

    def state(self, table: str, as_of: date, known_at: datetime) -> list[tuple[Any, ...]]:
        """The rows that the history gives for a snapshot, sorted."""
        query = state_query(self.spec, table)
        return sorted(map(tuple, self.query(query, as_of=as_of, known_at=known_at)), key=repr)

    def snapshot_rows(self, table: str, as_of: date) -> list[tuple[Any, ...]]:
        """The rows of the view `<table>_snapshots` at a date, sorted."""
        columns = column_list(self.spec.tables[table].columns)
        query = f"SELECT {columns} FROM {self.name(table + '_snapshots')} WHERE as_of = :as_of"
        return sorted(map(tuple, self.query(query, as_of=as_of)), key=repr)

    def manifest(self, published: "Published") -> SnapshotManifest:
        """The manifest, checked against its digest."""
        data = self.store.get_bytes(ObjectUri.parse(published.manifest_uri))
        return SnapshotManifest.from_bytes(
            data, uri=published.manifest_uri, sha256=published.manifest_sha256
        )

    def exported(self, published: "Published", table: str) -> pa.Table:
        """The exported rows of a table, in the order of the files."""
        parts = [
            pq.read_table(pa.BufferReader(self.store.get_bytes(ObjectUri.parse(part.uri))))
            for part in self.manifest(published).tables[table].parts
        ]
        return pa.concat_tables(parts)

    def exported_rows(self, published: "Published", table: str) -> list[tuple[Any, ...]]:
        """The exported rows as tuples, in the order of the files."""
        return [tuple(row.values()) for row in self.exported(published, table).to_pylist()]


@dataclass(frozen=True)
class Published:
    """A published load and its snapshot."""

    load_id: str
    as_of: date
    known_at: datetime
    manifest_uri: str
    manifest_sha256: str
    changes: dict[str, dict[str, int]]
    status: str


MakeDataset = Callable[..., Dataset]


def _exact(value: Any) -> Any:
    """The value as a parameter that loses nothing: as a number, -0.0 would lose its sign."""
    return repr(value) if isinstance(value, float) else value
