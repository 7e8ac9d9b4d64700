"""Spans: one trace from the request of a load to its model, exported by OTLP where it is asked.

The ids of spans follow from those of events, so that no process has to tell another of its spans,
and what a crash or a redrive does again has the id that others know it by:

- an event's `traceparent` names the span of its publishing;
- the parent of that is the span of the handling of its cause, whose id `handling_id` gives;
- the parent of an event's handling is the span that its `traceparent` names;
- the steps of a handler are below its handling, with ids of their own.

Off, every function here is a call and a comparison: the SDK isn't imported.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from shared.contracts.envelope import Event, Headers
from shared.contracts.events import Payload
from shared.observability.tracing import TraceParent
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.observability.exporting import Exporting

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 2.0
"""What the end of a process waits for what isn't exported yet."""
_ID_CHARACTERS = 16
_current: ContextVar[TraceParent | None] = ContextVar("span", default=None)
_exporting: "Exporting | None" = None
Attribute = str | int | float | bool


def configure_traces(settings: Settings, service: str) -> None:
    """Export this process's spans where `otel_exporter_otlp_endpoint` says; for composition roots.

    Where it says nothing, there are none.
    """
    global _exporting
    end_traces()
    if not settings.otel_exporter_otlp_endpoint:
        return
    from shared.observability.exporting import Exporting

    _exporting = Exporting(settings, service)
    logger.info("traces go to %s", settings.otel_exporter_otlp_endpoint)


def end_traces() -> None:
    """Export what is left, within `FLUSH_SECONDS`, and no more from here on."""
    global _exporting
    ending, _exporting = _exporting, None
    if ending is not None:
        thread = threading.Thread(target=ending.shutdown, name="traces", daemon=True)
        thread.start()
        thread.join(FLUSH_SECONDS)


def handling_id(service: str, event_id: str) -> str:
    """The id of the span in which `service` handles the event, as `traceparent` has it."""
    digest = hashlib.sha256(f"headrace/{service}/{event_id}".encode()).hexdigest()
    return digest[:_ID_CHARACTERS]


@contextmanager
def handling(service: str, event: Event[Payload]) -> Iterator[None]:
    """Have the steps of this block be below the event's handling."""
    if _exporting is None:
        yield
        return
    token = _current.set(TraceParent(event.traceparent.trace_id, handling_id(service, event.id)))
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def step(name: str, **attributes: Attribute) -> Iterator[None]:
    """A span for this block, below the handling or the step that it is in. Also as a decorator.

    In a thread that the handler has started there is none.
    """
    exporting, parent = _exporting, _current.get()
    if exporting is None or parent is None:
        yield
        return
    with exporting.step(name, parent, attributes) as span:
        token = _current.set(span)
        try:
            yield
        finally:
            _current.reset(token)


def handled(
    service: str,
    event: Event[Payload],
    *,
    topic: str,
    begun_ns: int,
    attempts: int,
    error: BaseException | None = None,
) -> None:
    """Say that the event was handled, from its first try until now; `error` is why it was given up.

    `begun_ns` is in nanoseconds of the epoch, as `time.time_ns` has it.
    """
    if _exporting is not None:
        _exporting.ended(
            f"process {event.payload.type}",
            "consumer",
            span=TraceParent(event.traceparent.trace_id, handling_id(service, event.id)),
            parent=event.traceparent,
            begun_ns=begun_ns,
            attributes={
                **_of_headers(event.headers(), topic),
                "messaging.operation.type": "process",
                "headrace.attempts": attempts,
            },
            error=error,
        )


def published(headers: Headers, topic: str, begun_ns: int) -> None:
    """Say that the event with these headers is on its topic, since `begun_ns` on its way there."""
    span = TraceParent.parse(headers.get("traceparent", "")) if _exporting is not None else None
    if _exporting is None or span is None:
        return
    cause = headers.get("ce_causationid")
    of_cause = handling_id(headers.get("ce_source", ""), cause) if cause else None
    _exporting.ended(
        f"publish {headers.get('ce_type', topic)}",
        "producer",
        span=span,
        parent=TraceParent(span.trace_id, of_cause) if of_cause else None,
        begun_ns=begun_ns,
        attributes={**_of_headers(headers, topic), "messaging.operation.type": "send"},
    )


def now_ns() -> int:
    """Now, as the spans have it."""
    return time.time_ns()


def _of_headers(headers: Mapping[str, str], topic: str) -> dict[str, Attribute]:
    """What is said of an event, in OpenTelemetry's words where there are any."""
    dataset, _, slice_key = headers.get("ce_subject", "").partition("/")
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "cloudevents.event_id": headers.get("ce_id", ""),
        "cloudevents.event_type": headers.get("ce_type", ""),
        "cloudevents.event_source": headers.get("ce_source", ""),
        "headrace.dataset": dataset,
        "headrace.slice_key": slice_key,
        "headrace.load_id": headers.get("ce_correlationid", ""),
    }
