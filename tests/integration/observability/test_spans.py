"""Spans of one process: which there are, what they say, and what they cost where nobody asks."""

import subprocess
import sys
import threading
import time

import pytest

from shared.clock import utc_now
from shared.contracts.envelope import Event, Record
from shared.contracts.events import LoadRequested, SliceLoaded, Stage
from shared.errors import PermanentError, ServerUnavailable
from shared.messaging.processor import Processor
from shared.messaging.relay import Relay
from shared.observability import spans
from shared.observability.metrics import Metrics
from shared.observability.spans import handling_id, step
from shared.settings import Settings
from tests.conftest import REPOSITORY
from tests.otlp_receiver import OtlpReceiver


@pytest.fixture
def receiver():
    receiver = OtlpReceiver().up()
    yield receiver
    receiver.down()


@pytest.fixture
def exporting(receiver):
    spans.configure_traces(
        Settings(otel_exporter_otlp_endpoint=receiver.url, replica_name="here"), "ingestor"
    )
    yield receiver
    spans.end_traces()


def request():
    payload = LoadRequested(dataset="streams", slice_key="a", source_uri="/drops")
    return Event(payload, source="cli", time=utc_now())


def process(engine, settings, event, handler, metrics=None):
    record = Record("load-requested", 0, 0, b"streams", event.headers(), event.value())
    Processor(
        service="ingestor",
        handlers={LoadRequested: handler},
        stage_of={LoadRequested: Stage.INGEST},
        engine=engine,
        clock=utc_now,
        settings=settings.model_copy(
            update={"retry_floor_seconds": 0.001, "retry_ceiling_seconds": 0.002}
        ),
        metrics=metrics or Metrics(),
        wake_relay=lambda: None,
    ).process(record, threading.Event())


def quietly(event, unit):
    with unit.transaction():
        pass


def emitting(event, unit):
    with step("outer", table="people"), step("inner"):
        pass
    with unit.transaction() as tx:
        tx.emit(
            SliceLoaded(
                dataset="streams", slice_key="a", load_id="l", as_of="2024-01-31", revision=1,
                content_sha256="0", landing_uri="s3://b/k", tables=(),
            )
        )  # fmt: skip


def named(receiver):
    spans.end_traces()
    return {span.name: span for span in receiver.spans}


def test_a_handling_is_below_the_publishing_of_its_event_and_above_its_steps(
    engine, settings, exporting
):
    event = request()
    process(engine, settings, event, emitting)
    found = named(exporting)
    handling = found["process headrace.load-requested.v1"]
    assert handling.service == "ingestor"
    assert handling.trace_id == event.traceparent.trace_id
    assert handling.parent_id == event.traceparent.span_id
    assert handling.span_id == handling_id("ingestor", event.id)
    assert handling.attributes["headrace.attempts"] == 1
    assert handling.attributes["messaging.destination.name"] == "load-requested"
    assert found["outer"].parent_id == handling.span_id
    assert found["outer"].attributes == {"table": "people"}
    assert found["inner"].parent_id == found["outer"].span_id


def test_the_publishing_has_the_id_that_the_event_names(engine, topics, exporting):
    from shared.messaging.kafka import Producer

    event = request()
    process(engine, topics, event, emitting)
    relay = Relay(engine, "ingestor", lambda: Producer(topics), Metrics(), interval_seconds=1)
    assert relay.publish_batch() == 1
    relay._disconnect()
    with engine.connect() as connection:
        header = connection.exec_driver_sql(
            "SELECT headers ->> 'traceparent' FROM headrace.outbox"
        ).scalar()
    publishing = named(exporting)["publish headrace.slice-loaded.v1"]
    assert header == f"00-{publishing.trace_id}-{publishing.span_id}-01"
    assert publishing.parent_id == handling_id("ingestor", event.id)


def test_a_handling_that_was_tried_again_is_one_span_over_all_its_tries(
    engine, settings, exporting
):
    tries = []

    def handler(event, unit):
        tries.append(time.time_ns())
        with step("fails at first"):
            if len(tries) < 3:
                raise ServerUnavailable("the store", "away")
        quietly(event, unit)

    process(engine, settings, request(), handler)
    found = named(exporting)
    handling = found["process headrace.load-requested.v1"]
    assert handling.attributes["headrace.attempts"] == 3
    assert handling.begun_ns <= tries[0]
    assert tries[2] <= handling.ended_ns
    assert not handling.is_error
    steps = [span for span in exporting.spans if span.name == "fails at first"]
    assert [span.is_error for span in steps] == [True, True, False]


def test_a_record_that_is_given_up_is_a_span_with_its_error(engine, settings, exporting):
    def handler(event, unit):
        raise PermanentError("there is no such folder")

    process(engine, settings, request(), handler)
    assert named(exporting)["process headrace.load-requested.v1"].is_error


def test_a_second_delivery_is_no_second_span(engine, settings, exporting):
    event = request()
    process(engine, settings, event, quietly)
    process(engine, settings, event, quietly)
    spans.end_traces()
    assert len(exporting.spans) == 1


def test_a_collector_that_refuses_or_is_away_holds_nothing_up(engine, settings, exporting):
    exporting.status = 503
    begun = time.monotonic()
    process(engine, settings, request(), emitting)
    spans.end_traces()
    assert time.monotonic() - begun < 5
    spans.configure_traces(Settings(otel_exporter_otlp_endpoint="http://127.0.0.1:9"), "ingestor")
    metrics = Metrics()
    process(engine, settings, request(), quietly, metrics)
    spans.end_traces()
    assert time.monotonic() - begun < 10
    assert metrics.registry.get_sample_value(
        "headrace_events_total",
        {"service": "ingestor", "type": LoadRequested.type, "outcome": "done"},
    )


def test_where_nobody_asks_the_sdk_is_not_even_imported():
    program = """
import sys, threading
from shared.observability import spans
from shared.settings import Settings
spans.configure_traces(Settings(), "ingestor")
with spans.step("nothing"):
    pass
assert not [name for name in sys.modules if name.startswith("opentelemetry.sdk")]
assert threading.active_count() == 1
"""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
