"""The broker's health check, as the compose file has it, against answers of every kind."""

import socket
import struct
import subprocess
import threading

import pytest
from ruamel.yaml import YAML

from infra.embedded.kafka_probe import METADATA, METADATA_VERSION
from tests.conftest import REPOSITORY

CORRELATION, NO_TOPICS = 1, 0
ADDRESS = b"\0\0\0\1\0\5kafka\0\0\x23\x84\xff\xff"
"""Of a broker: its number, its host, its port 9092, and no rack."""


def check(port: int) -> int:
    """The exit code of the health check, with `port` in the place of the broker's."""
    text = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
    services = YAML(typ="safe").load(text)["services"]
    kind, *argv = services["kafka"]["healthcheck"]["test"]
    assert kind == "CMD"
    argv = [word.replace("$$", "$").replace("/9092", f"/{port}") for word in argv]
    return subprocess.run(argv, capture_output=True, check=False, timeout=60).returncode


def metadata(*brokers: bytes, correlation: int = CORRELATION, throttle: int = 0) -> bytes:
    """An answer without topics. Source: Kafka's protocol, Metadata, version 3."""
    body = struct.pack(">iii", correlation, throttle, len(brokers)) + b"".join(brokers)
    body += struct.pack(">hii", -1, 1, 0)  # no cluster id, the controller, no topics
    return struct.pack(">i", len(body)) + body


def answered(answer: bytes) -> tuple[int, bytes]:
    """The check's exit code where it is answered so, and what it had asked."""
    asked = b""

    def serve() -> None:
        nonlocal asked
        link, _ = listener.accept()
        with link:
            asked = link.recv(1024)
            link.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        server = threading.Thread(target=serve)
        server.start()
        code = check(listener.getsockname()[1])
        server.join()
    return code, asked


def test_a_broker_that_names_itself_is_healthy() -> None:
    code, asked = answered(metadata(ADDRESS))
    assert code == 0
    request = struct.pack(">hhihi", METADATA, METADATA_VERSION, CORRELATION, -1, NO_TOPICS)
    assert asked == struct.pack(">i", len(request)) + request


@pytest.mark.parametrize(
    "answer",
    [metadata(), metadata(ADDRESS, correlation=2), metadata(ADDRESS)[:15], b""],
    ids=["no broker yet", "another answer", "the beginning of one", "none"],
)
def test_one_that_does_not_is_not(answer: bytes) -> None:
    assert answered(answer)[0] != 0


def test_a_port_that_nobody_listens_on_is_not_healthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert check(port) != 0
