"""A message of kafka-python as a record."""

from typing import Any

from shared.contracts.envelope import Record, plain_text


def record_of(message: Any) -> Record:
    """The record; bytes of headers that are no UTF-8 stand as escapes, and `raw_headers` has them.

    Of headers of the same name the last counts.
    """
    raw = tuple(
        (name.encode(errors="surrogateescape"), None if text is None else bytes(text))
        for name, text in message.headers
    )
    headers = {plain_text(name): plain_text(text or b"") for name, text in raw}
    is_whole = tuple((name.encode(), text.encode()) for name, text in headers.items()) == raw
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        headers=headers,
        value=message.value,
        raw_headers=None if is_whole else raw,
    )
