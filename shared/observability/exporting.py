"""The only importer of OpenTelemetry's SDK. A provider of our own: nothing global is set."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from shared import __version__
from shared.observability.tracing import TraceParent
from shared.settings import Settings

_DELAY_MS = 1_000
"""Between two exports: so much at most is lost with a process that is killed."""
_TIMEOUT_SECONDS = 5.0
_KINDS = {
    "consumer": trace.SpanKind.CONSUMER,
    "producer": trace.SpanKind.PRODUCER,
}


class _Ids(RandomIdGenerator):
    """Random ids, but for the span that a thread is about to make with one of its own."""

    def __init__(self) -> None:
        self.chosen = threading.local()

    def generate_trace_id(self) -> int:
        wanted: TraceParent | None = getattr(self.chosen, "span", None)
        return int(wanted.trace_id, 16) if wanted else super().generate_trace_id()

    def generate_span_id(self) -> int:
        wanted: TraceParent | None = getattr(self.chosen, "span", None)
        return int(wanted.span_id, 16) if wanted else super().generate_span_id()


class Exporting:
    """Makes spans and sends them from a thread of its own. A collector that is away costs spans,
    and a line in the log, and nothing else.
    """

    def __init__(self, settings: Settings, service: str) -> None:
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource(
                {
                    "service.namespace": "headrace",
                    "service.name": service,
                    "service.instance.id": settings.replica(),
                    "service.version": __version__,
                }
            ),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        exporter = OTLPSpanExporter(
            endpoint=f"{settings.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces",
            timeout=_TIMEOUT_SECONDS,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, schedule_delay_millis=_DELAY_MS)
        )
        self._tracer = self._provider.get_tracer("headrace", __version__)

    @contextmanager
    def step(
        self, name: str, parent: TraceParent, attributes: Mapping[str, str | int | float | bool]
    ) -> Iterator[TraceParent]:
        """A span for the block, with an id of its own, which it gives."""
        with self._tracer.start_as_current_span(
            name, context=_below(parent), attributes=dict(attributes), end_on_exit=True
        ) as span:
            made = span.get_span_context()
            yield TraceParent(f"{made.trace_id:032x}", f"{made.span_id:016x}")

    def ended(
        self,
        name: str,
        kind: Literal["consumer", "producer"],
        *,
        span: TraceParent,
        parent: TraceParent | None,
        begun_ns: int,
        attributes: Mapping[str, str | int | float | bool],
        error: BaseException | None = None,
    ) -> None:
        """A span with the ids of `span` that has begun and ends now."""
        self._ids.chosen.span = span
        try:
            made = self._tracer.start_span(
                name,
                context=_below(parent) if parent else Context(),
                kind=_KINDS[kind],
                attributes=dict(attributes),
                start_time=begun_ns,
            )
        finally:
            self._ids.chosen.span = None
        if error is not None:
            made.record_exception(error)
            said = f"{type(error).__name__}: {error}"
            made.set_status(trace.Status(trace.StatusCode.ERROR, said))
        made.end()

    def shutdown(self) -> None:
        """Export what is left."""
        self._provider.shutdown()


def _below(parent: TraceParent) -> Context:
    known = trace.SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(known), Context())
