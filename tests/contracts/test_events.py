"""The events as other programs see them: type, headers, schema and compatibility."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cli.contracts import files
from shared.contracts.envelope import Event, Record, decode, of_type
from shared.contracts.events import EVENTS, LoadRequested, Payload, SliceLoaded, Validated
from shared.contracts.topics import Topic
from shared.errors import UndecodableEvent
from shared.observability.tracing import TraceParent
from tests.conftest import REPOSITORY

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
requests = st.builds(
    LoadRequested,
    dataset=names,
    slice_key=names,
    source_uri=names,
    as_of=st.none() | st.dates(),
    requested_by=names,
)


def record_of(event: Event[Payload]) -> Record:
    return Record("t", 0, 0, event.key.encode(), event.headers(), event.value())


@given(requests, st.datetimes(timezones=st.just(UTC)))
def test_an_event_comes_back_from_its_record_as_it_was(
    payload: LoadRequested, time: datetime
) -> None:
    event = Event(payload=payload, source="cli", time=time)
    cause = Event(payload=payload, source="cli", time=time)
    caused = cause.caused(payload, source="ingestor", time=time, number=1)

    for each in (event, caused):
        assert decode(record_of(each)) == each


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"source_uri": "/a\0b"}, "source_uri: has the character U\\+0000"),
        ({"slice_key": "x" * 201}, "slice_key has 201 characters; 200 are the most"),
        ({"dataset": "é" * 201}, "dataset has 201 characters"),
    ],
)
def test_a_text_that_the_database_cannot_hold_is_no_event(
    fields: dict[str, str], said: str
) -> None:
    told = {"dataset": "d", "slice_key": "s", "source_uri": "/x"} | fields
    event = Event(payload=LoadRequested(**told), source="cli", time=NOON)
    with pytest.raises(UndecodableEvent, match=said):
        decode(record_of(event))


def test_a_caused_event_has_the_same_id_each_time_and_names_its_causes() -> None:
    payload = LoadRequested(dataset="d", slice_key="s", source_uri="/x")
    root = Event(payload=payload, source="cli", time=NOON)
    first = root.caused(payload, source="ingestor", time=NOON, number=1)
    again = root.caused(payload, source="ingestor", time=datetime.now(UTC), number=1)
    other = root.caused(payload, source="ingestor", time=NOON, number=2)

    assert first.id == again.id != other.id
    assert (first.causation_id, first.correlation_id) == (root.id, root.id)
    assert first.caused(payload, source="x", time=NOON, number=1).correlation_id == root.id
    assert first.traceparent.trace_id == root.traceparent.trace_id
    assert first.traceparent.span_id != root.traceparent.span_id


def test_an_unknown_field_is_ignored_and_a_missing_one_is_an_error() -> None:
    event = Event(
        payload=LoadRequested(dataset="d", slice_key="s", source_uri="/x"), source="c", time=NOON
    )
    said = json.loads(event.value())
    newer = Record("t", 0, 0, b"d", event.headers(), json.dumps({**said, "new": 1}).encode())
    assert decode(newer).payload == event.payload

    del said["source_uri"]
    with pytest.raises(UndecodableEvent, match="source_uri"):
        decode(Record("t", 0, 0, b"d", event.headers(), json.dumps(said).encode()))


@pytest.mark.parametrize(
    ("header", "value", "message"),
    [
        ("ce_id", None, "ce_id is missing"),
        ("ce_type", "headrace.load-requested.v2", "not known"),
        ("ce_specversion", "0.3", "not spoken"),
        ("ce_time", "noon", "no RFC 3339"),
        ("ce_time", "2024-01-31T12:00:00", "no offset"),
    ],
)
def test_a_header_at_fault_is_named(header: str, value: str | None, message: str) -> None:
    event = Event(
        payload=LoadRequested(dataset="d", slice_key="s", source_uri="/x"), source="c", time=NOON
    )
    headers = {**event.headers(), header: value or ""}
    with pytest.raises(UndecodableEvent, match=message):
        decode(Record("t", 0, 0, b"d", headers, event.value()))


@pytest.mark.parametrize("header", ["", "00-0-0-00", "00-" + "0" * 32 + "-" + "1" * 16 + "-01"])
def test_a_malformed_traceparent_begins_a_new_trace(header: str) -> None:
    assert TraceParent.parse(header) is None


def test_an_event_of_another_type_is_told_apart() -> None:
    event = Event(
        payload=LoadRequested(dataset="d", slice_key="s", source_uri="/x"), source="c", time=NOON
    )
    assert of_type(event, LoadRequested) is event
    with pytest.raises(UndecodableEvent, match=r"slice-loaded\.v1"):
        of_type(event, SliceLoaded)


def test_a_payload_is_frozen() -> None:
    payload = LoadRequested(dataset="d", slice_key="s", source_uri="/x", as_of=date(2024, 1, 31))
    with pytest.raises(ValidationError):
        payload.dataset = "other"  # type: ignore[misc]


def test_every_topic_has_the_event_of_its_name_and_those_of_a_withdrawal_on_its_way() -> None:
    by_topic = {topic: [e.type for e in EVENTS if e.topic is topic] for topic in Topic}
    more = {
        Topic.LOAD_REQUESTED: ["headrace.withdraw-requested.v1"],
        Topic.SLICE_LOADED: ["headrace.withdrawal-queued.v1"],
        Topic.VALIDATED: ["headrace.withdrawal-admitted.v1"],
    }
    for topic, types in by_topic.items():
        past = {"dead-letters": "dead-lettered"}.get(topic.value, topic.value)
        assert types == [f"headrace.{past}.v1", *more.get(topic, [])]
    assert len({event.type for event in EVENTS}) == len(EVENTS)
    assert Validated.type == "headrace.validated.v1"


@pytest.mark.parametrize("name", sorted(files()))
def test_the_published_schemas_are_those_of_the_code(name: str) -> None:
    path: Path = REPOSITORY / "docs" / "events" / name
    assert path.read_text() == files()[name], "run `make docs`"
