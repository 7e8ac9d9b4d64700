"""Promise 2: whatever becomes of a server in the middle of a stage, the stage waits and goes on."""

import itertools
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.chaos.asking import (
    STAGES,
    assert_done_once,
    how_it_stands,
    is_over,
    new_dataset,
    only_full,
    request,
)
from tests.chaos.auditing import assert_well
from tests.chaos.proxy import Proxy
from tests.chaos.size import size
from tests.chaos.wired import NAMED, SERVICE_OF_STAGE, Wired
from tests.waiting import wait_until

NOTICED_SECONDS = 12.0
"""Until `/readyz` names a server that is away: a check's patience, and a look before it."""
ANSWER_SECONDS = 8.0
"""For an answer of a health endpoint, whatever hangs."""
OVER_SECONDS = 90.0
FAULTS = ("killed", "restarted", "paused", "slow", "cut", "answer lost", "refused", "black hole")
LASTING = {"killed", "paused", "refused", "black hole"}
SERVERS = ("postgres", "store", "broker", "mlflow")

LOADS = 8
"""That wait through an outage whose log lines are counted."""

MIDDLE: dict[str, dict[str, tuple[bytes, ...]]] = {
    "postgres": {
        "ingest": (b"PGCOPY",),
        "validate": (b"INSERT INTO headrace.validation_results",),
        "snapshot": (b"INSERT INTO headrace.snapshots",),
        "dataset": (b"INSERT INTO headrace.training_datasets",),
        "train": (b"INSERT INTO headrace.promotions",),
    },
    "store": {
        "ingest": (b"PUT /headrace-landing/",),
        "validate": (b"PUT /headrace-reports/",),
        "snapshot": (b"PUT /headrace-snapshots/",),
        "dataset": (b"PUT /headrace-datasets/",),
        "train": (b"GET /headrace-datasets/",),
    },
    "broker": {
        "ingest": (b"headrace.slice-loaded.v1",),
        "validate": (b"headrace.validated.v1",),
        "snapshot": (b"headrace.snapshotted.v1",),
        "dataset": (b"headrace.dataset-ready.v1",),
        "train": (b"headrace.model-published.v1",),
    },
    "mlflow": {
        "dataset": (b"/mlflow/runs/create",),
        "train": (b"/mlflow/model-versions/create",),
    },
}
"""What a service sends to a server in the middle of a stage."""
COMMIT = b"COMMIT"


@dataclass(frozen=True)
class Case:
    server: str
    fault: str
    stage: str

    def __str__(self) -> str:
        return f"{self.server} {self.fault} in {self.stage}".replace(" ", "-")


ALL = [
    Case(server, fault, stage)
    for server, fault, stage in itertools.product(SERVERS, FAULTS, STAGES)
    if stage in MIDDLE[server]
]
# Each server, and the faults that make Headrace wait in ways of their own.
CHOSEN = [
    Case("postgres", "black hole", "ingest"),
    Case("postgres", "answer lost", "train"),
    Case("store", "cut", "snapshot"),
    Case("broker", "killed", "validate"),
    Case("mlflow", "answer lost", "dataset"),
]


@pytest.fixture(autouse=True)
def all_is_well(wired: Wired) -> Iterator[None]:
    yield
    wired.heal()


def harm(wired: Wired, case: Case) -> Callable[[], None]:
    """What brings the fault about, at once and without asking anybody."""
    proxy = wired.proxies[case.server]
    process = wired.process(case.server)

    def cut() -> None:
        proxy.cut()

    return {
        "killed": lambda: wired.kill(process),
        "restarted": lambda: wired.kill(process),
        "paused": lambda: wired.pause(process),
        "slow": lambda: proxy.slow(delay_seconds=0.15, bytes_a_second=200_000),
        "cut": cut,
        "answer lost": cut,
        "refused": proxy.refuse,
        "black hole": proxy.black_hole,
    }[case.fault]


def arm(wired: Wired, case: Case) -> threading.Event:
    """Have the fault happen in the middle of the stage."""
    patterns = MIDDLE[case.server][case.stage]
    is_after = case.fault == "answer lost"
    if is_after and case.server == "postgres" and case.stage != "ingest":
        patterns = (*patterns, COMMIT)
    proxy: Proxy = wired.proxies[case.server]
    return proxy.when(*patterns, action=harm(wired, case), is_after=is_after).fired


def watch_outage(wired: Wired, case: Case) -> float:
    """Until the outage is told; the seconds that took. Every answer comes in bounded time."""
    address = wired.address(SERVICE_OF_STAGE[case.stage].name)
    begun = time.monotonic()
    slowest = 0.0
    while True:
        asked = time.monotonic()
        down = wired.down(address)
        slowest = max(slowest, time.monotonic() - asked)
        if NAMED[case.server] in down:
            break
        assert time.monotonic() - begun < NOTICED_SECONDS, f"not told: {down}"
    assert slowest < ANSWER_SECONDS
    told = time.monotonic() - begun
    health = httpx.get(f"{address}/healthz", timeout=ANSWER_SECONDS)
    assert health.status_code == 200, "a server that is away is no reason to restart"
    return told


