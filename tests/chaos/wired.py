"""The whole stack, with a proxy in each wire between the services and a server."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from sqlalchemy import Engine, make_url, text

from cli.migrate import migrate
from infra.embedded import process
from infra.embedded.credentials import Credentials
from infra.embedded.environment import Broker, embedded_store_keys
from infra.embedded.kafka import CLIENTS, Kafka
from infra.embedded.kafka_program import KafkaProgram
from infra.embedded.ports import claim
from infra.embedded.process import Command, ProcessRecord, is_gone
from infra.embedded.services import SERVICES, ServiceSpec
from infra.embedded.stack import Stack
from infra.embedded.tansu import Tansu
from shared.database.engine import make_engine
from shared.settings import Settings
from tests.chaos.proxy import Proxy
from tests.waiting import wait_until

# Short, so that a fault and its end are noticed in seconds.
QUICK = {
    "SILENCE_SECONDS": "6",
    "CONNECT_TIMEOUT_SECONDS": "2",
    "WATCH_INTERVAL_SECONDS": "2",
    "RETRY_CEILING_SECONDS": "1.5",
    "RELAY_INTERVAL_SECONDS": "0.3",
}
NAMED = {"postgres": "postgres", "broker": "kafka", "store": "store", "mlflow": "mlflow"}
"""What `/readyz` calls each server."""


@dataclass(frozen=True)
class AdvertisedTansu(Tansu):
    """Tansu that has clients come back through a proxy."""

    advertised: int = 0

    def command(self) -> Command:
        command = super().command()
        return replace(command, argv=(*command.argv[:-1], f"tcp://127.0.0.1:{self.advertised}"))


@dataclass(frozen=True)
class AdvertisedKafka(Kafka):
    """Apache Kafka, likewise."""

    advertised: int = 0

    def _properties(self, data: Path) -> str:
        said = f"advertised.listeners={CLIENTS}://127.0.0.1:{self.advertised}\n"
        return super()._properties(data) + said


@dataclass
class OwnBroker:
    """The broker, beside the stack of the other servers, since that knows no proxy."""

    server: AdvertisedTansu | AdvertisedKafka
    root: Path
    record: ProcessRecord | None = None

    @property
    def pid(self) -> int | None:
        return self.record.pid if self.record and process.find(self.record) else None

    def start(self) -> None:
        if self.pid is None:
            self.server.prepare()
            self.record = process.launch(
                self.server.command(),
                root=self.root,
                log=self.root / "broker.log",
                stage=1,
                stop_signal=signal.SIGTERM,
                grace_seconds=5,
            )
        wait_until(self.server.is_ready, seconds=60)

    def kill(self) -> None:
        if self.record and (found := process.find(self.record)):
            process.stop(found, signal.SIGKILL, 5)


@dataclass
class Wired:
    """Servers, proxies, and services that reach the servers through them."""

    root: Path
    specs: Path
    servers: Stack
    broker: OwnBroker
    proxies: Mapping[str, Proxy]
    services: Stack
    settings: Settings
    """Of somebody who reaches the servers directly."""
    engine: Engine
    paused: list[psutil.Process] = field(default_factory=list)

    def start(self, scale: Mapping[str, int] | None = None) -> None:
        """Start what doesn't run, servers and services, and wait until all are ready."""
        self.start_servers()
        self.services.start(SERVICES, scale=scale, migrate=migrate)

    def start_servers(self) -> None:
        """Start what doesn't run of the servers."""
        self.servers.start(services=())
        self.broker.start()

    def query(self, statement: str, **parameters: Any) -> list[Any]:
        """Rows from the database, reached directly."""
        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), parameters))

    def scalar(self, statement: str, **parameters: Any) -> Any:
        """One value from it."""
        return self.query(statement, **parameters)[0][0]

    def process(self, server: str) -> psutil.Process:
        """The server's process, without those that it started."""
        name = {"store": "seaweedfs"}.get(server, server)
        pid = self.broker.pid
        if server != "broker":
            (pid,) = [each.pid for each in self.servers.status() if each.name == name]
        assert pid is not None, f"{server} doesn't run"
        return psutil.Process(pid)

    def kill(self, process: psutil.Process) -> None:
        """`kill -9` a server and what it started. They are dead then."""
        stopped = self._stop(process)
        for each in stopped:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        wait_until(lambda: all(map(is_gone, stopped)), seconds=10)

    def pause(self, process: psutil.Process) -> None:
        """Stop a server, and what it started, where they are. Their kernel answers for them."""
        self.paused += self._stop(process)

    def go_on(self) -> None:
        """Let what was paused go on."""
        for each in reversed(self.paused):
            with suppress(psutil.NoSuchProcess):
                each.resume()
        self.paused.clear()

    @staticmethod
    def _stop(process: psutil.Process) -> list[psutil.Process]:
        """Stop a process and those that it started, it first: it starts no more then, and is still
        there to tell which they are. All that were stopped.
        """
        process.suspend()
        stopped = [process]
        for child in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.suspend()
                stopped.append(child)
        return stopped

    def heal(self) -> None:
        """Undo every fault."""
        self.go_on()
        for proxy in self.proxies.values():
            proxy.heal()
        self.start()

    def address(self, service: str) -> str:
        """The URL of the service's endpoints."""
        (found,) = [each for each in self.services.status() if each.name == service]
        return found.address

    def down(self, address: str) -> dict[str, str]:
        """What `/readyz` names; its status must be in accord."""
        answer = httpx.get(f"{address}/readyz", timeout=15)
        down: dict[str, str] = answer.json()["down"]
        assert answer.status_code == (503 if down else 200)
        return down

    def log(self, service: str) -> Path:
        """The service's log."""
        return self.services.logs()[service]


