"""The fail points: a closed list, off unless one is named."""

import ast
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest

from shared.errors import InvalidSettings
from shared.fail_points import MARK, FailPoint, parse
from tests.chaos.kill_points import MATRIX
from tests.conftest import REPOSITORY


def reached_in_the_code() -> Counter[str]:
    """How often the code says `reached(FailPoint.NAME, …)`, by name."""
    names: Counter[str] = Counter()
    for folder in ("shared", "services", "cli", "infra"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id == "reached"
                ):
                    point = node.args[0]
                    assert isinstance(point, ast.Attribute), f"{path}:{node.lineno}"
                    names[point.attr] += 1
    return names


def test_every_fail_point_is_reached_somewhere_and_each_that_is_reached_is_one() -> None:
    assert reached_in_the_code().keys() == FailPoint.__members__.keys()


def test_the_kill_matrix_has_every_fail_point() -> None:
    assert {kill.point for kill in MATRIX} == set(FailPoint)
    assert max(Counter(MATRIX).values()) == 1


def test_a_name_that_is_none_is_refused() -> None:
    for text in ("unit.comitted", "unit.committed:0", "unit.committed@", ":3", "UNIT_COMMITTED"):
        with pytest.raises(InvalidSettings, match="FAIL_POINT"):
            parse(text)
    assert parse("") is None


def test_a_setting_says_the_point_the_passing_and_the_dataset() -> None:
    armed = parse("relay.sent:3@streamflow")
    assert armed is not None
    assert (armed.point, armed.passing, armed.dataset) == (FailPoint.RELAY_SENT, 3, "streamflow")


def passing(setting: str, *datasets: str) -> subprocess.CompletedProcess[str]:
    """A process that is armed with `setting` and passes a point once for each of `datasets`."""
    program = f"""
from shared.fail_points import FailPoint, arm, reached
arm({setting!r})
for dataset in {datasets!r}:
    reached(FailPoint.RELAY_SENDING, dataset)
    reached(FailPoint.RELAY_SENT, dataset)
    print("passed", dataset, flush=True)
"""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_process_is_killed_at_the_point_that_is_armed_and_says_which() -> None:
    done = passing("relay.sent:2@b", "a", "b", "c", "b", "d")
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["passed", "a", "passed", "b", "passed", "c"]
    assert done.stderr == f"{MARK} relay.sent\n"


def test_without_a_setting_nothing_happens() -> None:
    done = passing("", "a", "b")
    assert (done.returncode, done.stdout.split()) == (0, ["passed", "a", "passed", "b"])


def test_a_service_does_not_start_with_a_name_that_is_none() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.snapshotter.app"],
        cwd=REPOSITORY,
        env={**os.environ, "FAIL_POINT": "nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "FAIL_POINT=nowhere: there is no such fail point" in done.stderr
