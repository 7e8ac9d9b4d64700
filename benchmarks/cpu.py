"""Who keeps the cores busy while something is measured."""

import time
from contextlib import suppress
from dataclasses import dataclass

import psutil

from infra.embedded.services import service_of
from infra.embedded.stack import Stack


@dataclass(frozen=True)
class Cores:
    """Cores that were busy on average; 1.0 is one of them all the time."""

    service: float
    """All replicas of the service at work, together."""
    postgres: float
    others: float
    """The rest of the stack: the store, the broker, MLflow, the services that wait."""
    elsewhere: float
    """What has nothing to do with the stack. Repeat where it is much."""
    all_there_are: int

    @property
    def busy(self) -> float:
        """Together."""
        return self.service + self.postgres + self.others + self.elsewhere


class Meter:
    """Measures from its making until `read`."""

    def __init__(self, stack: Stack) -> None:
        self._pids = {each.name: each.pid for each in stack.status() if each.pid}
        self._begun = time.monotonic()
        self._machine = _machine_seconds()
        self._seconds = self._read()

    def read(self, service: str) -> Cores:
        """The cores busy since, `service` being the one at work."""
        passed = time.monotonic() - self._begun
        machine = (_machine_seconds() - self._machine) / passed
        now = self._read()
        used = {name: (now[name] - self._seconds[name]) / passed for name in now}
        at_work = sum(value for name, value in used.items() if service_of(name) == service)
        postgres = used.get("postgres", 0.0)
        others = sum(used.values()) - at_work - postgres
        return Cores(
            service=at_work,
            postgres=postgres,
            others=others,
            elsewhere=max(0.0, machine - at_work - postgres - others),
            all_there_are=psutil.cpu_count() or 1,
        )

    def _read(self) -> dict[str, float]:
        return {name: _family_seconds(pid) for name, pid in self._pids.items()}


def _family_seconds(pid: int) -> float:
    """CPU seconds of a process, of its children that live and of those that ended."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    seconds = 0.0
    for each in family:
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def _machine_seconds() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)
