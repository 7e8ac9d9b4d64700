"""The control tables, in the schema `headrace`. A test keeps `migrations/` in step with them."""

from shared.database.tables.base import SCHEMA, metadata
from shared.database.tables.events import (
    audit,
    dead_letters,
    inbox,
    notifications,
    outbox,
    prunings,
    schedule_runs,
    schedules,
)
from shared.database.tables.slices import (
    datasets,
    images,
    loads,
    quarantined_rows,
    slices,
    source_indexes,
    stage_runs,
    table_profiles,
    validation_results,
)
from shared.database.tables.versions import (
    coverage,
    drift,
    promotions,
    snapshots,
    training_datasets,
)

__all__ = [
    "SCHEMA",
    "audit",
    "coverage",
    "datasets",
    "dead_letters",
    "drift",
    "images",
    "inbox",
    "loads",
    "metadata",
    "notifications",
    "outbox",
    "promotions",
    "prunings",
    "quarantined_rows",
    "schedule_runs",
    "schedules",
    "slices",
    "snapshots",
    "source_indexes",
    "stage_runs",
    "table_profiles",
    "training_datasets",
    "validation_results",
]
