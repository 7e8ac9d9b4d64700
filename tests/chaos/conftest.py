"""What every chaos test has: a place for its figures, which are printed at the end of the run."""

from collections.abc import Callable, Iterator

import pytest

from infra.embedded.environment import Broker
from tests.chaos.size import size
from tests.chaos.wired import Wired, wired_stack

FIGURE = "figure"
FULL_SECONDS = 3600.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """At full size a test may take its time, also where the selection has to be quick."""
    if size().is_full:
        for item in items:
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(FULL_SECONDS))


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Notes what a test did: `figures("kill points", survived=57, of=57)`."""

    def note(what: str, **values: object) -> None:
        told = ", ".join(f"{name} {value}" for name, value in values.items())
        record_property(FIGURE, f"{what}: {told}")

    return note


@pytest.fixture(scope="package")
def wired(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Wired]:
    """The whole stack with a proxy before each server, once for all tests that harm servers.

    It ends with the last test here, so that no later one runs beside it.
    """
    with wired_stack(tmp_path_factory.mktemp("wired"), broker) as stack:
        yield stack


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ended = terminalreporter.stats
    reports = [report for kind in ("passed", "failed") for report in ended.get(kind, [])]
    told = [text for each in reports for name, text in each.user_properties if name == FIGURE]
    if told:
        terminalreporter.section("chaos: figures")
        for line in told:
            terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of a run of all of it."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not size().is_full:
        return
    count = {name: len(reporter.stats.get(name, [])) for name in ("passed", "failed", "error")}
    print(f"{count['passed']} passed, {count['failed'] + count['error']} failed")
