"""Promises 1 to 3 in containers: each one killed in mid-slice, in turn."""

from collections import Counter
from pathlib import Path

import pytest

from shared.contracts.events import ModelPublished
from tests.compose.accounts import WAY, check_dataset
from tests.compose.project import inspect, run
from tests.compose.system import READY_SECONDS, System
from tests.waiting import wait_until

DATASET = "stormy"
KILLED = [
    ("ingestor", "ingest"),
    ("validator", "validate"),
    ("snapshotter", "snapshot"),
    ("trainer", "dataset"),
    ("trainer", "train"),
    ("notifier", "train"),
    ("minio", "ingest"),
    ("postgres", "snapshot"),
    ("mlflow", "train"),
    ("kafka", "validate"),
    ("console", "train"),
]
"""The container, and the stage in which it is killed."""
OF_OTHERS = ("kafka", "postgres", "minio")
"""Their process is the container's first, which only Docker can kill; so it has to start it too."""
# Ours is a child of Docker's init, so that its death is a crash, and the restart policy's affair.
CRASH = "import os; os.kill(-1, 9)"


@pytest.fixture(scope="module")
def loads() -> dict[str, Path]:
    """The loads so far, in order."""
    return {}


def kill(system: System, service: str) -> None:
    """End a container as a crash would; what is ours has to come again by its restart policy."""
    container = system.project.container(service)
    before = inspect(container)["State"]["StartedAt"]
    if service in OF_OTHERS:
        run("docker", "kill", container)
        wait_until(
            lambda: inspect(container)["State"]["ExitCode"] == 137,
            seconds=READY_SECONDS,
            what="it is killed",
        )
        run("docker", "start", container)
    else:
        system.project.exec(container, "python", "-c", CRASH, code=None)

    def came_again() -> bool:
        state = inspect(container)["State"]
        return bool(state["StartedAt"] != before and state["Running"])

    wait_until(
        came_again, seconds=READY_SECONDS, what=f"{service} was not started again after its crash"
    )


@pytest.mark.parametrize(
    ("month", "service", "stage"),
    [(month, service, stage) for month, (service, stage) in enumerate(KILLED)],
    ids=[f"{service} in {stage}" for service, stage in KILLED],
)
def test_a_slice_is_whole_though_a_container_was_killed(
    system: System, loads: dict[str, Path], month: int, service: str, stage: str
) -> None:
    drop = system.drops / DATASET / f"month_{month:03d}"
    with system.step(f"{DATASET}/{drop.name}, {service} killed in {stage}"):
        load_id = system.request(DATASET, drop.name, drop)
        loads[load_id] = drop
        system.await_stage(load_id, stage)
        kill(system, service)
        system.await_model(load_id)
    with system.step("  until all are healthy again"):
        system.await_ready()
    records = check_dataset(system, DATASET, loads)
    if month == len(KILLED) - 1:
        said = f"{records} records for {len(WAY) * len(loads)} events, each id in one topic"
        system.timings.facts.append((f"{DATASET} on the topics", said))


def test_nobody_was_told_twice(system: System, loads: dict[str, Path]) -> None:
    assert loads, "the loads of the tests before this one"

    def states() -> Counter[str]:
        found = system.query("SELECT state FROM headrace.notifications")
        return Counter(state for (state,) in found)

    def is_settled() -> bool:
        counted = states()
        return counted.total() - counted["sent"] <= 1 and counted["pending"] == 0

    wait_until(is_settled, seconds=READY_SECONDS, what=f"every message is sent: {states()}")
    told = Counter((each["title"], each["message"]) for each in system.receiver.messages())
    rows = system.query(
        "SELECT event_type, title, body, state FROM headrace.notifications "
        "WHERE dataset = :dataset",
        dataset=DATASET,
    )
    of_models = [row for row in rows if row.event_type == ModelPublished.type]
    assert len(of_models) == len(loads), "one message for each model"
    # The notifier that was killed may have had one in hand; it is not sent a second time.
    for _, title, body, state in rows:
        assert told[title, body] == 1 if state == "sent" else told[title, body] <= 1, title
