"""What stands in the database, as gauges that are read at scrape time.

A scrape never waits long for them: they are read in a thread of their own, with a limit for each
statement, and what isn't there in time is left out. `headrace_state_up` says whether it is there.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from shared.observability.logs import REPEATS

logger = logging.getLogger(__name__)

WAIT_SECONDS = 1.0
"""What a scrape waits for the database."""
STATEMENT_SECONDS = 5.0
"""What a statement may take; later scrapes then have its answer."""
FRESH_SECONDS = 5.0
"""Younger values are given again, so that two who scrape cost no more than one."""
STALE_SECONDS = 60.0
"""Older values aren't given any more."""


@dataclass(frozen=True)
class StateMetric:
    """A gauge: what a query's rows say in `value`, by the columns that are its labels."""

    name: str
    documentation: str
    labels: tuple[str, ...]
    query: str
    """With `:service`, the service that asks. Its rows must be few, however much is stored."""


OF_EVERY_SERVICE = (
    StateMetric(
        "headrace_outbox_events",
        "Events of the service that are committed and not yet published",
        ("service",),
        """
        SELECT CAST(:service AS text) AS service, count(*) AS value
        FROM headrace.outbox WHERE source = :service AND published_at IS NULL
        """,
    ),
    StateMetric(
        "headrace_outbox_age_seconds",
        "Age of the oldest of them; 0 where there is none",
        ("service",),
        """
        SELECT CAST(:service AS text) AS service,
               coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0) AS value
        FROM headrace.outbox WHERE source = :service AND published_at IS NULL
        """,
    ),
    StateMetric(
        "headrace_dead_letters_open",
        "Records that the service gave up, neither redriven nor dropped",
        ("service",),
        """
        SELECT CAST(:service AS text) AS service, count(*) AS value
        FROM headrace.dead_letters
        WHERE service = :service AND redriven_at IS NULL AND dropped_at IS NULL
        """,
    ),
)
OF_SLICES = (
    StateMetric(
        "headrace_slices",
        "Slices by what became of their newest load",
        ("dataset", "status"),
        """
        SELECT dataset, status, count(*) AS value
        FROM (
            SELECT DISTINCT ON (dataset, slice_key) dataset, slice_key, status
            FROM headrace.loads
            WHERE status <> 'unchanged'
            ORDER BY dataset, slice_key, started_at DESC
        ) AS newest
        GROUP BY dataset, status
        """,
    ),
)
OF_MODELS = (
    StateMetric(
        "headrace_model_score",
        "Score of the champion, when that was decided, and of the newest version",
        ("dataset", "model", "metric", "which"),
        """
        WITH models AS (SELECT DISTINCT dataset, model_name FROM headrace.promotions)
        SELECT m.dataset, m.model_name AS model, p.metric, w.which, p.score AS value
        FROM models AS m
        CROSS JOIN (VALUES ('champion'), ('newest')) AS w (which)
        CROSS JOIN LATERAL (
            SELECT metric, score
            FROM headrace.promotions AS p
            WHERE p.model_name = m.model_name AND (w.which = 'newest' OR p.promoted)
            ORDER BY decided_at DESC
            LIMIT 1
        ) AS p
        """,
    ),
    StateMetric(
        "headrace_drifted_features",
        "Features, and the target, that have drifted by the newest comparison with a champion",
        ("dataset",),
        """
        SELECT d.dataset, count(DISTINCT d.feature) FILTER (WHERE d.is_drifted) AS value
        FROM (SELECT DISTINCT dataset FROM headrace.promotions) AS p
        CROSS JOIN LATERAL (
            SELECT snapshot_id, baseline_version
            FROM headrace.drift
            WHERE dataset = p.dataset
            ORDER BY measured_at DESC
            LIMIT 1
        ) AS n
        JOIN headrace.drift AS d
            ON d.dataset = p.dataset AND d.snapshot_id = n.snapshot_id
            AND d.baseline_version = n.baseline_version
        GROUP BY d.dataset
        """,
    ),
)
UP = ("headrace_state_up", "Whether what stands in the database could be read")
AGE = ("headrace_state_age_seconds", "How long ago it was read")


class StateCollector(Collector):
    """The gauges of one service. Thread-safe."""

    def __init__(
        self,
        engine: Engine,
        service: str,
        metrics: Sequence[StateMetric],
        *,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._engine = engine
        self._service = service
        self._metrics = tuple(metrics)
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._reading: threading.Thread | None = None
        self._read: tuple[GaugeMetricFamily, ...] = ()
        self._read_at = float("-inf")

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The gauges without values: registering must not ask the database."""
        yield from (_family(metric) for metric in self._metrics)
        yield from (_of_service(named, self._service, None) for named in (UP, AGE))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What the database said within the last minute, and of when that is."""
        thread = self._begin()
        if thread is not None:
            thread.join(self._wait_seconds)
        with self._lock:
            families, age = self._read, time.monotonic() - self._read_at
        is_up = age < STALE_SECONDS
        if is_up:
            yield from families
            yield _of_service(AGE, self._service, age)
        yield _of_service(UP, self._service, float(is_up))

    def _begin(self) -> threading.Thread | None:
        """The thread that reads, a new one where none does; None where there is no need."""
        with self._lock:
            if time.monotonic() - self._read_at < FRESH_SECONDS:
                return None
            if self._reading is None or not self._reading.is_alive():
                self._reading = threading.Thread(target=self._refresh, name="state", daemon=True)
                self._reading.start()
            return self._reading

    def _refresh(self) -> None:
        begun = time.monotonic()
        try:
            families = tuple(self._families())
        except SQLAlchemyError as error:
            logger.warning("no metrics of what is in the database: %s", error, extra=REPEATS)
            return
        with self._lock:
            self._read, self._read_at = families, begun

    def _families(self) -> Iterator[GaugeMetricFamily]:
        with self._engine.connect() as connection:
            limit = text("SELECT set_config('statement_timeout', :milliseconds, TRUE)")
            connection.execute(limit, {"milliseconds": str(round(STATEMENT_SECONDS * 1000))})
            for metric in self._metrics:
                family = _family(metric)
                for row in connection.execute(text(metric.query), {"service": self._service}):
                    found = row._mapping
                    family.add_metric(
                        [str(found[label]) for label in metric.labels], float(found["value"])
                    )
                yield family


def _family(metric: StateMetric) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.documentation, labels=metric.labels)


def _of_service(named: tuple[str, str], service: str, value: float | None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(*named, labels=("service",))
    if value is not None:
        family.add_metric([service], value)
    return family
