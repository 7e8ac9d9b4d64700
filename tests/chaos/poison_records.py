"""Records that no service can do anything with, made of good ones, and publishing them raw."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from kafka import KafkaProducer

from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.events import (
    Correction,
    DatasetReady,
    DeadLettered,
    DriftDetected,
    LoadRequested,
    ModelPublished,
    Payload,
    PromotionRequested,
    Reason,
    SliceLoaded,
    SliceRejected,
    Snapshotted,
    Stage,
    TableLoad,
    Validated,
    WithdrawalAdmitted,
    WithdrawalQueued,
    WithdrawRequested,
)
from shared.contracts.topics import CONSUMERS, Topic
from shared.settings import Settings

Headers = tuple[tuple[bytes, bytes], ...]
UNKNOWN = "nowhere"
"""A dataset without a spec."""
HUGE = 200_000
"""Bytes of what is huge: brokers take a million of all of a record."""
_DAY = date(2024, 1, 31)
_PLACE = {"load_id": "no-such-load", "as_of": _DAY}


class _RawName(str):
    """A header's name that kafka-python writes as bytes of ours."""

    raw: bytes

    def encode(self, *_: object) -> bytes:
        return self.raw


@dataclass(frozen=True)
class Raw:
    """A record as bytes. `kind` says what is wrong with it."""

    kind: str
    key: bytes | None
    headers: Headers
    value: bytes | None

    def header(self, name: str) -> bytes | None:
        return dict(self.headers).get(name.encode())

    def without(self, name: str) -> Headers:
        return tuple(each for each in self.headers if each[0] != name.encode())

    def having(self, name: str, text: bytes) -> Headers:
        return (*self.without(name), (name.encode(), text))


def good(topic: Topic, dataset: str = UNKNOWN, *, which: int = 0) -> Raw:
    """An event of `topic` that is well formed, and names a load that there is not.

    Of those that the topic is for the first, or one of `OTHERS`.
    """
    payload = _others(dataset)[topic][which - 1] if which else _first(topic, dataset)
    event: Event[Payload] = Event(payload=payload, source="test", time=utc_now())
    headers = tuple((name.encode(), text.encode()) for name, text in event.headers().items())
    return Raw("good", event.key.encode(), headers, event.value())


def _others(dataset: str) -> dict[Topic, tuple[Payload, ...]]:
    """What else comes on a topic."""
    named: dict[str, Any] = {"dataset": dataset, "slice_key": "2024-01-31"}
    correction = Correction(load_id="no-such-load", mended=("s3://b/k",))
    return {
        Topic.LOAD_REQUESTED: (
            WithdrawRequested(**named, reason="r"),
            LoadRequested(**named, source_uri="/nowhere", correction=correction),
        ),
        Topic.SLICE_LOADED: (WithdrawalQueued(**named, load_id="no-such-load"),),
        Topic.VALIDATED: (WithdrawalAdmitted(**named, load_id="no-such-load"),),
    }


OTHERS = {topic: len(payloads) for topic, payloads in _others(UNKNOWN).items()}


def _first(topic: Topic, dataset: str) -> Payload:
    named: dict[str, Any] = {"dataset": dataset, "slice_key": "2024-01-31"}
    payloads: dict[Topic, Payload] = {
        Topic.LOAD_REQUESTED: LoadRequested(**named, source_uri="/nowhere"),
        Topic.SLICE_LOADED: SliceLoaded(
            **(named | _PLACE),
            revision=1,
            content_sha256="0" * 64,
            landing_uri="s3://b/k",
            tables=(
                TableLoad(
                    table="t", staging_table="t", rows_in=1, rows_loaded=1, rows_quarantined=0
                ),
            ),
        ),
        Topic.SLICE_REJECTED: SliceRejected(
            **(named | _PLACE), stage=Stage.INGEST, reasons=(Reason(code="c", message="m"),)
        ),
        Topic.VALIDATED: Validated(
            **(named | _PLACE), expectations=1, report_uri="s3://b/k", tables=()
        ),
        Topic.SNAPSHOTTED: Snapshotted(
            **(named | _PLACE),
            snapshot_id="x",
            known_at=utc_now(),
            manifest_uri="s3://b/k",
            manifest_sha256="0",
            changes={},
        ),
        Topic.DATASET_READY: DatasetReady(
            **(named | _PLACE),
            snapshot_id="x",
            dataset_version="x",
            manifest_uri="s3://b/k",
            train_uri="s3://b/k",
            test_uri="s3://b/k",
            train_rows=1,
            test_rows=1,
        ),
        Topic.PROMOTION_REQUESTED: PromotionRequested(
            **named, action="promote", model_name="m", model_version="1"
        ),
        Topic.MODEL_PUBLISHED: ModelPublished(
            **(named | _PLACE),
            snapshot_id="x",
            dataset_version="x",
            model_name="m",
            model_version="1",
            run_id="r",
            alias=None,
            promoted=False,
            decision="kept",
            reason="r",
            metrics={},
        ),
        Topic.DRIFT_DETECTED: DriftDetected(
            **(named | _PLACE),
            snapshot_id="x",
            dataset_version="x",
            model_name="m",
            champion_version="1",
            baseline_as_of=date(2024, 1, 31),
            baseline_version="x",
            features_compared=1,
            features_drifted=1,
            features=(),
        ),
        Topic.DEAD_LETTERS: DeadLettered(
            **named,
            service="test",
            event_id=None,
            event_type=None,
            correlation_id=None,
            original_topic="t",
            original_partition=0,
            original_offset=0,
            error_class="E",
            reason="r",
            attempts=1,
        ),
    }
    return payloads[topic]