@contextmanager
def wired_stack(
    root: Path, broker: Broker, *, given: Mapping[str, str] | None = None
) -> Iterator[Wired]:
    """The stack, for the time of a block; `given` are further settings of the services."""
    specs = root / "specs"
    specs.mkdir(parents=True)
    inherited = dict(os.environ)
    with ExitStack() as ends:
        ports = claim(("broker", "broker.controller"), {}, set())
        proxies = {"broker": ends.enter_context(Proxy(("127.0.0.1", ports["broker"])))}
        servers = Stack(
            root / "servers",
            given={"KAFKA_BOOTSTRAP_SERVERS": proxies["broker"].address},
            inherited=inherited,
        )
        ends.callback(servers.stop)
        direct = servers.start(services=())
        wires = {
            "postgres": make_url(direct["DATABASE_URL"]),
            "store": urlsplit(direct["S3_ENDPOINT_URL"]),
            "mlflow": urlsplit(direct["MLFLOW_TRACKING_URI"]),
        }
        for name, wire in wires.items():
            assert wire.port is not None
            proxies[name] = ends.enter_context(Proxy(("127.0.0.1", wire.port)))
        own = OwnBroker(_broker(servers, broker, ports, proxies["broker"], inherited), root)
        ends.callback(own.kill)
        own.start()
        url = wires["postgres"].set(port=proxies["postgres"].port)
        reached = {
            **{name: direct[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")},
            "AWS_REGION": direct["AWS_REGION"],
            "DATASETS_DIR": str(specs),
            "DATABASE_URL": url.render_as_string(hide_password=False),
            "KAFKA_BOOTSTRAP_SERVERS": proxies["broker"].address,
            "S3_ENDPOINT_URL": f"http://{proxies['store'].address}",
            "MLFLOW_TRACKING_URI": f"http://{proxies['mlflow'].address}",
        }
        services = Stack(
            root / "services", given={**reached, **QUICK, **(given or {})}, inherited=inherited
        )
        ends.callback(services.stop)
        services.start(SERVICES, migrate=migrate)
        settings = Settings.model_validate(
            {name.lower(): value for name, value in {**reached, **direct}.items()}
            | {"datasets_dir": str(specs), "kafka_bootstrap_servers": proxies["broker"].address}
        )
        engine = make_engine(settings, application="test")
        ends.callback(engine.dispose)
        wired = Wired(root, specs, servers, own, proxies, services, settings, engine)
        ends.callback(wired.go_on)
        yield wired


def _broker(
    servers: Stack,
    broker: Broker,
    ports: Mapping[str, int],
    proxy: Proxy,
    inherited: Mapping[str, str],
) -> AdvertisedTansu | AdvertisedKafka:
    if broker is Broker.KAFKA:
        program = KafkaProgram.of(inherited)
        named = {"kafka": ports["broker"], "kafka.controller": ports["broker.controller"]}
        return AdvertisedKafka(servers.root, named, program, inherited, advertised=proxy.port)
    direct = servers.environment()
    keys = embedded_store_keys(Credentials.of(servers.root))
    bucket = f"{direct['BUCKET_PREFIX']}broker"
    where = ports["broker"], direct["S3_ENDPOINT_URL"], bucket
    return AdvertisedTansu(*where, keys, inherited, advertised=proxy.port)


SERVICE_OF_STAGE: Mapping[str, ServiceSpec] = {
    stage: next(spec for spec in SERVICES if spec.name == name)
    for stage, name in (
        ("ingest", "ingestor"),
        ("validate", "validator"),
        ("snapshot", "snapshotter"),
        ("dataset", "trainer"),
        ("train", "trainer"),
    )
}
