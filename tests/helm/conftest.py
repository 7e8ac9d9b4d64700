"""What the chart's tests need: helm, and the definitions of others' objects."""

import os
from pathlib import Path

import pytest

from tests.helm.chart import TOOLS, find_tool


def get(name: str) -> Path:
    """The tool. Without it the test is skipped, or fails in CI."""
    found = find_tool(name)
    if found is None:
        reason = f"{name} is not there: `make chart-tools` builds it, where there is Go 1.26"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def helm() -> Path:
    """The program that renders the chart."""
    return get("helm")


@pytest.fixture(scope="session")
def definitions() -> list[Path]:
    """The definitions of the objects that KEDA and the Prometheus operator bring."""
    found = sorted((TOOLS / "crds").glob("*.yaml"))
    if not found:
        reason = "there are no definitions: `make chart-tools` brings them, where there is Go"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found