def poison(topic: Topic) -> Iterator[Raw]:
    """One record of each kind for `topic`, each with an event id and most with a key of its own."""
    for number, raw in enumerate(_poison(topic)):
        # Those of a key are done one after another.
        yield replace(raw, key=b"nowhere%d" % number) if raw.key == UNKNOWN.encode() else raw


def _poison(topic: Topic) -> Iterator[Raw]:
    for kind, spoil in _KINDS.items():
        yield replace(spoil(good(topic)), kind=kind)
    for name in ("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time"):
        whole = good(topic)
        yield replace(whole, kind=f"without {name}", headers=whole.without(name))
    other = next(each for each in Topic if CONSUMERS[each] != CONSUMERS[topic])
    yield replace(good(other), kind="type of another topic")
    if CONSUMERS[topic] != ("notifier",):  # which tells of what it hears, whatever that names
        yield replace(good(topic), kind="unknown dataset")
    for which in range(1, OTHERS.get(topic, 0) + 1):
        for kind in _OF_PAYLOADS:
            spoiled = _KINDS[kind](good(topic, which=which))
            yield replace(spoiled, kind=kind)
        yield replace(good(topic, which=which), kind="unknown dataset")


def _said(raw: Raw, **fields: object) -> Raw:
    """With other fields in the payload."""
    return replace(raw, value=json.dumps(json.loads(raw.value or b"{}") | fields).encode())


_KINDS: dict[str, Callable[[Raw], Raw]] = {
    "nothing at all": lambda raw: Raw("", b"", (), None),
    "nothing but bytes": lambda raw: Raw("", None, (), b"\xff"),
    "random bytes": lambda raw: replace(raw, value=random.Random(1).randbytes(300)),  # noqa: S311
    "random bytes without headers": lambda raw: Raw("", b"\xff\x00", (), b"\x00\xff\xfe"),
    "tombstone": lambda raw: replace(raw, value=None),
    "empty value": lambda raw: replace(raw, value=b""),
    "truncated": lambda raw: replace(raw, value=(raw.value or b"")[:-7]),
    "no object": lambda raw: replace(raw, value=b"[1, 2]"),
    "deeply nested": lambda raw: replace(raw, value=b"[" * 50_000 + b"]" * 50_000),
    "wrong types": lambda raw: _said(raw, dataset=7, slice_key=[]),
    "missing field": lambda raw: replace(raw, value=b'{"dataset": "nowhere"}'),
    "half a surrogate pair": lambda raw: replace(
        raw, value=(raw.value or b"").replace(b'"nowhere"', b'"\\ud800"')
    ),
    "NUL in a name": lambda raw: _said(raw, dataset="no\0where", slice_key="a\0b"),
    "huge payload": lambda raw: replace(raw, value=b'{"dataset": "' + b"x" * HUGE),
    "huge name": lambda raw: _said(raw, dataset="x" * HUGE),
    "huge slice": lambda raw: _said(raw, slice_key="x" * HUGE),
    "huge id": lambda raw: replace(raw, headers=raw.having("ce_id", b"i" * HUGE)),
    "huge correlation": lambda raw: replace(
        raw, headers=raw.having("ce_correlationid", b"i" * HUGE)
    ),
    "huge key": lambda raw: replace(raw, key=b"k" * HUGE, value=b"{"),
    "key of NUL": lambda raw: replace(raw, key=b"\0\0", value=b"{"),
    "key that is no UTF-8": lambda raw: replace(raw, key=b"caf\xe9", value=b"{"),
    "id that is no UTF-8": lambda raw: replace(raw, headers=raw.having("ce_id", b"\xff\xfe")),
    "id with NUL": lambda raw: replace(raw, headers=raw.having("ce_id", b"a\0b")),
    "id twice": lambda raw: replace(raw, headers=(*raw.headers, (b"ce_id", b"another"))),
    "header name that is no UTF-8": lambda raw: replace(
        raw, headers=((b"\xff\xfe", b"x"), *raw.without("ce_id"))
    ),
    "headers without values": lambda raw: replace(
        raw, headers=tuple((name, b"") for name, _ in raw.headers)
    ),
    "unknown type": lambda raw: replace(raw, headers=raw.having("ce_type", b"headrace.x.v9")),
    "type of SQL": lambda raw: replace(
        raw, headers=raw.having("ce_type", b"'; DROP TABLE headrace.loads; --")
    ),
    "other CloudEvents": lambda raw: replace(raw, headers=raw.having("ce_specversion", b"9.9")),
    "time of nowhere": lambda raw: replace(raw, headers=raw.having("ce_time", b"2024-01-31T10:00")),
    "time before Christ": lambda raw: replace(
        raw, headers=raw.having("ce_time", b"0001-01-01T00:00:00+14:00")
    ),
    "no time": lambda raw: replace(raw, headers=raw.having("ce_time", b"yesterday")),
}


