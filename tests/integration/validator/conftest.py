"""A small dataset, staged row by row as the ingestor would have staged it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from ruamel.yaml import YAML
from sqlalchemy import Engine, insert, text

from services.validator.handlers import Validator
from services.validator.suites import Suites
from shared.contracts.envelope import Event, Record, decode
from shared.contracts.events import Payload, SliceLoaded, Stage, TableLoad
from shared.contracts.spec_file import find_spec
from shared.database.dataset_tables import (
    column_list,
    create_staging,
    ensure_dataset,
    quoted,
    staging_schema,
    staging_table,
)
from shared.database.tables import loads, slices
from shared.messaging.unit_of_work import UnitOfWork
from shared.object_store import ObjectStore
from shared.settings import Settings

Rows = Sequence[Mapping[str, Any]]

SHOP = {
    "dataset": "shop",
    "slices": {
        "naming": {"pattern": "day_{index:02d}", "first_as_of": "2024-03-01", "every": "day"}
    },
    "tables": {
        "customers": {
            "key": ["customer_id"],
            "columns": {"customer_id": "string", "email": "string", "joined": "date"},
        },
        "orders": {
            "key": ["order_id"],
            "columns": {"order_id": "integer", "customer_id": "string", "amount": "number"},
            "foreign_keys": [{"columns": ["customer_id"], "table": "customers"}],
            "expectations": [
                {
                    "type": "expect_column_values_to_be_between",
                    "kwargs": {"column": "amount", "min_value": 0},
                }
            ],
        },
    },
}


@dataclass
class Shop:
    """The dataset's spec, staging and published state."""

    settings: Settings
    engine: Engine
    store: ObjectStore
    validator: Validator

    def declare(self, change: Callable[[dict[str, Any]], None] = lambda spec: None) -> None:
        """Write the spec, changed by `change`."""
        declared = json.loads(json.dumps(SHOP))
        change(declared)
        with (self.settings.datasets_dir / "shop.yaml").open("w") as file:
            YAML().dump(declared, file)

    def staged(
        self, slice_key: str, *, as_of: date | None = None, images: Any = None, **tables: Rows
    ) -> Event[Payload]:
        """A slice of these rows in staging; the event that says so. `images` are its counts."""
        load_id = str(uuid4())
        spec = find_spec(self.settings.datasets_dir, "shop")
        as_of = as_of or spec.slices.as_of(slice_key)
        parts = []
        with self.engine.begin() as connection:
            ensure_dataset(connection, spec)
            for table in spec.tables:
                name = staging_table(table, load_id)
                rows = tables.get(table)
                parts.append(
                    TableLoad(
                        table=table,
                        staging_table=name,
                        rows_in=len(rows or ()),
                        rows_loaded=len(rows or ()),
                        rows_quarantined=0,
                        present=rows is not None,
                    )
                )
                if rows is None:
                    continue
                for statement in create_staging(spec, table, load_id):
                    connection.execute(text(statement))
                columns = list(spec.tables[table].columns)
                values = [
                    {f"p{i}": row.get(column) for i, column in enumerate(columns)} | {"n": number}
                    for number, row in enumerate(rows, 1)
                ]
                if values:
                    places = ", ".join(f":p{i}" for i in range(len(columns)))
                    target = quoted(staging_schema("shop"), name)
                    statement = (
                        f"INSERT INTO {target} ({column_list(columns)}, record_number) "
                        f"VALUES ({places}, :n)"
                    )
                    connection.execute(text(statement), values)
            connection.execute(
                insert(loads).values(
                    load_id=load_id,
                    dataset="shop",
                    slice_key=slice_key,
                    as_of=as_of,
                    images=images,
                    revision=1,
                    status="loaded",
                    source_uri="file:///nowhere",
                    requested_by="test",
                    requested_at=datetime.now(UTC),
                )
            )
        payload = SliceLoaded(
            dataset="shop",
            slice_key=slice_key,
            load_id=load_id,
            as_of=as_of,
            revision=1,
            content_sha256="0" * 64,
            landing_uri="s3://landing/shop",
            tables=tuple(parts),
        )
        return Event(
            payload=payload, source="ingestor", time=datetime.now(UTC), correlation_id=load_id
        )

    def validate(self, event: Event[Payload]) -> None:
        """Handle the event as the service does."""
        unit = UnitOfWork(
            self.engine, "validator", event, lambda: datetime.now(UTC), Stage.VALIDATE
        )
        self.validator.on_slice_loaded(event, unit)
        assert unit.is_committed

    def published(self, event: Event[Payload]) -> None:
        """Have the load be what is published of its slice; current rows are as they were."""
        payload = event.payload
        self.sql(
            "UPDATE headrace.loads SET status = 'published' WHERE load_id = :l", l=payload.load_id
        )
        with self.engine.begin() as connection:
            connection.execute(
                insert(slices).values(
                    dataset="shop",
                    slice_key=payload.slice_key,
                    as_of=payload.as_of,
                    revision=1,
                    load_id=payload.load_id,
                    content_sha256=payload.content_sha256,
                    published_at=datetime.now(UTC),
                )
            )

    def current_customer(self, customer_id: str) -> None:
        """Have a customer in the current table."""
        self.sql(
            "INSERT INTO shop.customers (customer_id, as_of, load_id) VALUES (:c, :d, 'before')",
            c=customer_id,
            d=date(2024, 2, 29),
        )

    def sql(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows that a statement gives."""
        with self.engine.begin() as connection:
            found = connection.execute(text(statement), parameters)
            return [dict(row) for row in found.mappings()] if found.returns_rows else []

    def emitted(self) -> list[Event[Payload]]:
        """The events in the outbox, decoded as a consumer would."""
        return [
            decode(Record(row["topic"], 0, 0, None, row["headers"], bytes(row["value"])))
            for row in self.sql("SELECT * FROM headrace.outbox ORDER BY outbox_id")
        ]

    def results(self) -> list[dict[str, Any]]:
        """The validation results, in their order."""
        return self.sql("SELECT * FROM headrace.validation_results ORDER BY result_id")


@pytest.fixture
def shop(settings: Settings, engine: Engine, store: ObjectStore, tmp_path: Path) -> Shop:
    settings = settings.model_copy(update={"datasets_dir": tmp_path})
    suites = Suites(engine, failing_keys_kept=settings.failing_keys_kept)
    shop = Shop(settings, engine, store, Validator(settings, store, suites))
    shop.declare()
    return shop


@pytest.fixture
def customers() -> Rows:
    return [
        {"customer_id": f"C{n}", "email": f"c{n}@example.org", "joined": date(2024, 1, n)}
        for n in range(1, 11)
    ]


@pytest.fixture
def orders() -> Rows:
    return [
        {"order_id": n, "customer_id": f"C{1 + n % 10}", "amount": 10.5 * n} for n in range(1, 21)
    ]
