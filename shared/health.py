"""Every service's HTTP face: `/healthz`, `/readyz`, `/metrics`, `/info` and the OpenAPI page."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from shared import __version__
from shared.messaging.consumer import Consumer
from shared.observability.metrics import Metrics
from shared.settings import Settings

logger = logging.getLogger(__name__)

CHECK_TIMEOUT_SECONDS = 6.0
CHECK_KEPT_SECONDS = 2.0


class Readiness:
    """Asks each server that a service needs; an answer is kept for `CHECK_KEPT_SECONDS`."""

    def __init__(self, checks: Mapping[str, Callable[[], None]]) -> None:
        self._checks = checks
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._faults: dict[str, str] = {}

    def faults(self) -> dict[str, str]:
        """What doesn't answer and why, by name; empty when all is well."""
        with self._lock:
            if time.monotonic() - self._asked_at >= CHECK_KEPT_SECONDS:
                self._faults = self._ask()
                self._asked_at = time.monotonic()
            return self._faults

    def _ask(self) -> dict[str, str]:
        executor = ThreadPoolExecutor(len(self._checks), thread_name_prefix="check")
        asked = {name: executor.submit(check) for name, check in self._checks.items()}
        deadline = time.monotonic() + CHECK_TIMEOUT_SECONDS
        faults = {}
        for name, future in asked.items():
            try:
                future.result(timeout=max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                faults[name] = f"no answer within {CHECK_TIMEOUT_SECONDS:g} s"
            except Exception as error:
                faults[name] = str(error).strip().splitlines()[0] if str(error) else repr(error)
        executor.shutdown(wait=False, cancel_futures=True)
        return faults


class Health(BaseModel):
    """Whether the consumer loop turned lately."""

    status: str = Field(examples=["ok", "stalled"])
    seconds_since_turn: float


class Ready(BaseModel):
    """Whether all that the service needs answers; `down` says what doesn't, and why."""

    status: str = Field(examples=["ready", "not ready"])
    down: dict[str, str]


class Info(BaseModel):
    """What runs here. `lag` counts the records waiting, by topic."""

    service: str
    version: str
    topics: list[str]
    is_connected: bool
    lag: dict[str, int]


class HttpServer:
    """uvicorn in a thread, for the time of a `with` block. `port` is known inside the block."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        config = uvicorn.Config(
            app,
            host=settings.http_host,
            port=settings.http_port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._server.run, name="http", daemon=True)
        self.port = settings.http_port

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise OSError(f"port {self.port} can't be listened on; is it taken?")
            time.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=3)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield


def http_server(
    service: str,
    router: APIRouter | None,
    settings: Settings,
    consumer: Consumer,
    readiness: Readiness,
    metrics: Metrics,
) -> HttpServer:
    """The HTTP server of `service`."""
    app = FastAPI(title=f"Headrace {service}", version=__version__)
    app.include_router(_health_router(service, settings, consumer, readiness, metrics))
    if router is not None:
        app.include_router(router)
    return HttpServer(app, settings)


def _health_router(
    service: str,
    settings: Settings,
    consumer: Consumer,
    readiness: Readiness,
    metrics: Metrics,
) -> APIRouter:
    router = APIRouter(tags=["health"])

    def lag() -> dict[str, int]:
        by_topic: dict[str, int] = {}
        for partition, records in consumer.lag.items():
            by_topic[partition.topic] = by_topic.get(partition.topic, 0) + records
        return by_topic

    @router.get("/healthz", responses={503: {"model": Health}})
    def healthz() -> Response:
        """Alive: the consumer loop turned lately."""
        seconds = time.monotonic() - consumer.turned_at
        is_well = seconds < settings.health_stall_seconds
        body = Health(status="ok" if is_well else "stalled", seconds_since_turn=round(seconds, 3))
        return JSONResponse(body.model_dump(), status_code=200 if is_well else 503)

    @router.get("/readyz", responses={503: {"model": Ready}})
    def readyz() -> Response:
        """Ready: Postgres, Kafka and the store answer, and the consumer is connected."""
        down = dict(readiness.faults())
        if not consumer.is_connected and "kafka" not in down:
            down["consumer"] = "has no partitions yet"
        body = Ready(status="not ready" if down else "ready", down=down)
        return JSONResponse(body.model_dump(), status_code=503 if down else 200)

    @router.get("/metrics", response_class=PlainTextResponse)
    def prometheus_metrics() -> Response:
        """Prometheus' text format."""
        for topic, records in lag().items():
            metrics.lag.labels(service, topic).set(records)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @router.get("/info")
    def info() -> Info:
        """Version, topics consumed, lag."""
        return Info(
            service=service,
            version=__version__,
            topics=sorted(consumer.topics),
            is_connected=consumer.is_connected,
            lag=lag(),
        )

    return router
