"""The whole stack: started, looked at and stopped, by any command that knows its folder."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from infra.embedded import process
from infra.embedded.environment import BROKER, REPLACING, Broker, settings_of, without_password
from infra.embedded.errors import BrokerGiven, StackNotStarted
from infra.embedded.launcher import Launcher
from infra.embedded.logs import log_path, tail
from infra.embedded.plan import Choice, Layout, lay_out
from infra.embedded.ports import claim
from infra.embedded.private_file import make_private_directory
from infra.embedded.server import Server, Stage
from infra.embedded.services import SERVICES, ServiceSpec, service_of
from infra.embedded.state import StackState, StateFile
from shared.settings import Settings

Condition = Literal["ready", "not ready", "dead", "stopped"]
Migrate = Callable[[Settings], None]
Report = Callable[[str, float], None]


@dataclass(frozen=True)
class Death:
    """A process that ended though nobody stopped it, and the end of what it wrote."""

    name: str
    log: Path
    tail: str


@dataclass(frozen=True)
class ProcessStatus:
    """How a process of the stack does.

    `address` holds no secret; `pid` is None for one that was not started since the last `stop`.
    """

    name: str
    condition: Condition
    address: str
    pid: int | None
    log: Path


def _ignore(name: str, seconds: float) -> None:
    """The report to nobody."""


class Stack:
    """The embedded servers and the services, with their data in the folder `root`.

    `given` are the settings variables that the caller has set: a server that one of them names is
    used and not started. `inherited` is the caller's whole environment, for the children; without
    a `broker` it is that of the last start. Making a `Stack` does nothing. The processes outlive
    it; any other one of the same folder finds them.
    """

    def __init__(
        self,
        root: Path,
        *,
        given: Mapping[str, str] | None = None,
        inherited: Mapping[str, str] | None = None,
        broker: Broker | None = None,
        mlflow: bool = True,
    ) -> None:
        if broker is not None and BROKER in (given or {}):
            raise BrokerGiven(broker, BROKER)
        self.root = root.resolve()
        self._given = dict(given or {})
        self._inherited = dict(inherited or {})
        self._broker = broker
        self._mlflow = mlflow
        self._state = StateFile(self.root)

    def start(
        self,
        services: Sequence[ServiceSpec] = SERVICES,
        *,
        scale: Mapping[str, int] | None = None,
        migrate: Migrate | None = None,
        report: Report = _ignore,
        report_surplus: Report = _ignore,
    ) -> dict[str, str]:
        """Start what does not run, wait until all of it is ready, and return `environment()`.

        What runs as it should is left alone; what runs with other settings (a port had to change)
        is started anew. `scale` says how many processes of a service there shall be, 0 none; it
        holds for later starts too. A surplus of `services` is stopped first, and `report_surplus`
        gets each name and the seconds that took. `migrate` is called between the servers and the
        services. `report` gets each name and the seconds from the beginning until it was ready;
        it is called from threads.

        Raises:
            ProcessDied, ProcessNotReady: one of them did not come up. The others run on.
            StackBusy: another process starts or stops this stack.
            StackError: something else is in the way; the message says what to do.

        """
        with self._state.lock():
            make_private_directory(self.root / "logs")
            launcher = Launcher(self.root, self._state)
            launcher.end_strays()
            layout = self._decide(services, scale or {})
            self._dismiss(layout, {spec.name for spec in services}, launcher, report_surplus)
            # A thread for each, or one that waits for another could keep that from starting.
            with ThreadPoolExecutor(len(layout.servers) + len(layout.services) or 1) as pool:
                try:
                    _start_all(layout, launcher, pool, migrate, report)
                except BaseException:
                    launcher.abandon()
                    raise
            return dict(layout.environment)

    def stop(self, *, report: Report = _ignore) -> list[str]:
        """Stop everything, last started first, and return the names of what was recorded.

        When it returns no process of the stack is left, also none that a killed one left behind.
        Data, ports and passwords stay. `report` gets each name and the seconds it took to stop.
        """
        if not self.root.exists():
            return []
        with self._state.lock():
            with self._state.change() as state:
                state.stopping = True
                records = dict(state.processes)
            launcher = Launcher(self.root, self._state)

            def take_down(name: str) -> None:
                report(name, launcher.take_down(name))

            for stage in sorted(Stage, reverse=True):
                names = [name for name, record in records.items() if record.stage == stage]
                with ThreadPoolExecutor(len(names) or 1) as pool:
                    list(pool.map(take_down, names))
            launcher.end_strays()
            with self._state.change() as state:
                state.processes = {}
                state.stopping = False
            return list(records)

    def status(self) -> list[ProcessStatus]:
        """How every process does that was asked for last; empty if none ever was.

        Asks each of them, at the same time, whether it is ready: takes some seconds if one hangs.
        """
        state = self._state.read()
        if not state.environment:
            return []
        layout = lay_out(self.root, state.choice, ports=state.ports, inherited={})
        processes = [*layout.servers, *layout.services]
        with ThreadPoolExecutor(len(processes) or 1) as pool:
            return list(pool.map(lambda server: self._status_of(server, state), processes))

    def dead(self) -> list[Death]:
        """The processes that ended though nobody stopped them. Cheap: ask as often as you like."""
        state = self._state.read()
        if state.stopping:
            return []
        return [
            Death(name, record.log, tail(record.log, offset=record.log_offset))
            for name, record in state.processes.items()
            if process.find(record) is None
        ]

    def is_up(self) -> bool:
        """Whether the stack was started and not stopped since, whatever became of its processes."""
        return bool(self._state.read().processes)

    def environment(self) -> dict[str, str]:
        """Every settings variable with which a process reaches this stack, as of its last start.

        Raises:
            StackNotStarted: it never was.

        """
        environment = self._state.read().environment
        if not environment:
            raise StackNotStarted(self.root)
        return environment

    def given(self) -> dict[str, str]:
        """The servers that were given at the last start, by variable, without passwords."""
        given = self._state.read().choice.given
        return {name: without_password(given[name]) for name in REPLACING if name in given}

    def settings(self) -> Settings:
        """The settings of a process in `environment()`. Raises as that does."""
        return settings_of(self.environment())

    def logs(self) -> dict[str, Path]:
        """The log of every process that ever ran here, by name."""
        return {log.stem: log for log in sorted((self.root / "logs").glob("*.log"))}

    def scale(self) -> dict[str, int]:
        """How many processes of a service were asked for last, by its name; else there is one."""
        return dict(self._state.read().choice.scale)

    def broker(self) -> Broker | None:
        """The embedded broker of the last start, though a given one took its place; else None."""
        state = self._state.read()
        return state.choice.broker if state.environment else None

    def _decide(self, services: Iterable[ServiceSpec], scale: Mapping[str, int]) -> Layout:
        """Choose ports and settings and record them.

        Running processes of services that aren't among `services` are kept.
        """
        with self._state.change() as state:
            running = {name for name, record in state.processes.items() if process.find(record)}
            scale = {**state.choice.scale, **scale}
            asked = {spec.name: spec.replicas(scale.get(spec.name, 1)) for spec in services}
            others = [spec for spec in state.choice.services if spec.name not in asked]
            kept = [spec for spec in others if spec.process in running]
            choice = Choice(
                given=self._given,
                services=(*kept, *chain.from_iterable(asked.values())),
                scale=scale,
                broker=self._broker or state.choice.broker,
                mlflow=self._mlflow,
                directory=Path.cwd(),
            )
            choice.ensure_programs(self._inherited)
            roles = choice.roles()
            held = {role for role, name in roles.items() if name in running}
            state.ports = claim(roles, state.ports, held)
            layout = lay_out(self.root, choice, ports=state.ports, inherited=self._inherited)
            state.choice = choice
            state.environment = dict(layout.environment)
            state.stopping = False
        return layout

    def _dismiss(
        self, layout: Layout, services: Collection[str], launcher: Launcher, report: Report
    ) -> None:
        """Stop replicas of `services`, and a broker, that `layout` hasn't any more, all at once."""
        wanted = {each.name for each in (*layout.servers, *layout.services)}
        surplus = [
            name
            for name, record in self._state.read().processes.items()
            if (service_of(name) in services or name in set(Broker)) and name not in wanted
        ]
        with ThreadPoolExecutor(len(surplus) or 1) as pool:
            list(pool.map(lambda name: report(name, launcher.dismiss(name)), surplus))

    def _status_of(self, server: Server, state: StackState) -> ProcessStatus:
        record = state.processes.get(server.name)
        condition: Condition = "stopped"
        if record and process.find(record) is None:
            condition = "dead"
        elif record:
            condition = "ready" if server.is_ready() else "not ready"
        pid = record.pid if record else None
        log = log_path(self.root, server.name)
        return ProcessStatus(server.name, condition, server.address, pid, log)


def _start_all(
    layout: Layout,
    launcher: Launcher,
    pool: ThreadPoolExecutor,
    migrate: Migrate | None,
    report: Report,
) -> None:
    """Start servers as soon as what they need is ready, migrate, then the services.

    MLflow may still be on its way when the services begin: both take seconds to import.
    """
    begun = time.monotonic()
    started: dict[str, Future[None]] = {}

    def bring_up(server: Server) -> None:
        for name in server.needs:
            started[name].result()
        launcher.bring_up(server)
        report(server.name, time.monotonic() - begun)

    for server in layout.servers:
        started[server.name] = pool.submit(bring_up, server)
    _await([started[name] for name in layout.needed_by_services])
    if migrate is not None:
        migrate(settings_of(layout.environment))
        report("the schema, topics and buckets", time.monotonic() - begun)
    for service in layout.services:
        started[service.name] = pool.submit(bring_up, service)
    _await(list(started.values()))


def _await(futures: list[Future[None]]) -> None:
    """Wait until all have ended or one has failed, and raise what that one failed with."""
    for future in wait(futures, return_when=FIRST_EXCEPTION).done:
        future.result()
