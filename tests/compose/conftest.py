"""The whole system in containers, once for all tests here, from this repository alone.

These run where somebody names them (`make compose-e2e`, or pytest with this folder): `make test`
doesn't, because they need Docker and take minutes.
"""

import fcntl
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.sample import write_streamflow
from infra.docker.compose import compose_command
from shared.database.engine import make_engine
from tests.compose.choice import choose_images
from tests.compose.drops import spoil_row
from tests.compose.environment import settings_from_host, write_variables
from tests.compose.images.docker import StandInError, need_docker
from tests.compose.project import Project, projects, run
from tests.compose.receiver import URL, Receiver
from tests.compose.system import System
from tests.compose.timings import Timings
from tests.conftest import DROPS
from tests.e2e.conftest import copy_spec

# Their assertions are to say what they compared.
pytest.register_assert_rewrite("tests.compose.accounts")

HERE = Path(__file__).resolve().parent
LOGS = "COMPOSE_E2E_LOGS"
NAME = "headrace-e2e-"
STORMY_MONTHS = 12
BRANCHES = tuple(f"branch_{letter}" for letter in "abcdef")
"""Datasets that run side by side."""
# Long enough to build all images from nothing.
SECONDS_A_TEST = 2400.0

_timings = Timings()
_failed = pytest.StashKey[bool]()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave everything here to a run that names this folder, or something in it."""
    return None if _is_asked_for(config) else True


def _is_asked_for(config: pytest.Config) -> bool:
    asked = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    return any(path.is_relative_to(HERE) for path in asked)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starting the system counts towards the first test's time."""
    for item in items:
        if Path(item.path).is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(SECONDS_A_TEST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Remember that something failed, so that the containers' logs are kept."""
    report = yield
    if report.failed:
        item.session.stash[_failed] = True
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the run's own timing table, or how to have one."""
    if not _is_asked_for(terminalreporter.config):
        terminalreporter.write_line("not run: tests/compose (in containers: `make compose-e2e`)")
    if lines := _timings.lines():
        terminalreporter.section("compose: how long each step took")
        for line in lines:
            terminalreporter.write_line(line)


def _speaker(config: pytest.Config) -> Callable[[str], None]:
    """Tells whoever waits, past pytest's capture."""
    terminal = config.pluginmanager.getplugin("terminalreporter")
    return terminal.write_line if terminal is not None else print


@pytest.fixture(scope="session")
def command() -> tuple[str, ...]:
    """The compose command; without it or a Docker server there is nothing to test."""
    try:
        need_docker()
    except StandInError as error:
        return _missing(str(error))
    found = compose_command()
    return found or _missing("docker compose is missing; on Debian: apt-get install docker-compose")


def _missing(what: str) -> tuple[str, ...]:
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def alone(command: tuple[str, ...], request: pytest.FixtureRequest) -> Iterator[None]:
    """No other run of these tests, and nothing left of one that was killed.

    Docker starts such a run's containers again whenever it starts itself, and they would take a
    whole machine's time from this run.
    """
    say = _speaker(request.config)
    with (Path(tempfile.gettempdir()) / f"{NAME}lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.fail("the tests in containers are running already; wait for their end")
        for name in projects(NAME):
            say(f"removing what an interrupted run has left: {name}")
            Project(name, command, Path(os.devnull)).take_down()
        yield


@pytest.fixture(scope="session")
def system(
    command: tuple[str, ...], alone: None, request: pytest.FixtureRequest
) -> Iterator[System]:
    """The system, built and up under a name and an `.env` of its own; taken down in any case."""
    # What ends a run from outside (a closed terminal, a time limit) ends it as Ctrl-C does, and so
    # with the project taken down.
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    say = _speaker(request.config)
    # Not pytest's own folder: that is only its user's, and the containers have another one.
    folder = Path(tempfile.mkdtemp(prefix="headrace-compose-"))
    folder.chmod(0o755)
    with _timings.step("third-party images"):
        images = choose_images(say)
    specs, drops = _specs(folder / "specs"), _drops(folder / "drops")
    name = f"{NAME}{secrets.token_hex(3)}"
    variables = write_variables(
        folder / ".env",
        {**images, "DATASETS_DIR": str(specs), "DROPS_DIR": str(drops), "NOTIFY_URLS": URL},
    )
    project = Project(name, command, folder / ".env")
    receiver = Receiver(project, f"headrace/notifier:{variables['HEADRACE_VERSION']}")
    engine = None
    try:
        with _timings.step("build our images"):
            project.compose("build")
        with _timings.step("up, to healthy containers"):
            project.compose("up", "--detach")
            settings = settings_from_host(variables)
            engine = make_engine(settings, application="test")
            found = System(project, settings, engine, variables, _timings, specs, drops, receiver)
            found.await_ready()
        receiver.start()
        yield found
    except BaseException:
        request.session.stash[_failed] = True
        raise
    finally:
        if engine is not None:
            engine.dispose()
        if request.session.stash.get(_failed, False):
            logs = Path(os.environ.get(LOGS) or tempfile.mkdtemp(prefix="headrace-compose-logs-"))
            project.save_logs(logs)
            say(f"the containers' logs are in {logs}")
        with _timings.step("down"):
            receiver.remove()
            project.take_down()
        shutil.rmtree(folder, ignore_errors=True)


def _specs(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o755)
    for name in ("streamflow", "rakuten"):
        copy_spec(name, folder)
    for name in ("stormy", *BRANCHES):
        copy_spec("streamflow", folder, as_name=name)
    # One row of each of its drops can't be typed, so that quarantine has something to count.
    stormy = folder / "stormy.yaml"
    said = stormy.read_text(encoding="utf-8")
    assert "  usage_agg_30d:\n    key: [user_id]\n" in said
    said = said.replace(
        "  usage_agg_30d:\n    key: [user_id]\n",
        "  usage_agg_30d:\n    key: [user_id]\n    quarantine_budget: 1\n",
    )
    stormy.write_text(said, encoding="utf-8")
    return folder


def _drops(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o755)
    if DROPS.is_dir():
        for month in ("month_000", "month_001"):
            shutil.copytree(DROPS / month, folder / "streamflow" / month)
    else:
        write_streamflow(folder / "streamflow", months=2, users=7000, seed=3)
    write_streamflow(folder / "stormy", months=STORMY_MONTHS, users=1500, seed=11)
    for month in sorted((folder / "stormy").iterdir()):
        spoil_row(month)
    write_streamflow(folder / "branch", months=1, users=1500, seed=7)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


@pytest.fixture(scope="session")
def commit() -> str:
    """The commit of this checkout."""
    return run("git", "rev-parse", "HEAD").strip()
