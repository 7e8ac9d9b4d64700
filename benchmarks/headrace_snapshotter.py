"""The snapshotter's part of a load: `on_validated`, as its service runs it."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from benchmarks.dataset import TABLE
from benchmarks.service_resources import resources_for
from benchmarks.stopwatch import Stopwatch
from services.snapshotter import app, handlers
from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.events import SliceLoaded, Validated
from shared.database.tables import loads
from shared.messaging.unit_of_work import UnitOfWork
from shared.service import Resources

EXPORT = "Parquet export to S3"


def make() -> "Publish":
    """The role in `benchmarks.worker`."""
    return Publish(resources_for("snapshotter"))


class Publish:
    """Publishes the slice that the `slice-loaded` payload `loaded` names.

    Answers with the seconds, those of the export apart, and what became of the rows.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._handler = app.build(resources).handlers[Validated]
        self._watch = Stopwatch()
        self._watch.watch(handlers, "merge", "merge with history")
        self._watch.watch(handlers, "export", EXPORT)
        self._watch.watch_statements(resources.engine)

    def __call__(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Do one load."""
        loaded = SliceLoaded.model_validate(task["loaded"])
        payload = Validated(
            dataset=loaded.dataset,
            slice_key=loaded.slice_key,
            load_id=loaded.load_id,
            as_of=loaded.as_of,
            expectations=0,
            report_uri="s3://nowhere/report.json",
            tables=loaded.tables,
        )
        event = Event(payload, source="benchmark", time=utc_now(), correlation_id=loaded.load_id)
        unit = UnitOfWork(self._resources.engine, "snapshotter", event, utc_now)
        begun = time.perf_counter()
        self._handler(event, unit)
        seconds = time.perf_counter() - begun
        steps = self._watch.take()
        export = steps.pop(EXPORT)
        return {
            "seconds": seconds - export,
            "apart": {EXPORT: export},
            "steps": steps,
            "changes": self._changes(loaded.load_id),
        }

    def _changes(self, load_id: str) -> dict[str, int]:
        query = select(loads.c.changes).where(loads.c.load_id == load_id)
        with self._resources.engine.connect() as connection:
            changes: dict[str, dict[str, int]] = connection.execute(query).scalar_one()
        return changes[TABLE]
