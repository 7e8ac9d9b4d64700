"""One question to a broker in Kafka's protocol, without a client."""

import socket
import struct

from infra.embedded.probe import PROBE_SECONDS
from infra.embedded.server import LOOPBACK

METADATA, METADATA_VERSION, ALL_TOPICS, CORRELATION = 3, 3, -1, 7
_HEAD_BYTES = 16


def working_brokers(port: int) -> int:
    """How many brokers the one on `port` says can be worked with; 0 where it doesn't answer.

    It is asked for all topics, so it answers only when it has read which there are.
    """
    body = struct.pack(">hhihi", METADATA, METADATA_VERSION, CORRELATION, -1, ALL_TOPICS)
    try:
        with socket.create_connection((LOOPBACK, port), timeout=PROBE_SECONDS) as link:
            link.sendall(struct.pack(">i", len(body)) + body)
            with link.makefile("rb") as answer:
                head = answer.read(_HEAD_BYTES)
    except OSError:
        return 0
    if len(head) < _HEAD_BYTES:
        return 0
    _, correlation, _, brokers = struct.unpack(">iiii", head)  # length, …, throttle time, …
    return brokers if correlation == CORRELATION else 0
