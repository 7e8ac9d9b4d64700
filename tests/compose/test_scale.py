"""Several containers of a service share its datasets."""

import re
from collections.abc import Iterator

import pytest

from shared.contracts.topics import Topic
from shared.messaging.kafka import Admin
from tests.compose.accounts import check_dataset
from tests.compose.conftest import BRANCHES
from tests.compose.system import READY_SECONDS, System
from tests.waiting import wait_until

REPLICAS = 3


@pytest.fixture
def validators(system: System) -> Iterator[list[str]]:
    """The ids of three validators, which are ready; one of them afterwards."""
    try:
        with system.step(f"up --scale validator={REPLICAS}"):
            _scale(system, REPLICAS)
        yield system.project.containers("validator")
    finally:
        with system.step("up --scale validator=1"):
            _scale(system, 1)
    assert len(system.project.containers("validator")) == 1


def test_three_validators_share_six_datasets(system: System, validators: list[str]) -> None:
    assert len(validators) == REPLICAS

    def shares() -> list[int]:
        return [system.ask(each, "/info").body["partitions"] for each in validators]

    wait_until(
        lambda: sum(shares()) == _partitions(system) and all(shares()),
        seconds=READY_SECONDS,
        what="each validator has partitions, and all are given out",
    )
    before = _done_by(system, validators)
    drop = system.drops / "branch" / "month_000"
    with system.step(f"{len(BRANCHES)} datasets at once, {REPLICAS} validators"):
        loads = {name: system.request(name, drop.name, drop) for name in BRANCHES}
        for load_id in loads.values():
            system.await_model(load_id)
    for name, load_id in loads.items():
        check_dataset(system, name, {load_id: drop})

    done = [now - then for now, then in zip(_done_by(system, validators), before, strict=True)]
    assert sum(done) == len(BRANCHES), "each slice was validated once"
    assert sum(1 for each in done if each) >= 2, f"more than one validator worked: {done}"
    system.timings.facts.append(("slices by validator", str(done)))


def _scale(system: System, replicas: int) -> None:
    system.project.compose(
        *("up", "--detach", "--no-recreate", "--no-deps"),
        *("--scale", f"validator={replicas}", "validator"),
    )
    system.await_ready("validator")


def _partitions(system: System) -> int:
    admin = Admin(system.settings)
    try:
        return admin.partitions()[Topic.SLICE_LOADED]
    finally:
        admin.close()


def _done_by(system: System, containers: list[str]) -> list[int]:
    """How many records each container has done since it started."""
    counts = []
    for container in containers:
        metrics = str(system.ask(container, "/metrics").body)
        found = re.findall(r'headrace_events_total\{.*outcome="done".*\} ([0-9.]+)', metrics)
        counts.append(int(sum(map(float, found))))
    return counts
