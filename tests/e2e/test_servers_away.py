"""Promise 2: a server that is away is waited for, named, and nothing is lost."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cli.migrate import migrate
from infra.embedded.environment import Broker
from infra.embedded.services import SERVICES
from tests.e2e.conftest import Headrace
from tests.e2e.test_own_dataset import SALES, put
from tests.waiting import wait_until

SHOPS = "shop,Town of shop\nN,Lyon\nS,Ulm\n"


def ready(headrace: Headrace, service: str) -> dict[str, Any]:
    (found,) = [each for each in headrace.stack.status() if each.name == service]
    answer = httpx.get(f"{found.address}/readyz", timeout=20)
    assert answer.status_code == (503 if answer.json()["down"] else 200)
    return answer.json()["down"]


@pytest.mark.parametrize(
    ("server", "named", "service", "day"),
    [
        ("postgres", "postgres", "ingestor", "2024-04-01"),
        ("seaweedfs", "store", "validator", "2024-04-02"),
        ("the broker", "kafka", "snapshotter", "2024-04-03"),
        ("mlflow", "mlflow", "trainer", "2024-04-04"),
    ],
)
def test_a_server_that_is_killed_is_named_and_its_return_needs_no_help(
    headrace: Headrace,
    broker: Broker,
    tmp_path: Path,
    server: str,
    named: str,
    service: str,
    day: str,
) -> None:
    services = {
        each.name: each.pid
        for each in headrace.stack.status()
        if each.name in {s.name for s in SERVICES}
    }
    headrace.kill(broker if server == "the broker" else server)
    down = wait_until(lambda: ready(headrace, service), seconds=30)
    assert named in down, down

    headrace.stack.start(SERVICES, migrate=migrate)

    wait_until(lambda: not ready(headrace, service), seconds=60)
    for each in headrace.stack.status():
        if each.name in services:
            assert each.pid == services[each.name], "no service had to be started again"
    put(tmp_path, day, SHOPS, SALES)
    done = headrace.json("load", "bakery", "--slice", day, "--from", str(tmp_path), "--wait")
    assert done["status"] in {"published", "unchanged"}


def test_a_slice_under_way_while_postgres_and_the_store_are_away_comes_through(
    headrace: Headrace, sample_drops: Path
) -> None:
    load_id = headrace.json(
        "load", "calm", "--slice", "month_010", "--from", str(sample_drops / "month_005")
    )["load_id"]
    wait_until(
        lambda: headrace.query(
            "SELECT 1 FROM headrace.stage_runs WHERE load_id = :load AND stage = 'validate'",
            load=load_id,
        )
    )
    headrace.kill("postgres")
    headrace.kill("seaweedfs")
    headrace.stack.start(SERVICES, migrate=migrate)

    wait_until(
        lambda: headrace.query("SELECT 1 FROM headrace.promotions WHERE load_id = :l", l=load_id),
        seconds=120,
    )
    assert (
        headrace.query(
            "SELECT reason FROM headrace.dead_letters WHERE correlation_id = :load", load=load_id
        )
        == []
    )
    stages = headrace.query(
        "SELECT stage, state FROM headrace.stage_runs WHERE load_id = :load", load=load_id
    )
    assert {state for _, state in stages} == {"done"}


@pytest.mark.parametrize("service", [spec.name for spec in SERVICES])
def test_a_service_ends_within_ten_seconds_of_a_term_signal(
    headrace: Headrace, service: str
) -> None:
    (found,) = [each for each in headrace.stack.status() if each.name == service]
    assert found.pid is not None
    process = psutil.Process(found.pid)
    asked = time.monotonic()
    os.kill(found.pid, signal.SIGTERM)
    wait_until(
        lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, seconds=12
    )
    assert time.monotonic() - asked < 10
    log = found.log.read_text().splitlines()[-1]
    assert f"{service} is down" in log, log
    headrace.stack.start(SERVICES, migrate=migrate)
