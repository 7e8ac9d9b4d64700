"""Where datasets run and services die: each service has a queue of kills, side by side."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from infra.embedded.services import SERVICES
from tests.chaos.kill_datasets import PATIENCE_SECONDS, Scenario
from tests.chaos.kill_drops import Drops
from tests.chaos.kill_points import Kill, Kind
from tests.chaos.kill_services import Services
from tests.integration.notifier.receiver import Receiver
from tests.waiting import wait_until

REQUESTS_AT_ONCE = 16
IDLE_SECONDS = 10.0
"""After the end of a dataset's run for so long, nobody comes to a point of it any more."""


@dataclass
class Run:
    """A dataset and the kills that are meant for it; it begins when all of them are armed."""

    scenario: Scenario
    kills: Sequence[Kill]
    _armed: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(self, service: str) -> bool:
        """Note that a service is armed; whether now all are, for the first time."""
        with self._lock:
            is_new = service not in self._armed
            self._armed.add(service)
            return is_new and self._armed == {kill.service for kill in self.kills}

    def __str__(self) -> str:
        return " and ".join(map(str, self.kills))


@dataclass
class KillStage:
    """The services, and all that their datasets need."""

    services: Services
    drops: Drops
    receiver: Receiver
    calm: dict[Kind, Scenario] = field(default_factory=dict)
    """Datasets that nothing happens to."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def scenario(self, kind: Kind) -> Scenario:
        """A fresh dataset of this kind."""
        return Scenario(f"{kind}_{next(self._numbers)}", kind, self.services, self.drops)

    def endure(self, runs: Sequence[Run]) -> list[Kill]:
        """Have every service die at each of its kills, in the order of `runs`.

        A kill is of one dataset: a service that is armed for it works on others as ever. Gives the
        kills that did not come about: some points are passed once only, and that may have been
        before the kill was armed, where a run has two.
        """
        queues: dict[str, list[tuple[Kill, Run]]] = {spec.name: [] for spec in SERVICES}
        for run in runs:
            for kill in run.kills:
                queues[kill.service].append((kill, run))
        failures: list[BaseException] = []
        missed: list[Kill] = []
        asked: list[Future[None]] = []
        with ThreadPoolExecutor(len(queues) + REQUESTS_AT_ONCE) as pool:

            def work(service: str, queue: Sequence[tuple[Kill, Run]]) -> None:
                try:
                    for (kill, run), following in itertools.pairwise([*queue, None]):
                        if failures:
                            return
                        if run.arm(service):
                            asked.append(pool.submit(run.scenario.run))
                        is_idle = Lasting(run.scenario.is_over, IDLE_SECONDS)
                        if not self.services.await_kill(
                            service,
                            kill.point,
                            PATIENCE_SECONDS,
                            lambda is_idle=is_idle: bool(failures) or is_idle(),
                        ):
                            missed.append(kill)
                        self.services.restart(service, _setting(following))
                except BaseException as error:
                    failures.append(error)
                    raise

            for service, queue in queues.items():
                if queue or not self.services.is_running(service):
                    self.services.restart(service, _setting(queue[0] if queue else None))
            self._have_calm({run.scenario.kind for run in runs})
            working = [pool.submit(work, *item) for item in queues.items()]
            wait([*working, *asked])
        if failures:
            raise failures[0]
        for done in asked:
            done.result()
        return missed

    def _have_calm(self, kinds: set[Kind]) -> None:
        """Bring a dataset of each kind to its end, before anybody dies."""
        new = {kind: self.scenario(kind) for kind in sorted(kinds - self.calm.keys())}
        for scenario in new.values():
            scenario.run()
        for scenario in new.values():
            wait_until(scenario.is_over, seconds=PATIENCE_SECONDS, what=f"{scenario.name} is over")
        self.calm |= new


class Lasting:
    """Whether a condition has held for so long; it is looked at once a second at most."""

    def __init__(self, condition: Callable[[], bool], seconds: float) -> None:
        self._condition = condition
        self._seconds = seconds
        self._looked_at = float("-inf")
        self._since: float | None = None

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at >= 1:
            self._looked_at = now
            held = self._condition()
            self._since = (self._since if self._since is not None else now) if held else None
        return self._since is not None and now - self._since >= self._seconds


def _setting(following: tuple[Kill, Run] | None) -> str:
    if following is None:
        return ""
    kill, run = following
    return f"{kill.place}@{run.scenario.name}"
