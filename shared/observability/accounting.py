"""What is counted of the events that a service emits: rows, slices, models, the time of it all.

Counted once the effect has committed, from the payloads that go out with it: no handler counts.
"""

import logging
from collections.abc import Iterable

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from shared.contracts.events import (
    ModelPublished,
    Payload,
    SliceLoaded,
    SliceRejected,
    Snapshotted,
    TableChanges,
)
from shared.observability.metrics import Metrics

logger = logging.getLogger(__name__)

# Of a load that is trained on again, as after a replay, the first time was what people waited for.
_WAITED = """
    SELECT extract(epoch FROM clock_timestamp() - l.requested_at)
    FROM headrace.loads AS l
    WHERE l.load_id = :load_id
        AND (SELECT count(*) FROM headrace.promotions AS p WHERE p.load_id = l.load_id) = 1
"""


class Accounting:
    """Counts what was committed, in `metrics`. Never raises: an effect stands, counted or not."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics

    def committed(self, payloads: Iterable[Payload]) -> None:
        """Count what was committed together with these payloads."""
        for payload in payloads:
            if isinstance(payload, SliceLoaded):
                self._loaded(payload)
            elif isinstance(payload, SliceRejected):
                self._metrics.slices.labels(payload.dataset, "rejected").inc()
            elif isinstance(payload, Snapshotted):
                self._snapshotted(payload)
            elif isinstance(payload, ModelPublished):
                self._published(payload)

    def _loaded(self, payload: SliceLoaded) -> None:
        for table in payload.tables:
            self._metrics.rows.labels(payload.dataset, "loaded").inc(table.rows_loaded)
            self._metrics.rows.labels(payload.dataset, "quarantined").inc(table.rows_quarantined)

    def _snapshotted(self, payload: Snapshotted) -> None:
        outcome = "withdrawn" if payload.withdrawn_loads else "published"
        self._metrics.slices.labels(payload.dataset, outcome).inc()
        for changes in payload.changes.values():
            for change in TableChanges.model_fields:
                self._metrics.changes.labels(payload.dataset, change).inc(getattr(changes, change))

    def _published(self, payload: ModelPublished) -> None:
        self._metrics.models.labels(payload.dataset, payload.decision).inc()
        try:
            with self._engine.connect() as connection:
                waited = connection.execute(text(_WAITED), {"load_id": payload.load_id}).scalar()
        except SQLAlchemyError as error:
            logger.warning("not counted how long %s took: %s", payload.load_id, error)
            return
        if waited is not None:
            self._metrics.end_to_end_seconds.labels(payload.dataset).observe(float(waited))
