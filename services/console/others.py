"""The other services, as they said last when they were asked: a page waits for none of them."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from shared.clock import Clock
from shared.service_health import ServiceState, ask_state
from shared.settings import Settings


@dataclass(frozen=True)
class Asked:
    """What a service said, and when."""

    name: str
    state: ServiceState
    at: datetime


def addresses(said: str) -> dict[str, str]:
    """The services' addresses by name, of the setting `console_services`."""
    pairs = (each.partition("=") for each in said.split())
    return {name: address.rstrip("/") for name, _, address in pairs}


class Others:
    """Asks every service again and again. A `Companion`; thread-safe."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._addresses: Mapping[str, str] = addresses(settings.console_services)
        self._timeout = settings.console_answer_seconds
        self._interval = settings.console_services_interval_seconds
        self._clock = clock
        self._answers: dict[str, Asked] = {}
        self._stop = threading.Event()

    @property
    def names(self) -> list[str]:
        """Of all that are asked."""
        return list(self._addresses)

    def answers(self) -> Sequence[Asked]:
        """What each said last, in their order; of one that was not heard yet there is none."""
        return [self._answers[name] for name in self._addresses if name in self._answers]

    def start(self) -> None:
        """Begin to ask."""
        if self._addresses:
            threading.Thread(target=self._run, name="others", daemon=True).start()

    def stop(self) -> None:
        """Ask no more; who is being asked is not waited for."""
        self._stop.set()

    def _run(self) -> None:
        with ThreadPoolExecutor(len(self._addresses), thread_name_prefix="others") as pool:
            asking: dict[str, Future[None]] = {}
            while not self._stop.is_set():
                for name in self._addresses:
                    if name not in asking or asking[name].done():
                        asking[name] = pool.submit(self._ask, name)
                if self._stop.wait(self._interval):
                    pool.shutdown(wait=False, cancel_futures=True)
                    return

    def _ask(self, name: str) -> None:
        state = ask_state(name, self._addresses[name], self._timeout)
        self._answers[name] = Asked(name, state, self._clock())
