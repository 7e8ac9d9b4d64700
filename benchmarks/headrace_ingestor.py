"""The ingestor's part of a load: `on_load_requested`, as its service runs it."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from benchmarks.dataset import DATASET
from benchmarks.service_resources import resources_for
from benchmarks.stopwatch import Stopwatch
from services.ingestor import app, handlers, loads, staging
from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.events import LoadRequested, SliceLoaded
from shared.database.tables import outbox
from shared.messaging.unit_of_work import UnitOfWork
from shared.reading import records
from shared.service import Resources

LANDING = "landing copy to S3"


def make() -> "Ingest":
    """The role in `benchmarks.worker`."""
    return Ingest(resources_for("ingestor"))


class Ingest:
    """Loads the folder `source` as the slice `slice_key`, of the benchmark's dataset or `dataset`.

    Answers with the seconds, those of the landing copy apart, and the payload of `slice-loaded`.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._handler = app.build(resources).handlers[LoadRequested]
        self._watch = Stopwatch()
        self._watch.watch(handlers, "spool", "copy of the file, SHA-256")
        self._watch.watch(handlers, "land", LANDING)
        self._watch.watch(handlers, "stage_table", "staging")
        self._watch.watch(records, "survey", "staging: survey of the file")
        self._watch.watch_iterator(records.RecordReader, "batches", "staging: survey and reading")
        self._watch.watch(staging, "typed_rows", "staging: typing, quarantine")
        self._watch.watch(handlers, "quarantine_duplicates", "duplicate keys")
        self._watch.watch(loads, "count_staged", "count of the staged rows")

    def __call__(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Do one load."""
        payload = LoadRequested(
            dataset=task.get("dataset", DATASET),
            slice_key=task["slice_key"],
            source_uri=task["source"],
            requested_by="benchmark",
        )
        event = Event(payload, source="benchmark", time=utc_now())
        unit = UnitOfWork(self._resources.engine, "ingestor", event, utc_now)
        begun = time.perf_counter()
        self._handler(event, unit)
        seconds = time.perf_counter() - begun
        steps = self._watch.take()
        landing = steps.pop(LANDING)
        return {
            "seconds": seconds - landing,
            "apart": {LANDING: landing},
            "steps": steps,
            "loaded": self._loaded(event.id).model_dump(mode="json"),
        }

    def _loaded(self, load_id: str) -> SliceLoaded:
        query = select(outbox.c.value).where(
            outbox.c.topic == SliceLoaded.topic.value,
            outbox.c.headers["ce_correlationid"].astext == load_id,
        )
        with self._resources.engine.connect() as connection:
            value = connection.execute(query).scalar()
        if value is None:
            raise RuntimeError(f"the ingestor did not accept the load {load_id}")
        return SliceLoaded.model_validate_json(value)
