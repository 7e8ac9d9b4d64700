"""The whole stack as processes, once for all end-to-end tests, and the command that drives it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from cli.migrate import migrate
from cli.sample import write_streamflow
from infra.embedded.environment import Broker
from infra.embedded.services import SERVICES
from infra.embedded.stack import Stack
from shared.database.engine import make_engine
from shared.settings import Settings
from tests.conftest import REPOSITORY
from tests.otlp_receiver import OtlpReceiver
from tests.waiting import wait_until


@dataclass(frozen=True)
class Headrace:
    """A running stack, as a person has it: the command, and the database to look into."""

    stack: Stack
    settings: Settings
    engine: Engine
    root: Path

    def run(self, *arguments: str, code: int | None = 0) -> str:
        """What `headrace arguments…` prints; its exit code must be `code`, unless that is None."""
        command = [sys.executable, "-c", "from cli.main import main; main()", *arguments]
        done = subprocess.run(
            [*command, "--root", str(self.root)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        said = done.stdout + done.stderr
        assert code is None or done.returncode == code, f"exit {done.returncode}: {said}"
        return said

    def json(self, *arguments: str) -> Any:
        """What `headrace arguments… --json` prints."""
        return json.loads(self.run(*arguments, "--json"))

    def query(self, statement: str, **parameters: Any) -> list[Any]:
        """Rows from the database."""
        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), parameters))

    def scalar(self, statement: str, **parameters: Any) -> Any:
        """One value from the database."""
        return self.query(statement, **parameters)[0][0]

    def kill(self, service: str) -> None:
        """`kill -9` the service."""
        (status,) = [each for each in self.stack.status() if each.name == service]
        assert status.pid is not None
        os.kill(status.pid, signal.SIGKILL)
        wait_until(lambda: service in {death.name for death in self.stack.dead()})


def copy_spec(name: str, directory: Path, *, as_name: str | None = None) -> None:
    """Put the spec `name` into `directory`, under another dataset's name if asked."""
    as_name = as_name or name
    for folder in (REPOSITORY / "datasets", REPOSITORY / "tests" / "datasets"):
        if (folder / f"{name}.yaml").is_file():
            said = (folder / f"{name}.yaml").read_text()
            said = said.replace(f"dataset: {name}\n", f"dataset: {as_name}\n")
            for model in ("churn", "classifier"):
                said = said.replace(f"name: {name}_{model}", f"name: {as_name}_{model}")
            (directory / f"{as_name}.yaml").write_text(said)


@pytest.fixture(scope="package")
def traces() -> Iterator[OtlpReceiver]:
    """Where the stack sends its traces."""
    receiver = OtlpReceiver().up()
    yield receiver
    receiver.down()


@pytest.fixture(scope="package")
def headrace(
    tmp_path_factory: pytest.TempPathFactory, broker: Broker, traces: OtlpReceiver
) -> Iterator[Headrace]:
    """The embedded stack with all services.

    It ends with the last test here, so that no later one runs beside it.
    """
    root = tmp_path_factory.mktemp("stack")
    specs = root / "specs"
    specs.mkdir()
    for name in ("streamflow", "rakuten", "bakery"):
        copy_spec(name, specs)
    for name in ("calm", "stormy", "traced"):
        copy_spec("streamflow", specs, as_name=name)
    given = {"DATASETS_DIR": str(specs), "OTEL_EXPORTER_OTLP_ENDPOINT": traces.url}
    stack = Stack(root / ".headrace", given=given, inherited=dict(os.environ), broker=broker)
    try:
        stack.start(SERVICES, migrate=migrate)
        settings = stack.settings()
        engine = make_engine(settings, application="test")
        yield Headrace(stack, settings, engine, stack.root)
        engine.dispose()
    finally:
        stack.stop()


@pytest.fixture(scope="session")
def sample_drops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six invented monthly drops."""
    folder = tmp_path_factory.mktemp("sample")
    write_streamflow(folder, months=6, users=1500, seed=11)
    return folder


@pytest.fixture
def copy_drop(tmp_path: Path) -> Any:
    """Copies a drop to a folder of the test's own, to be spoiled."""

    def copy(drop: Path, name: str | None = None) -> Path:
        target = tmp_path / (name or drop.name)
        shutil.copytree(drop, target)
        target.chmod(0o755)
        for path in target.iterdir():
            path.chmod(0o644)
        return target

    return copy
