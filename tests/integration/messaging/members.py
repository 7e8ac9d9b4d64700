"""A consumer group's members: in threads of the test, and as processes."""

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from shared.contracts.envelope import Record
from shared.contracts.topics import Topic
from shared.messaging.consumer import Consumer
from shared.messaging.kafka import RecordSource
from shared.settings import Settings

Process = Callable[[Record, threading.Event], None]


@dataclass
class Member:
    """A process of `member.py`."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    address: str = ""

    def info(self) -> dict[str, Any]:
        return httpx.get(f"{self.address}/info", timeout=10).json()

    def metrics(self) -> str:
        return httpx.get(f"{self.address}/metrics", timeout=10).text

    def is_at_work(self) -> bool:
        return self.process.poll() is None and self.info()["partitions"] > 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0


@dataclass
class Consuming:
    """A consumer in a thread, and the sources that it made."""

    consumer: Consumer
    sources: list[RecordSource]
    errors: list[Exception]


@contextmanager
def consuming(
    settings: Settings, process: Process, *, group: str = "subject", topic: Topic = Topic.VALIDATED
) -> Iterator[Consuming]:
    """A consumer of `topic` that runs for the time of the block."""
    stop, sources, errors = threading.Event(), [], []

    def connect() -> RecordSource:
        sources.append(RecordSource(settings, group, [topic]))
        return sources[-1]

    consumer = Consumer(connect=connect, process=process, threads=2, grace_seconds=5, stop=stop)

    def run() -> None:
        try:
            consumer.run()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield Consuming(consumer, sources, errors)
    finally:
        stop.set()
        thread.join(timeout=30)
        assert not thread.is_alive()
