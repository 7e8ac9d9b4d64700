"""A small shop whose drops are written by each test and loaded by the real handler."""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, text

from services.ingestor.handlers import Ingestor
from shared.contracts.envelope import Event
from shared.contracts.events import LoadRequested
from shared.database.dataset_tables import quoted, staging_schema, staging_table
from shared.database.tables import inbox, loads, outbox, quarantined_rows
from shared.messaging.unit_of_work import UnitOfWork
from shared.object_store import ObjectStore
from shared.settings import Settings

SHOP: dict[str, Any] = {
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
            "key": ["order_id", "line"],
            "columns": {
                "order_id": "integer",
                "line": "integer",
                "amount": "number",
                "paid": "boolean",
                "at": "timestamp",
            },
        },
    },
}
CUSTOMERS = b"customer_id,email,joined\nc2,two@x.org,2024-01-02\nc1,,2024-01-01\n"
ORDERS = b"order_id,line,amount,paid,at\n1,1,9.5,true,2024-03-01T10:00:00Z\n1,2,,,\n"
DROP = {"customers.csv": CUSTOMERS, "orders.csv": ORDERS}


@dataclass
class Shop:
    """Loads drops of a dataset and looks at what became of them."""

    settings: Settings
    engine: Engine
    store: ObjectStore
    folder: Path
    clock: Callable[[], datetime]
    spec: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(SHOP))

    def write(self, files: Mapping[str, bytes], folder: str = "drop") -> Path:
        """A folder with exactly these files."""
        path = self.folder / folder
        path.mkdir(exist_ok=True)
        for old in path.iterdir():
            old.unlink()
        for name, content in files.items():
            (path / name).write_bytes(content)
        return path

    def event(self, source: object, slice_key: str = "day_00", as_of: date | None = None) -> Any:
        self.write_spec()
        payload = LoadRequested(
            dataset=self.spec["dataset"],
            slice_key=slice_key,
            source_uri=str(source),
            as_of=as_of,
            requested_by="test",
        )
        return Event(payload=payload, source="test", time=datetime.now(UTC))

    def write_spec(self) -> None:
        path = self.settings.datasets_dir / f"{self.spec['dataset']}.yaml"
        path.write_text(json.dumps(self.spec))  # JSON is YAML

    def handle(self, event: Any) -> "Outcome":
        unit = UnitOfWork(self.engine, "ingestor", event, self.clock)
        Ingestor(self.settings, self.store).on_load_requested(event, unit)
        assert unit.is_committed
        return self.outcome(event.id)

    def load(self, files: Mapping[str, bytes], **how: Any) -> "Outcome":
        """Write the drop and load it."""
        return self.handle(self.event(self.write(files), **how))

    def outcome(self, load_id: str) -> "Outcome":
        with self.engine.connect() as connection:
            row = connection.execute(select(loads).where(loads.c.load_id == load_id)).one()
            sent = connection.execute(
                select(outbox.c.topic, outbox.c.value)
                .where(outbox.c.headers["ce_correlationid"].astext == load_id)
                .order_by(outbox.c.outbox_id)
            ).all()
            bad = connection.execute(
                select(quarantined_rows)
                .where(quarantined_rows.c.load_id == load_id)
                .order_by(quarantined_rows.c.quarantine_id)
            ).mappings()
            return Outcome(
                load=dict(row._mapping),
                events=[(topic, json.loads(bytes(value))) for topic, value in sent],
                quarantined=[dict(found) for found in bad],
            )

    def staged(self, load_id: str, table: str) -> list[dict[str, Any]]:
        name = quoted(staging_schema(self.spec["dataset"]), staging_table(table, load_id))
        with self.engine.connect() as connection:
            rows = connection.execute(text(f"SELECT * FROM {name} ORDER BY record_number"))
            return [dict(row._mapping) for row in rows]

    def publish(self, outcome: "Outcome") -> None:
        """What the snapshotter records when it has merged the load."""
        self.run(
            """
            INSERT INTO headrace.slices
            SELECT dataset, slice_key, as_of, revision, load_id, content_sha256, now()
            FROM headrace.loads WHERE load_id = :load_id
            ON CONFLICT (dataset, slice_key) DO UPDATE SET as_of = excluded.as_of,
                revision = excluded.revision, load_id = excluded.load_id,
                content_sha256 = excluded.content_sha256""",
            load_id=outcome.load_id,
        )
        self.run(
            "UPDATE headrace.loads SET status = 'published' WHERE load_id = :load_id",
            load_id=outcome.load_id,
        )

    def run(self, statement: str, **parameters: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), parameters)

    def inbox_size(self) -> int:
        with self.engine.connect() as connection:
            return len(connection.execute(select(inbox)).all())


@dataclass(frozen=True)
class Outcome:
    """What stands in the database about a load."""

    load: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    quarantined: list[dict[str, Any]]

    @property
    def load_id(self) -> str:
        return str(self.load["load_id"])

    @property
    def status(self) -> str:
        return str(self.load["status"])

    @property
    def codes(self) -> list[str]:
        return [reason["code"] for reason in self.load["reasons"] or []]


@pytest.fixture
def shop(
    settings: Settings,
    engine: Engine,
    store: ObjectStore,
    tmp_path: Path,
    clock: Callable[[], datetime],
) -> Shop:
    (tmp_path / "datasets").mkdir()
    own = settings.model_copy(update={"datasets_dir": tmp_path / "datasets"})
    shop = Shop(own, engine, store, tmp_path, clock)
    shop.write_spec()
    return shop
