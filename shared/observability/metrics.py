"""The metrics of a service, a closed list. One registry a process, made by the composition root."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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
        self.lag = Gauge(
            "headrace_lag_records",
            "Records waiting, by topic",
            ["service", "topic"],
            registry=self.registry,
        )

    def count(self, service: str, event_type: str, outcome: Outcome) -> None:
        """Count one record."""
        self.events.labels(service, event_type or "undecodable", outcome.value).inc()
