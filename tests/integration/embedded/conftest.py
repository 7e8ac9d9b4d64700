import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process_table import not_stopped

from infra.embedded.stack import Stack


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    def wait(condition: Callable[[], bool], seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not so within {seconds} s"
            time.sleep(0.02)

    return wait


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """An empty folder; whatever stack is made in it is stopped."""
    folder = tmp_path / "headrace"
    yield folder
    Stack(folder).stop()
    assert not_stopped(folder) == []


@pytest.fixture
def stack(root: Path) -> Stack:
    """The servers without MLflow, ready."""
    stack = Stack(root, inherited=os.environ, mlflow=False)
    stack.start(services=())
    return stack
