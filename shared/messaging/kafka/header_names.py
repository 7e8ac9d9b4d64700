"""Headers whose names are no UTF-8, which kafka-python 3.0 can neither read nor write.

It takes a record that has one for a damaged batch, and stays before it for good: one record of
anybody's would end the consumption of a partition.
"""

from typing import Any, Self

from kafka.record.default_records import DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint


class HeaderName(str):
    """A name that is written as the bytes that it was made of."""

    raw: bytes

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """The name that `raw` is; bytes that are no UTF-8 stand as surrogates in it."""
        name = cls(raw.decode(errors="surrogateescape"))
        name.raw = raw
        return name

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The bytes, whatever is asked for."""
        return self.raw


def take_any_header_name() -> None:
    """Have kafka-python read records with such names, from now on, in this process."""
    if getattr(DefaultRecordBatch._read_msg, "takes_any_name", False):
        return
    strict = DefaultRecordBatch._read_msg

    def read(batch: Any) -> Any:
        start = batch._pos
        try:
            return strict(batch)
        except UnicodeDecodeError:
            batch._pos = start
            return _read_leniently(batch)

    read.takes_any_name = True  # type: ignore[attr-defined]
    DefaultRecordBatch._read_msg = read


def _read_leniently(batch: Any) -> DefaultRecord:
    """The batch's next record. Raises `ValueError` where it is damaged.

    Source: the Kafka protocol's "Record", version 2.
    """
    buffer = batch._buffer
    length, position = decode_varint(buffer, batch._pos)
    end = position + length
    position += 1  # attributes
    time_delta, position = decode_varint(buffer, position)
    offset_delta, position = decode_varint(buffer, position)
    is_log_time = batch.timestamp_type == batch.LOG_APPEND_TIME
    timestamp = batch.max_timestamp if is_log_time else batch.first_timestamp + time_delta
    key, position = _bytes(buffer, position)
    value, position = _bytes(buffer, position)
    count, position = decode_varint(buffer, position)
    headers = []
    for _ in range(count):
        name, position = _bytes(buffer, position)
        text, position = _bytes(buffer, position)
        headers.append((HeaderName.of(name or b""), text))
    if position != end:
        raise ValueError(f"a record of {length} bytes ends {position - end} bytes past them")
    batch._pos = end
    offset = batch.base_offset + offset_delta
    return DefaultRecord(length, offset, timestamp, batch.timestamp_type, key, value, headers)


def _bytes(buffer: Any, position: int) -> tuple[bytes | None, int]:
    length, position = decode_varint(buffer, position)
    if length < 0:
        return None, position
    return bytes(buffer[position : position + length]), position + length
