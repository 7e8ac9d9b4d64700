"""The metrics of a service, a closed list. One registry a process, made by the composition root.

`docs/telemetry.md` describes each of them, and those of `shared.observability.state`; a test holds
page and code together. A label has few values: no load, no slice, no event.
"""

from enum import StrEnum

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

_END_TO_END = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 12 * 3600, 24 * 3600)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Outcome(StrEnum):
    """What became of a record."""

    DONE = "done"
    """Its effect was committed."""
    DUPLICATE = "duplicate"
    """It was done before."""
    DEAD = "dead"
    """It is in the dead letters."""


class Metrics:
    """Prometheus metrics. Durations in seconds."""

    def __init__(self) -> None:
        # Else each counter and histogram has a second series.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.events = Counter(
            "headrace_events",
            "Records by outcome",
            ["service", "type", "outcome"],
            registry=self.registry,
        )
        self.handler_seconds = Histogram(
            "headrace_handler_seconds",
            "Duration of a handler that committed",
            ["service", "type"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.hop_seconds = Histogram(
            "headrace_hop_seconds",
            "From an event's time to the start of its handler",
            ["service", "type"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "headrace_stage_seconds",
            "Duration of a stage of a slice, from its first try to its commit, waits included",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.end_to_end_seconds = Histogram(
            "headrace_end_to_end_seconds",
            "From the request of a load to the decision about its model",
            ["dataset"],
            buckets=_END_TO_END,
            registry=self.registry,
        )
        self.rows = Counter(
            "headrace_rows",
            "Rows of staged slices, loaded or quarantined",
            ["dataset", "outcome"],
            registry=self.registry,
        )
        self.changes = Counter(
            "headrace_changes",
            "Rows of merged slices, by what that did to them",
            ["dataset", "change"],
            registry=self.registry,
        )
        self.slices = Counter(
            "headrace_slices_done",
            "Loads of slices that were published, rejected or withdrawn",
            ["dataset", "outcome"],
            registry=self.registry,
        )
        self.models = Counter(
            "headrace_models",
            "Model versions by the decision about them",
            ["dataset", "decision"],
            registry=self.registry,
        )
        self.build = Gauge(
            "headrace_build_info",
            "1, with the version and the commit that run",
            ["service", "version", "commit"],
            registry=self.registry,
        )
        self.retries = Counter(
            "headrace_retries",
            "Failed tries that were tried again",
            ["service", "route"],
            registry=self.registry,
        )
        self.published = Counter(
            "headrace_published",
            "Events published from the outbox",
            ["service"],
            registry=self.registry,
        )
        self.schedule_runs = Counter(
            "headrace_schedule_runs",
            "Moments of schedules by what became of them",
            ["dataset", "outcome"],
            registry=self.registry,
        )
        self.notifications = Counter(
            "headrace_notifications",
            "Messages handed to targets, by what became of them",
            ["target", "outcome"],
            registry=self.registry,
        )
        self.replica = Gauge(
            "headrace_replica",
            "Partitions that the process has, by its name; 0 where it stands by",
            ["service", "replica"],
            registry=self.registry,
        )
        self.lag = Gauge(
            "headrace_lag_records",
            "Records waiting, by topic",
            ["service", "topic"],
            registry=self.registry,
        )

    def count(self, service: str, event_type: str, outcome: Outcome) -> None:
        """Count one record."""
        self.events.labels(service, event_type or "undecodable", outcome.value).inc()
