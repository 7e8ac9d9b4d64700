"""What makes a process out of handlers: consumer, relay, health endpoints, shutdown."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from fastapi import APIRouter, FastAPI, Request
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from shared import __version__, fail_points
from shared.clock import Clock, utc_now
from shared.contracts.envelope import Record
from shared.contracts.events import Payload, Stage
from shared.contracts.topics import Topic
from shared.database.connections import Connections
from shared.database.engine import make_engine
from shared.errors import InvalidSettings
from shared.health import http_server
from shared.messaging.consumer import Consumer
from shared.messaging.kafka import Admin, Onlooker, Producer, RecordSource
from shared.messaging.processor import Handler, Processor
from shared.messaging.relay import Relay
from shared.object_store import ObjectStore
from shared.observability.accounting import Accounting
from shared.observability.logs import configure_logs
from shared.observability.metrics import Metrics
from shared.observability.spans import configure_traces, end_traces
from shared.observability.state import OF_EVERY_SERVICE, StateCollector, StateMetric
from shared.readiness import NoAnswer, Readiness
from shared.settings import Settings
from shared.watch import Watch

logger = logging.getLogger(__name__)

DATABASE = "postgres"
"""What `/readyz` calls it."""


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


class Follower(Protocol):
    """One who wants to know of every record, and does nothing with it that must not be lost."""

    def begin(self) -> None:
        """It is connected; whatever came before was not told."""

    def see(self, record: Record) -> None:
        """A record has come, on whatever topic. Must not block, nor raise."""


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
    """Started when the service is up; stopped before its relay is, the last one first."""
    follower: Follower | None = None
    """In place of handlers: sees every record of every topic from now on, in each replica."""
    guard: Callable[[Request], None] | None = None
    """Raises where a request may not change what it wants to; else the `API_TOKEN` decides."""
    extend: Callable[[FastAPI], None] | None = None
    """Has the last word on the HTTP app: static files, pages for errors."""
    state: Sequence[StateMetric] = ()
    """What it tells of the database beside what every service does."""


def run(name: str, build: Callable[[Resources], Service]) -> int:
    """Run the service until SIGTERM or SIGINT; the exit code.

    At a signal the record in hand has `shutdown_grace_seconds` to finish; if it doesn't, it is
    abandoned, uncommitted, and comes again. A process that ends by itself returns 1, one that can't
    use its settings 2.
    """
    try:
        settings = Settings()
    except InvalidSettings as error:
        print(f"error: {name} can't start: {error}", file=sys.stderr)
        return 2
    configure_logs(settings, name)
    configure_traces(settings, name)
    fail_points.arm(settings.fail_point)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    engine = make_engine(settings, application=name)
    connections = Connections(engine)
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
    metrics.build.labels(name, __version__, settings.git_commit).set(1)
    metrics.registry.register(StateCollector(engine, name, (*OF_EVERY_SERVICE, *service.state)))
    readiness = Readiness(
        {
            DATABASE: lambda: _check_database(engine),
            "kafka": lambda: _check_kafka(settings),
            "store": resources.store.check,
            **service.checks,
        }
    )
    watch = Watch(
        readiness,
        database=DATABASE,
        hang_up=connections.hang_up,
        interval_seconds=settings.watch_interval_seconds,
        silence_seconds=settings.silence_seconds,
    )
    server = http_server(
        *(service.name, service.router, settings, consumer, readiness, metrics),
        guard=service.guard,
        extend=service.extend,
    )
    relaying = threading.Thread(target=relay.run, name="relay")
    code = 0
    with server, ExitStack() as ends:
        # Whatever is started is ended, last first, also where what comes after it fails.
        relaying.start()
        ends.callback(relaying.join, timeout=2)
        ends.callback(relay.stop)
        watch.start()
        ends.callback(watch.stop)
        for companion in service.companions:
            companion.start()
            ends.callback(companion.stop)
        logger.info("%s is up on port %d", name, server.port)
        try:
            consumer.run()
        except Exception:
            logger.exception("%s ends", name)
            code = 1
    engine.dispose()
    end_traces()
    logger.info("%s is down", name)
    logging.shutdown()
    if threading.active_count() > 1:
        os._exit(code)  # a handler that was abandoned must not keep the process
    return code


def _consumer(
    service: Service, resources: Resources, metrics: Metrics, stop: threading.Event
) -> Consumer:
    settings = resources.settings
    if service.follower is not None:
        return _following(service, service.follower, settings, stop)
    processor = Processor(
        service=service.name,
        handlers=service.handlers,
        stage_of=service.stage_of,
        engine=resources.engine,
        clock=resources.clock,
        settings=settings,
        metrics=metrics,
        wake_relay=resources.wake_relay,
        committed=Accounting(resources.engine, metrics).committed,
    )
    topics = list(dict.fromkeys(payload.topic for payload in service.handlers))
    return Consumer(
        connect=lambda: RecordSource(settings, service.name, topics),
        process=processor.process_once,
        threads=settings.handler_threads,
        look_ahead=settings.look_ahead_records,
        grace_seconds=settings.shutdown_grace_seconds,
        stop=stop,
        topics=[topic.value for topic in topics],
    )


def _following(
    service: Service, follower: Follower, settings: Settings, stop: threading.Event
) -> Consumer:
    def connect() -> Onlooker:
        source = Onlooker(settings, service.name, Topic)
        follower.begin()
        return source

    return Consumer(
        connect=connect,
        process=lambda record, _: follower.see(record),
        threads=1,
        look_ahead=settings.look_ahead_records,
        grace_seconds=settings.shutdown_grace_seconds,
        stop=stop,
        topics=[topic.value for topic in Topic],
    )


def _check_database(engine: Engine) -> None:
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    except OperationalError as error:
        if "timeout expired" in str(error.orig):  # libpq's, while connecting
            raise NoAnswer(str(error.orig).strip()) from error
        raise


def _check_kafka(settings: Settings) -> None:
    admin = Admin(settings)
    try:
        admin.check()
    finally:
        admin.close()
