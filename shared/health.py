"""Every service's HTTP face: `/healthz`, `/readyz`, `/metrics`, `/info` and the OpenAPI page."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from shared import __version__
from shared.authorization import ChangesNeedToken
from shared.messaging.consumer import Consumer
from shared.observability.metrics import Metrics
from shared.readiness import Readiness
from shared.settings import Settings

logger = logging.getLogger(__name__)


class Health(BaseModel):
    """Whether the consumer loop turned lately."""

    status: str = Field(examples=["ok", "stalled"])
    seconds_since_turn: float


class Ready(BaseModel):
    """Whether all that the service needs answers; `down` says what doesn't, and why."""

    status: str = Field(examples=["ready", "not ready"])
    down: dict[str, str]


class Info(BaseModel):
    """What runs here. `lag` counts the records waiting, by topic.

    `partitions` is 0 where the service has more replicas than its topics have partitions, and this
    one stands by.
    """

    service: str
    replica: str
    version: str
    topics: list[str]
    is_connected: bool
    partitions: int
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
    *,
    guard: Callable[[Request], None] | None = None,
    extend: Callable[[FastAPI], None] | None = None,
) -> HttpServer:
    """The HTTP server of `service`, with its own guard of changes and its own last word, if any."""
    app = service_app(service, router, settings, consumer, readiness, metrics, guard=guard)
    if extend is not None:
        extend(app)
    return HttpServer(app, settings)


def service_app(
    service: str,
    router: APIRouter | None,
    settings: Settings,
    consumer: Consumer,
    readiness: Readiness,
    metrics: Metrics,
    *,
    guard: Callable[[Request], None] | None = None,
) -> FastAPI:
    """All endpoints of `service`: those of its own, and those that every service has."""
    health = _health_router(service, settings, consumer, readiness, metrics)
    routers = [health] if router is None else [health, router]
    return http_app(service, settings, routers, guard=guard)


def http_app(
    service: str,
    settings: Settings,
    routers: Iterable[APIRouter],
    *,
    guard: Callable[[Request], None] | None = None,
) -> FastAPI:
    """The endpoints of `service`; `guard`, else the `API_TOKEN`, decides who may change things."""
    app = FastAPI(
        title=f"Headrace {service}",
        version=__version__,
        dependencies=[Depends(guard)] if guard else [],
    )
    if guard is None:
        app.add_middleware(ChangesNeedToken, settings=settings)
    app.add_exception_handler(RequestValidationError, _refuse)
    for router in routers:
        app.include_router(router)
    return app


def _refuse(request: Request, error: Exception) -> Response:
    """422 with each fault's place and message, without the input: that may be no JSON, as NaN."""
    faults = [
        {
            "type": fault["type"],
            "loc": [part if isinstance(part, int) else _unicode(part) for part in fault["loc"]],
            "msg": _unicode(fault["msg"]),
        }
        for fault in getattr(error, "errors", list)()
    ]
    return JSONResponse({"detail": faults}, status_code=422)


def _unicode(text: str) -> str:
    """`text` with halves of surrogate pairs as escapes."""
    return text.encode(errors="backslashreplace").decode()


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
            down["consumer"] = "is not in its group yet"
        body = Ready(status="not ready" if down else "ready", down=down)
        return JSONResponse(body.model_dump(), status_code=503 if down else 200)

    @router.get("/metrics", response_class=PlainTextResponse)
    def prometheus_metrics() -> Response:
        """Prometheus' text format."""
        metrics.replica.labels(service, settings.replica()).set(consumer.partitions)
        for topic, records in lag().items():
            metrics.lag.labels(service, topic).set(records)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @router.get("/info")
    def info() -> Info:
        """Version, topics consumed, lag."""
        return Info(
            service=service,
            replica=settings.replica(),
            version=__version__,
            topics=sorted(consumer.topics),
            is_connected=consumer.is_connected,
            partitions=consumer.partitions,
            lag=lag(),
        )

    return router
