"""What makes a process out of handlers: consumer, relay, health endpoints, shutdown."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fastapi import APIRouter
from sqlalchemy import Engine

from shared.clock import Clock, utc_now
from shared.contracts.events import Payload, Stage
from shared.database.engine import make_engine
from shared.health import Readiness, http_server
from shared.messaging.consumer import Consumer
from shared.messaging.kafka import Admin, Producer, RecordSource
from shared.messaging.processor import Handler, Processor
from shared.messaging.relay import Relay
from shared.object_store import ObjectStore
from shared.observability.logs import configure_logs
from shared.observability.metrics import Metrics
from shared.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resources:
    """What a service is built from."""

    settings: Settings
    engine: Engine
    store: ObjectStore
    clock: Clock
    wake_relay: Callable[[], None]
    """To be called after a commit that put events into the outbox outside a handler."""
    metrics: Metrics = field(default_factory=Metrics)


class Companion(Protocol):
    """What a service does beside its consumer, in a thread of its own."""

    def start(self) -> None:
        """Begin; must not block."""

    def stop(self) -> None:
        """End it, within two seconds. Called once, also where it has ended by itself."""


@dataclass(frozen=True)
class Service:
    """What a service is: a handler for each event type that it consumes."""

    name: str
    handlers: Mapping[type[Payload], Handler]
    stage_of: Mapping[type[Payload], Stage]
    router: APIRouter | None = None
    """Endpoints of its own."""
    checks: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    """What else has to answer for it to be ready, by name; each raises where it doesn't."""
    companions: Sequence[Companion] = ()
    """Started when the service is up, stopped before its relay is."""


def run(name: str, build: Callable[[Resources], Service]) -> int:
    """Run the service until SIGTERM or SIGINT; the exit code.

    At a signal the record in hand has `shutdown_grace_seconds` to finish; if it doesn't, it is
    abandoned, uncommitted, and comes again. A process that ends by itself returns 1.
    """
    settings = Settings()
    configure_logs(settings, name)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    engine = make_engine(settings, application=name)
    metrics = Metrics()
    relay = Relay(
        engine,
        name,
        lambda: Producer(settings),
        metrics,
        interval_seconds=settings.relay_interval_seconds,
    )
    resources = Resources(settings, engine, ObjectStore(settings), utc_now, relay.wake, metrics)
    service = build(resources)
    consumer = _consumer(service, resources, metrics, stop)
    readiness = Readiness(
        {
            "postgres": lambda: _check_database(engine),
            "kafka": lambda: _check_kafka(settings),
            "store": resources.store.check,
            **service.checks,
        }
    )
    server = http_server(service.name, service.router, settings, consumer, readiness, metrics)
    relaying = threading.Thread(target=relay.run, name="relay")
    code = 0
    with server:
        relaying.start()
        for companion in service.companions:
            companion.start()
        logger.info("%s is up on port %d", name, server.port)
        try:
            consumer.run()
        except Exception:
            logger.exception("%s ends", name)
            code = 1
        for companion in service.companions:
            companion.stop()
        relay.stop()
        relaying.join(timeout=2)
    engine.dispose()
    logger.info("%s is down", name)
    logging.shutdown()
    if threading.active_count() > 1:
        os._exit(code)  # a handler that was abandoned must not keep the process
    return code


def _consumer(
    service: Service, resources: Resources, metrics: Metrics, stop: threading.Event
) -> Consumer:
    settings = resources.settings
    processor = Processor(
        service=service.name,
        handlers=service.handlers,
        stage_of=service.stage_of,
        engine=resources.engine,
        clock=resources.clock,
        settings=settings,
        metrics=metrics,
        wake_relay=resources.wake_relay,
    )
    topics = [payload.topic for payload in service.handlers]
    return Consumer(
        connect=lambda: RecordSource(settings, service.name, topics),
        process=processor.process,
        threads=settings.handler_threads,
        grace_seconds=settings.shutdown_grace_seconds,
        stop=stop,
        topics=[topic.value for topic in topics],
    )


def _check_database(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")


def _check_kafka(settings: Settings) -> None:
    admin = Admin(settings)
    try:
        admin.check()
    finally:
        admin.close()
