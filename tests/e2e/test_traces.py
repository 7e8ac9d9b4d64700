"""One trace, from the request of a load to its model, as a collector gets it."""

from pathlib import Path
from typing import Any

import pytest

from shared.contracts.topics import CONSUMERS, Topic
from shared.observability.spans import handling_id
from shared.observability.tracing import TraceParent
from tests.e2e.conftest import Headrace
from tests.otlp_receiver import OtlpReceiver, Span
from tests.waiting import wait_until

PATIENCE_SECONDS = 600.0
pytestmark = pytest.mark.timeout(2 * PATIENCE_SECONDS)
STEPS = {
    "ingestor": {"take the files": 1, "land the files": 1, "stage a table": 6},
    "validator": {"audit": 1, "run the suite of a table": 6, "store the report": 1},
    "snapshotter": {"merge a table": 6, "export the snapshot": 1},
    "trainer": {
        "build the dataset": 1,
        "store a side": 2,
        "fit": 1,
        "measure": 1,
        "log the run": 1,
        "register the version": 1,
        "decide": 1,
    },
    "notifier": {},
}


@pytest.fixture(scope="module")
def load(headrace: Headrace, sample_drops: Path) -> dict[str, Any]:
    return dict(headrace.json("load", "traced", "--from", str(sample_drops)))


@pytest.fixture(scope="module")
def trace(headrace: Headrace, load: dict[str, Any], traces: OtlpReceiver) -> list[Span]:
    """The spans of the load's trace, when the last ones are there."""
    row = headrace.query(
        "SELECT headers ->> 'traceparent' AS said FROM headrace.outbox WHERE event_id = :id",
        id=load["load_id"],
    )[0]
    root = TraceParent.parse(row.said)
    assert root is not None

    def found() -> list[Span]:
        of_trace = [span for span in traces.spans if span.trace_id == root.trace_id]
        last = {
            span.service for span in of_trace if span.name == "process headrace.model-published.v1"
        }
        return of_trace if last == set(CONSUMERS[Topic.MODEL_PUBLISHED]) else []

    return wait_until(found, seconds=PATIENCE_SECONDS, what="the last spans of the load")


def events(headrace: Headrace, load: dict[str, Any]) -> list[Any]:
    return headrace.query(
        """
        SELECT event_id, source, topic, headers ->> 'ce_type' AS type,
               headers ->> 'ce_causationid' AS cause, headers ->> 'traceparent' AS traceparent
        FROM headrace.outbox
        WHERE headers ->> 'ce_correlationid' = :id AND topic <> 'drift-detected'
        """,
        id=load["load_id"],
    )


def test_every_event_of_a_load_is_in_one_trace(
    headrace: Headrace, load: dict[str, Any], trace: list[Span], traces: OtlpReceiver
) -> None:
    assert len(events(headrace, load)) == 6
    of_load = [s for s in traces.spans if s.attributes.get("headrace.load_id") == load["load_id"]]
    assert {span.trace_id for span in of_load} == {trace[0].trace_id}
    assert len({span.span_id for span in trace}) == len(trace), "each span is there once"


def test_each_span_is_below_the_one_that_led_to_it(
    headrace: Headrace, load: dict[str, Any], trace: list[Span]
) -> None:
    by_id = {span.span_id: span for span in trace}
    for event in events(headrace, load):
        said = TraceParent.parse(event.traceparent)
        publishing = by_id[said.span_id]
        assert publishing.name == f"publish {event.type}"
        assert publishing.service == event.source
        cause = handling_id(event.source, event.cause) if event.cause else ""
        assert publishing.parent_id == cause
        for consumer in CONSUMERS[Topic(event.topic)]:
            handling = by_id[handling_id(consumer, event.event_id)]
            assert handling.name == f"process {event.type}"
            assert handling.service == consumer
            assert handling.parent_id == publishing.span_id
            assert handling.attributes["headrace.dataset"] == "traced"
            assert handling.attributes["headrace.slice_key"] == load["slice_key"]
            assert handling.attributes["cloudevents.event_id"] == event.event_id
            assert handling.attributes["cloudevents.event_type"] == event.type
    roots = [span for span in trace if span.parent_id not in by_id]
    assert [(span.service, span.name, span.parent_id) for span in roots] == [
        ("cli", "publish headrace.load-requested.v1", "")
    ]


def test_the_steps_of_each_stage_are_below_its_handling(trace: list[Span]) -> None:
    by_id = {span.span_id: span for span in trace}
    found: dict[str, dict[str, int]] = {service: {} for service in STEPS}
    for span in trace:
        if span.name.startswith(("publish", "process")):
            continue
        parent = by_id[span.parent_id]
        assert parent.service == span.service
        assert parent.begun_ns <= span.begun_ns <= span.ended_ns
        assert span.ended_ns <= parent.ended_ns + 1_000_000
        of_service = found[span.service]
        of_service[span.name] = of_service.get(span.name, 0) + 1
    assert found == STEPS
    assert not any(span.is_error for span in trace)
