"""The user's Dask cluster: its connection, and what its errors mean."""

import asyncio
import concurrent.futures
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, rpc
from distributed.client import FutureCancelledError, FuturesCancelledError
from distributed.comm.core import CommClosedError
from distributed.security import Security

from services.trainer.cluster.versions import OtherVersion, Running, require_same, running
from shared.errors import HeadraceError, ServerUnavailable

_SERVER = "the Dask cluster"
_RETRIES = 2
_SPOKEN = ("dask", "distributed", "cloudpickle", "msgpack")
"""What the scheduler's messages depend on."""
_LARGEST_GRAPH = "1 GiB"
"""Of a single piece of work: a model that reads text goes to the workers in one."""

_BROKEN: tuple[type[BaseException], ...] = (
    CommClosedError,
    FutureCancelledError,
    FuturesCancelledError,
    concurrent.futures.CancelledError,
    asyncio.CancelledError,
    TimeoutError,
)

_UNREACHED = (OSError, TypeError, ValueError)
"""Of a connection that doesn't come about: an address of no such kind, or TLS without its files."""


class WorkersKilled(HeadraceError):
    """Workers die one after the other at the same work. Whether more memory helps is unknown, so it
    is tried a few times.
    """


class WorkerLost(ServerUnavailable):
    """A worker is gone in the midst of work that all must do together: it has to begin again."""


class Cluster:
    """The cluster at a scheduler's address. Thread-safe; connects for each piece of work.

    `timeout_seconds` is what the scheduler has for an answer.
    """

    def __init__(self, address: str, *, timeout_seconds: float) -> None:
        self.address = address
        self._timeout = timeout_seconds
        _speak_through_the_root_logger()

    def check(self) -> None:
        """Return if the scheduler answers and has a worker; `ServerUnavailable` otherwise."""

        async def workers() -> int:
            arguments = Security().get_connection_args("client")
            async with rpc(self.address, connection_args=arguments) as scheduler:
                found = await asyncio.wait_for(scheduler.identity(n_workers=-1), self._timeout)
                return len(found["workers"])

        with cluster_errors(*_UNREACHED):
            _require_workers(asyncio.run(workers()), self.address)

    @contextmanager
    def session(self) -> Iterator["Session"]:
        """A connection to workers that run what this process runs.

        Raises `ServerUnavailable` where scheduler or workers are away, `OtherVersion` where they
        run anything else. What was asked for and not fetched is forgotten after the block.
        """
        with cluster_errors(*_UNREACHED):
            client = Client(
                self.address,
                timeout=self._timeout,
                set_as_default=False,
                # Rows go from the workers to the trainer, not through the scheduler.
                direct_to_workers=True,
                name="headrace-trainer",
            )
        try:
            session = Session(client, self.address)
            with cluster_errors(OSError):
                session.require_same_versions()
            yield session
        finally:
            client.close(timeout=self._timeout)


class Session:
    """A connection to the cluster. Every method raises `ServerUnavailable` where it breaks, the
    error of the work itself where that fails, and `WorkersKilled` where workers die of it.
    """

    def __init__(self, client: Client, address: str) -> None:
        self.client = client
        self._address = address

    def workers(self) -> list[str]:
        """The workers' addresses, sorted; there is one at least."""
        found = sorted(self.client.nthreads())
        _require_workers(len(found), self._address)
        return found

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future:
        """Have `work` done somewhere. It must depend on its arguments and the store only, for it
        is done again where a worker is lost, and where it fails: the store may have been busy.
        """
        return self.client.submit(work, *arguments, pure=False, retries=_RETRIES)

    def submit_to(self, worker: str, work: Callable[..., Any], *arguments: Any) -> Future:
        """Have `work` done by this worker, once."""
        return self.client.submit(work, *arguments, pure=False, workers=[worker])

    def tell_all(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Have `work` done at once by every worker that is there; whether it is, isn't told."""
        with suppress(Exception):
            self.client.run(work, *arguments, on_error="ignore")

    def results(self, futures: Iterable[Future]) -> list[Any]:
        """The results of all, in their order."""
        with cluster_errors():
            return list(self.client.gather(list(futures)))

    def stream(self, submissions: Iterable[Callable[[], Future]]) -> Iterator[Any]:
        """The results in order, one at a time; a few are worked on ahead."""
        ahead = 2 * len(self.workers()) + 1
        waiting: list[Future] = []
        rest = iter(submissions)
        while True:
            while len(waiting) < ahead and (submission := next(rest, None)) is not None:
                waiting.append(submission())
            if not waiting:
                return
            [result] = self.results([waiting.pop(0)])
            yield result

    def require_same_versions(self) -> None:
        """Raise `OtherVersion` unless all run what this process runs; of the scheduler, Dask."""
        self.workers()
        # Dask itself only warns of a difference, whatever it is asked for.
        versions = self.client.get_versions()
        ours, theirs = (versions[who]["packages"] for who in ("client", "scheduler"))
        require_same(
            Running({name: ours[name] for name in _SPOKEN}),
            Running({name: theirs[name] for name in _SPOKEN}),
            f"scheduler {self._address}",
        )
        for address, found in self.client.run(running, on_error="return").items():
            if isinstance(found, Running):
                require_same(running(), found, f"worker {address}")
            else:
                raise OtherVersion(
                    f"the Dask worker {address} can't run Headrace ({found!r}): start the workers "
                    "from the trainer's image"
                )


@contextmanager
def cluster_errors(*further: type[Exception]) -> Iterator[None]:
    """Give the connection's errors, and `further` ones, our classes; those of the work pass."""
    try:
        yield
    except KilledWorker as error:
        raise WorkersKilled(
            f"Dask workers died at {error.task}, the last one {error.last_worker}, for want of "
            "memory perhaps: give them more, or lower DASK_PARTITION_ROWS"
        ) from error
    except (*_BROKEN, *further) as error:
        raise ServerUnavailable(_SERVER, str(error) or repr(error)) from error


def _require_workers(number: int, address: str) -> None:
    if not number:
        raise ServerUnavailable(_SERVER, f"the scheduler at {address} has no worker")


def _speak_through_the_root_logger() -> None:
    """Dask gives its loggers handlers of their own at import; ours write JSON. And it warns of
    large graphs, which ours may be.
    """
    warnings.filterwarnings("ignore", "Mismatched versions found")
    dask.config.set({"distributed.admin.large-graph-warning-threshold": _LARGEST_GRAPH})
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] in ("distributed", "tornado"):
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True
