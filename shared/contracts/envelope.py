"""CloudEvents 1.0 on Kafka in binary mode: attributes in `ce_*` headers, the payload as JSON value.

Source: CloudEvents 1.0.2, its Kafka protocol binding and its distributed tracing extension.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar, cast
from uuid import UUID, uuid4, uuid5

from pydantic import ValidationError

from shared.contracts.events import EVENT_OF_TYPE, Payload
from shared.errors import UndecodableEvent
from shared.observability.tracing import TraceParent

P = TypeVar("P", bound=Payload, covariant=True)
Headers = dict[str, str]
RawHeaders = tuple[tuple[bytes, bytes | None], ...]
"""Names and values in order, as they came."""

ID_CHARACTERS = 200
"""The most that an id, a dataset's or a slice's name in an event may have: indexes hold them."""
SPEC_VERSION = "1.0"
CONTENT_TYPE = "application/json"
_CAUSED = UUID("5f0c3f3e-6a0e-4f65-9d0f-2f8a4c1a7b11")


@dataclass(frozen=True)
class Event(Generic[P]):
    """A payload with its CloudEvents attributes. `correlation_id` is the id of the first cause."""

    payload: P
    source: str
    time: datetime
    id: str = field(default_factory=lambda: str(uuid4()))
    correlation_id: str = ""
    causation_id: str | None = None
    traceparent: TraceParent = field(default_factory=TraceParent.new)

    def __post_init__(self) -> None:
        if not self.correlation_id:
            object.__setattr__(self, "correlation_id", self.id)

    @property
    def key(self) -> str:
        """The record key: the dataset, so that its slices stay in order."""
        return self.payload.dataset

    @property
    def subject(self) -> str:
        """`<dataset>/<slice_key>`."""
        return f"{self.payload.dataset}/{self.payload.slice_key}"

    def caused(
        self, payload: Payload, *, source: str, time: datetime, number: int
    ) -> "Event[Payload]":
        """The `number`-th event that this one causes in `source`.

        Its id follows from the cause, so doing the work again names the same event again.
        """
        return Event(
            payload=payload,
            source=source,
            time=time,
            id=str(uuid5(_CAUSED, f"{self.id}/{source}/{payload.type}/{number}")),
            correlation_id=self.correlation_id,
            causation_id=self.id,
            traceparent=self.traceparent.child(),
        )

    def headers(self) -> Headers:
        """The record's headers."""
        headers = {
            "ce_specversion": SPEC_VERSION,
            "ce_id": self.id,
            "ce_type": self.payload.type,
            "ce_source": self.source,
            "ce_subject": self.subject,
            "ce_time": self.time.isoformat(),
            "ce_correlationid": self.correlation_id,
            "content-type": CONTENT_TYPE,
            "traceparent": str(self.traceparent),
        }
        if self.causation_id is not None:
            headers["ce_causationid"] = self.causation_id
        return headers

    def value(self) -> bytes:
        """The record's value."""
        return self.payload.model_dump_json().encode()


@dataclass(frozen=True)
class Record:
    """A Kafka message as it was read. Bytes of headers that are no UTF-8 stand as escapes."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: Headers
    value: bytes | None
    raw_headers: RawHeaders | None = None
    """The headers as they came, where `headers` can't hold them: one is there twice or has no
    value, or a name or a text is no UTF-8 or has U+0000."""

    @property
    def dataset(self) -> str:
        """The dataset, as the key says it; empty where there is no key."""
        return (self.key or b"").decode(errors="replace")


def plain_text(raw: bytes) -> str:
    """`raw` as text that Postgres can hold; what can't be such text stands as an escape."""
    return raw.decode(errors="backslashreplace").replace("\x00", "\\x00")


def decode(record: Record) -> Event[Payload]:
    """The event in `record`. Raises `UndecodableEvent`, naming the header or field at fault."""
    headers = record.headers
    _check_raw(record)
    for name in ("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time"):
        if not headers.get(name):
            raise UndecodableEvent(f"the header {name} is missing")
    if headers["ce_specversion"] != SPEC_VERSION:
        raise UndecodableEvent(f"CloudEvents {headers['ce_specversion']} is not spoken here")
    payload_type = EVENT_OF_TYPE.get(headers["ce_type"])
    if payload_type is None:
        raise UndecodableEvent(f"the type {headers['ce_type']!r} is not known")
    try:
        time = datetime.fromisoformat(headers["ce_time"])
    except ValueError as error:
        raise UndecodableEvent(f"the header ce_time is no RFC 3339 time: {error}") from error
    if time.tzinfo is None:
        raise UndecodableEvent("the header ce_time has no offset from UTC")
    try:
        time.astimezone(UTC)
    except OverflowError as error:
        raise UndecodableEvent("the header ce_time is beyond the years 1 to 9999") from error
    try:
        payload = payload_type.model_validate_json(record.value or b"")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the value"
        raise UndecodableEvent(f"{payload_type.type}: {where}: {first['msg']}") from error
    if b"\\u0000" in (record.value or b"") and (where := _with_nul(payload.model_dump())):
        raise UndecodableEvent(f"{payload_type.type}: {where}: has the character U+0000")
    _check_lengths(headers, payload)
    return Event(
        payload=payload,
        source=headers["ce_source"],
        time=time,
        id=headers["ce_id"],
        correlation_id=headers.get("ce_correlationid", ""),
        causation_id=headers.get("ce_causationid"),
        traceparent=TraceParent.parse(headers.get("traceparent", "")) or TraceParent.new(),
    )


def _check_raw(record: Record) -> None:
    """Raise `UndecodableEvent` where an attribute is there twice, or is no text."""
    seen: set[bytes] = set()
    for name, text in record.raw_headers or ():
        if not name.startswith(b"ce_"):
            continue
        if name in seen:
            raise UndecodableEvent(f"the header {plain_text(name)} is there more than once")
        seen.add(name)
        if text is not None and plain_text(text).encode() != text:
            raise UndecodableEvent(f"the header {plain_text(name)} is no UTF-8 text")


def _check_lengths(headers: Headers, payload: Payload) -> None:
    named = {
        name: headers.get(name, "") for name in ("ce_id", "ce_correlationid", "ce_causationid")
    }
    named |= {"dataset": payload.dataset, "slice_key": payload.slice_key}
    for name, text in named.items():
        if len(text) > ID_CHARACTERS:
            raise UndecodableEvent(
                f"{name} has {len(text)} characters; {ID_CHARACTERS} are the most"
            )


def _with_nul(value: object, where: str = "the value") -> str:
    """Where in `value` a text has U+0000, which Postgres can't hold; empty where none has."""
    if isinstance(value, str):
        return where if "\0" in value else ""
    parts: Iterator[tuple[object, object]] = iter(())
    if isinstance(value, dict):
        if any("\0" in str(key) for key in value):
            return where
        parts = iter(value.items())
    elif isinstance(value, list | tuple):
        parts = iter(enumerate(value))
    return next((found for key, part in parts if (found := _with_nul(part, str(key)))), "")


def of_type(event: Event[Payload], payload_type: type[P]) -> Event[P]:
    """`event`, known to carry a `payload_type`. Raises `UndecodableEvent` where it doesn't."""
    if not isinstance(event.payload, payload_type):
        raise UndecodableEvent(f"a {event.payload.type} is no {payload_type.type}")
    return cast("Event[P]", event)