_OF_PAYLOADS = (
    *("truncated", "wrong types", "missing field", "half a surrogate pair", "NUL in a name"),
    *("huge name", "huge slice"),
)
"""Kinds that are about the payload, and so are tried on each that a topic is for."""


def mutated(topic: Topic, dataset: str, numbers: random.Random) -> Raw:
    """A good event of `topic` with one to three accidents. It may still be an event."""
    raw = good(topic, dataset, which=numbers.randint(0, OTHERS.get(topic, 0)))
    kinds = []
    for _ in range(numbers.randint(1, 3)):
        accident = numbers.choice(_ACCIDENTS)
        raw = accident(raw, numbers)
        kinds.append(accident.__name__.strip("_"))
    if raw.key == dataset.encode():
        raw = replace(raw, key=b"%s%d" % (raw.key, numbers.randrange(50)))
    return replace(raw, kind=" + ".join(kinds))


def _flipped(raw: Raw, numbers: random.Random) -> Raw:
    value = bytearray(raw.value or b"x")
    for _ in range(numbers.randint(1, 8)):
        value[numbers.randrange(len(value))] ^= 1 << numbers.randrange(8)
    return replace(raw, value=bytes(value))


def _cut(raw: Raw, numbers: random.Random) -> Raw:
    value = raw.value or b"x"
    return replace(raw, value=value[: numbers.randrange(len(value))])


def _retyped(raw: Raw, numbers: random.Random) -> Raw:
    try:
        said = json.loads(raw.value or b"")
    except ValueError:
        return raw
    if not isinstance(said, dict) or not said:
        return raw
    values: Sequence[object] = (
        *(None, 0, -1, 2**70, 1.5, True, "", "\0", "../..", "'; --", [], {}, [[]], "9999-12-31"),
        *("x" * 300, "\u202e\u200b", {"": None}, float("inf")),
    )
    return _said(raw, **{numbers.choice(list(said)): numbers.choice(values)})


def _header_dropped(raw: Raw, numbers: random.Random) -> Raw:
    headers = list(raw.headers)
    if headers:
        headers.pop(numbers.randrange(len(headers)))
    return replace(raw, headers=tuple(headers))


def _header_doubled(raw: Raw, numbers: random.Random) -> Raw:
    if not raw.headers:
        return raw
    name, text = numbers.choice(raw.headers)
    return replace(raw, headers=(*raw.headers, (name, numbers.choice([text, b"", b"other"]))))


def _header_garbled(raw: Raw, numbers: random.Random) -> Raw:
    headers = list(raw.headers)
    if headers:
        at = numbers.randrange(len(headers))
        garbage = numbers.randbytes(numbers.randrange(12))
        headers[at] = (
            (garbage, headers[at][1]) if numbers.random() < 0.2 else (headers[at][0], garbage)
        )
    return replace(raw, headers=tuple(headers))


def _keyed(raw: Raw, numbers: random.Random) -> Raw:
    return replace(raw, key=numbers.choice([None, b"", b"\0", b"\xff", b"k" * 5000]))


_ACCIDENTS = (
    *(_flipped, _cut, _retyped, _retyped, _header_dropped, _header_doubled, _header_garbled),
    _keyed,
)


def publish_raw(
    settings: Settings, topic: Topic, records: Sequence[Raw], partition: int
) -> dict[int, Raw]:
    """Put records as they are onto a partition; by their offsets."""
    producer = KafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, allow_auto_create_topics=False
    )
    try:
        sent = [
            producer.send(
                settings.topic(topic),
                key=raw.key,
                value=raw.value,
                headers=[(_named(name), text) for name, text in raw.headers],
                partition=partition,
            )
            for raw in records
        ]
        offsets = [each.get(timeout=30).offset for each in sent]
        return dict(zip(offsets, records, strict=True))
    finally:
        producer.close()


def _named(raw: bytes) -> str:
    name = _RawName(raw.decode(errors="replace"))
    name.raw = raw
    return name
