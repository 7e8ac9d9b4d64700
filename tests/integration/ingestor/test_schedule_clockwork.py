"""The schedules in real time, in threads of their own."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from services.ingestor.app import build
from services.ingestor.schedule.clockwork import Clockwork
from services.ingestor.schedule.schedules import Schedules
from shared.clock import utc_now
from shared.contracts.events import LoadRequested
from shared.database.engine import make_engine
from shared.database.tables import outbox, schedule_runs
from shared.service import Resources
from tests.integration.ingestor.conftest import Shop
from tests.waiting import wait_until

POLL_SECONDS = 0.05


@contextmanager
def running(run_due: Callable[[], object]) -> Iterator[Clockwork]:
    clockwork = Clockwork(run_due, poll_seconds=POLL_SECONDS)
    clockwork.start()
    try:
        yield clockwork
    finally:
        began = time.monotonic()
        clockwork.stop()
        assert time.monotonic() - began < 2


def scheduled(shop: Shop) -> None:
    shop.spec["slices"] = {"increment": {"initial": 40, "step": 3}, "source": "s3://drops/shop"}
    shop.spec["schedule"] = {"cron": "* * * * *"}
    shop.write_spec()
    # As an ingestor that went down an hour ago left it.
    shop.run("""
        INSERT INTO headrace.schedules (dataset, settled_until, changed_by)
        VALUES ('shop', now() - interval '1 hour', 'test')""")


def asked(shop: Shop) -> int:
    with shop.engine.connect() as connection:
        found = connection.execute(
            select(outbox.c.outbox_id).where(outbox.c.topic == LoadRequested.topic.value)
        )
        return len(found.all())


def test_ingestor_looks_at_the_schedules_by_itself_and_wakes_its_relay(shop: Shop) -> None:
    scheduled(shop)
    woken = threading.Event()
    settings = shop.settings.model_copy(update={"schedule_poll_seconds": POLL_SECONDS})
    resources = Resources(settings, shop.engine, shop.store, utc_now, woken.set)
    service = build(resources)
    (companion,) = service.companions
    companion.start()
    try:
        wait_until(woken.is_set, what="the relay is woken")
        assert asked(shop) >= 1
    finally:
        companion.stop()
    with shop.engine.connect() as connection:
        runs = connection.execute(select(schedule_runs.c.outcome)).scalars().all()
    assert set(runs) == {"missed", "requested"}
    counted = resources.metrics.registry.get_sample_value(
        "headrace_schedule_runs_total", {"dataset": "shop", "outcome": "requested"}
    )
    assert counted == runs.count("requested")


def test_database_that_is_away_is_waited_for(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    scheduled(shop)
    unreachable = SecretStr("postgresql://headrace@127.0.0.1:1/headrace")
    nowhere = make_engine(
        shop.settings.model_copy(update={"database_url": unreachable}), application="test"
    )
    is_away = threading.Event()
    is_away.set()
    schedules = Schedules(shop.engine, shop.settings, utc_now)
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if is_away.is_set():
            Schedules(nowhere, shop.settings, utc_now).run_due()
        else:
            schedules.run_due()

    with caplog.at_level(logging.WARNING), running(look):
        wait_until(lambda: looks >= 3, what="it tries again")
        assert asked(shop) == 0
        is_away.clear()
        wait_until(lambda: asked(shop), what="it fires when the database is back")
    waits = [record for record in caplog.records if "the schedules wait" in record.message]
    assert waits
    assert all(getattr(record, "repeats", False) for record in caplog.records)


def test_error_that_nobody_foresaw_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    looked: list[datetime] = []

    def look() -> None:
        looked.append(datetime.now(UTC))
        raise ZeroDivisionError

    with running(look):
        wait_until(lambda: len(looked) >= 3, what="it looks again")
    assert "can't be looked at" in caplog.text


def test_look_that_takes_its_time_is_alone_and_holds_up_no_stop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    at_work, release, looks = threading.Event(), threading.Event(), []

    def look() -> None:
        looks.append(1)
        at_work.set()
        release.wait(20)

    with running(look):
        assert at_work.wait(10)
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 6 * POLL_SECONDS, what="further polls")
        assert len(looks) == 1
    release.set()
    assert caplog.messages == ["a look at the schedules is abandoned"]