@pytest.mark.timeout(240)
@pytest.mark.parametrize("case", ALL if size().is_full else CHOSEN, ids=str)
def test_a_stage_waits_for_a_server_tells_so_and_goes_on(
    wired: Wired, case: Case, figures: Callable[..., None]
) -> None:
    dataset = new_dataset(wired)
    fired = arm(wired, case)
    load_id = request(wired, dataset)
    assert fired.wait(60), "the stage was not reached"
    begun = time.monotonic()
    told = None
    if case.fault in LASTING:
        told = watch_outage(wired, case)
    if case.fault == "slow":
        wait_until(lambda: is_over(wired, load_id), seconds=OVER_SECONDS)
    outage = time.monotonic() - begun
    wired.heal()
    healed = time.monotonic()
    try:
        wait_until(lambda: is_over(wired, load_id), seconds=OVER_SECONDS)
    except AssertionError as error:
        raise AssertionError(how_it_stands(wired, load_id)) from error
    after = time.monotonic() - healed

    assert_done_once(wired, load_id)
    assert_well(wired.settings, dataset, has_model=True)
    figures(
        f"fault: {case}",
        told_seconds=None if told is None else round(told, 1),
        outage_seconds=round(outage, 1),
        done_seconds_after=round(after, 1),
    )


@pytest.mark.timeout(240)
def test_a_postgres_that_hangs_is_hung_up_on_and_a_service_ends_all_the_same(
    wired: Wired, figures: Callable[..., None]
) -> None:
    """TCP alone would wait for ever: the kernel acknowledges what nobody will ever answer."""
    dataset = new_dataset(wired)
    logs = [wired.log("snapshotter"), wired.log("validator")]
    begin = [log.stat().st_size for log in logs]
    (validator,) = [each for each in wired.services.status() if each.name == "validator"]
    assert validator.pid is not None
    fired = arm(wired, Case("postgres", "paused", "snapshot"))
    load_id = request(wired, dataset)
    assert fired.wait(60), "the stage was not reached"
    begun = time.monotonic()

    process = psutil.Process(validator.pid)
    process.terminate()
    _, alive = psutil.wait_procs([process], timeout=15)
    ended = time.monotonic() - begun
    assert not alive or process.status() == psutil.STATUS_ZOMBIE, "it waits for Postgres to end"
    wait_until(
        lambda: any("hung up on postgres" in line for line in lines_since(logs[0], begin[0])),
        seconds=40,
        what=f"{lines_since(logs[0], begin[0])}",
    )
    hung_up = time.monotonic() - begun
    wired.heal()
    wait_until(lambda: is_over(wired, load_id), seconds=OVER_SECONDS)
    assert_done_once(wired, load_id)
    assert_well(wired.settings, dataset, has_model=True)
    figures("a postgres that hangs", hung_up_after=round(hung_up, 1), ended_after=round(ended, 1))


def lines_since(log: Path, offset: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace").splitlines()


def kinds(lines: list[str]) -> Counter[tuple[str, str]]:
    """How often each thing is said, whatever numbers, ids and addresses are in it; with its level.

    What isn't JSON is told as it is: it came past the log.
    """
    found: Counter[tuple[str, str]] = Counter()
    for line in lines:
        said = json.loads(line) if line.startswith("{") else {"level": "", "message": line}
        text = re.sub(r"[0-9a-f-]{8,}|[0-9]+", "#", str(said["message"]))[:60]
        found[said["level"], f"{said.get('logger')}: {text}"] += 1
    return found


@only_full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("server", SERVERS)
def test_a_long_outage_fills_no_log(
    wired: Wired, server: str, figures: Callable[..., None]
) -> None:
    """With events of many datasets waiting, each service says the same thing once a minute."""
    seconds = 130.0
    is_of_models = server == "mlflow"
    waiting, end = ("trainer", "model-published") if is_of_models else ("ingestor", "snapshotted")
    datasets = [new_dataset(wired, "log", with_training=is_of_models) for _ in range(LOADS)]
    services = list(dict.fromkeys(spec.name for spec in SERVICE_OF_STAGE.values()))
    logs = {service: wired.log(service) for service in services}
    begin = {service: log.stat().st_size for service, log in logs.items()}
    if server != "broker":
        wired.proxies[server].refuse()
    loads = [request(wired, dataset) for dataset in datasets]
    wired.proxies[server].refuse()
    ended = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > ended, seconds=seconds + 5)

    lines = {service: lines_since(log, begin[service]) for service, log in logs.items()}
    most = 1 + int(seconds // 60) + 1
    for service, said in lines.items():
        for (level, kind), times in kinds(said).items():
            # What isn't trouble is said of each load, but not of each time that it is tried.
            allowed = LOADS + most if level == "info" else most
            assert times <= allowed, f"{service} says {times} times in {seconds:.0f} s: {kind}"
    assert any(f"waiting for {NAMED[server]}" in line for line in lines[waiting])
    wired.heal()
    for load_id in loads:
        wait_until(lambda load_id=load_id: is_over(wired, load_id, end), seconds=OVER_SECONDS)
    assert_well(wired.settings, datasets[0], has_model=is_of_models)
    told = {service: len(said) for service, said in lines.items()}
    figures(f"log lines in {seconds:.0f} s without {server}, {LOADS} loads waiting", **told)
