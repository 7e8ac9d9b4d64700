"""Promise 2: a server whose disk is full is waited for; nothing is half done, nothing is lost."""

import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row

from infra.embedded.environment import settings_of
from infra.embedded.stack import Stack
from services.validator import turn
from services.validator.suites import Suites
from shared.contracts.envelope import Record
from shared.database.engine import make_engine
from shared.database.migrations import upgrade
from shared.messaging.retry import Route
from shared.object_store import ObjectStore
from shared.settings import Settings
from tests.chaos.auditing import assert_well
from tests.chaos.deliveries import Deliveries, make_deliveries
from tests.chaos.size import size
from tests.waiting import wait_until

MEGABYTES = {"postgres": 300, "seaweedfs": 300}
LEFT = 200_000
"""Bytes that are still free on a full disk: less than the large slice needs."""
STAGES = {"load-requested": "ingestor", "validated": "snapshotter"}
"""The events whose stages write what is large, to both servers."""


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of that size at `folder`."""
    options = f"size={megabytes}m,mode=0700"
    mounted = None
    if os.geteuid() == 0:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
    if mounted is None or mounted.returncode != 0:
        why = "needs root" if mounted is None else mounted.stderr.strip()
        if os.environ.get("CI") == "true" or size().is_full:
            pytest.fail(f"no small disk can be mounted: {why}")
        pytest.skip(f"no small disk can be mounted: {why}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@dataclass
class Disk:
    """A server's disk."""

    folder: Path

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def fill(self) -> None:
        with self._filler.open("ab") as filler:
            while True:
                found = os.statvfs(self.folder)
                free = found.f_bavail * found.f_frsize
                if free <= LEFT:
                    return
                filler.write(b"\0" * min(free - LEFT, 1 << 20) or b"\0")
                filler.flush()

    def make_room(self) -> None:
        self._filler.unlink()


@dataclass
class Place:
    """Servers, one of them on a small disk, and the services' handlers on them."""

    stack: Stack
    settings: Settings
    disk: Disk
    delivered: Deliveries

    def start(self) -> None:
        """Start what has died, as whoever looks after a server does."""
        self.stack.start(services=())


@pytest.fixture(params=["postgres", "seaweedfs"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    monkeypatch.setattr(turn, "PATIENCE_SECONDS", 0.0)
    root = tmp_path / "servers"
    given = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "RETRY_CEILING_SECONDS": "0.5"}
    stack = Stack(root, given=given, inherited=dict(os.environ), mlflow=False)
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, MEGABYTES[request.param]):
        try:
            stack.start(services=())
            stack.stop()
            # PostgreSQL makes its folder itself, and no mount point may be in its way.
            for left_over in (root / request.param).glob("*.sock"):
                left_over.unlink()
            shutil.move(root / request.param, disk / request.param)
            (root / request.param).symlink_to(disk / request.param)
            settings = settings_of(stack.start(services=()))
            engine = make_engine(settings, application="test")
            upgrade(engine)
            store = ObjectStore(settings)
            store.create_buckets()
            suites = Suites(engine, failing_keys_kept=20)
            delivered = make_deliveries(engine, settings, store, suites, tmp_path, "filled")
            yield Place(stack, settings, Disk(disk), delivered)
            engine.dispose()
        finally:
            stack.stop()


@pytest.mark.timeout(360)
def test_a_full_disk_is_waited_for_and_leaves_nothing_half_done(
    place: Place,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    figures: Callable[..., None],
) -> None:
    delivered = place.delivered
    delivered.request("2024-01-01", 1)
    delivered.drain()
    before = delivered.current()
    load_id = delivered.request("2024-01-02", 1, guests=60_000)
    name = request.node.callspec.params["place"]
    for topic, service in STAGES.items():
        (event,) = [each for each in delivered.of_load(load_id) if each.topic == topic]
        waited, tries = wait_through(place, event, service, caplog)
        if service == "ingestor":
            assert delivered.current() == before, "nobody reads what isn't validated and published"
            delivered.deliver(delivered.of_load(load_id)[-1])
        figures(f"full disk of {name}: {service}", waited_seconds=round(waited, 1), tries=tries)
    delivered.drain()

    assert delivered.current() == delivered.replayed()
    assert delivered.query("SELECT reason FROM headrace.dead_letters") == []
    own = place.settings.model_copy(update={"datasets_dir": delivered.root / "specs"})
    assert_well(own, delivered.dataset)


def wait_through(
    place: Place, event: Row[Any], service: str, caplog: pytest.LogCaptureFixture
) -> tuple[float, int]:
    """Have the service do the event on a full disk, which has room in the end; the seconds and the
    tries before that.
    """
    processor = place.delivered.processors[event.topic]
    record = Record(event.topic, 0, 7, event.key.encode(), event.headers, bytes(event.value))
    caplog.clear()
    place.disk.fill()
    stop = threading.Event()
    working = threading.Thread(target=processor.process, args=(record, stop), daemon=True)
    begun = time.monotonic()
    with caplog.at_level(logging.WARNING):
        working.start()
        tries = processor.metrics.retries.labels(service, Route.TRANSIENT.value)
        wait_until(lambda: tries._value.get() >= 4, seconds=90)
    assert working.is_alive(), "it waits"
    unknown = processor.metrics.retries.labels(service, Route.UNKNOWN.value)
    assert unknown._value.get() == 0
    assert any("try " in each.message for each in caplog.records)
    waited = time.monotonic() - begun

    place.disk.make_room()
    place.start()
    working.join(timeout=90)
    assert not working.is_alive(), caplog.text[-2000:]
    return waited, int(tries._value.get())
