"""Which processes a stack consists of, with their ports and settings. Deciding starts nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from infra.embedded import kafka, mlflow_server, postgres, seaweedfs, tansu
from infra.embedded.credentials import Credentials
from infra.embedded.environment import (
    DATABASE,
    Broker,
    artifact_store_variables,
    embedded_servers,
    embedded_store_keys,
    resolve,
)
from infra.embedded.kafka import Kafka
from infra.embedded.kafka_program import KafkaProgram
from infra.embedded.mlflow_server import MlflowServer
from infra.embedded.postgres import Postgres
from infra.embedded.seaweedfs import SeaweedFS
from infra.embedded.server import LOOPBACK, Server
from infra.embedded.services import (
    CONSOLE,
    DEADLINE_SECONDS,
    DEADLINE_SECONDS_A_PROCESS,
    Service,
    ServiceSpec,
)
from infra.embedded.tansu import Tansu

_ROLES = {
    "postgres": postgres.ROLES,
    "seaweedfs": seaweedfs.ROLES,
    "tansu": tansu.ROLES,
    "kafka": kafka.ROLES,
    "mlflow": mlflow_server.ROLES,
}


class Choice(BaseModel, frozen=True):
    """What somebody asked for: the servers that are given, broker, services, with MLflow or not.

    `scale` says how many processes of a service, by its name; of one that isn't in it, one.
    """

    given: dict[str, str] = {}
    services: tuple[ServiceSpec, ...] = ()
    scale: dict[str, int] = {}
    broker: Broker = Broker.TANSU
    mlflow: bool = True
    directory: Path = Path()

    def servers(self) -> frozenset[str]:
        """The names of the servers to start."""
        return embedded_servers(self.given, broker=self.broker, mlflow=self.mlflow)

    def ensure_programs(self, inherited: Mapping[str, str]) -> None:
        """Fetch what has to be fetched before the servers can start. Raises `KafkaMissing`."""
        if "kafka" in self.servers():
            KafkaProgram.of(inherited).ensure(inherited)

    def roles(self) -> dict[str, str]:
        """Every role that needs a port, and the name of the process that takes it."""
        servers = self.servers()
        roles = {role: name for name in _ROLES if name in servers for role in _ROLES[name]}
        return roles | {f"service.{spec.process}": spec.process for spec in self.services}


@dataclass(frozen=True)
class Layout:
    """The processes of a stack, and the variables with which anybody reaches them."""

    servers: tuple[Server, ...]
    services: tuple[Server, ...]
    environment: Mapping[str, str]

    @property
    def needed_by_services(self) -> tuple[str, ...]:
        """The servers without which no service can start."""
        return tuple(server.name for server in self.servers if server.name != "mlflow")


def lay_out(
    root: Path, choice: Choice, *, ports: Mapping[str, int], inherited: Mapping[str, str]
) -> Layout:
    """Build every process of `choice`, and start none. Equal arguments give equal layouts."""
    credentials = Credentials.of(root)
    names = choice.servers()
    database = Postgres(root, ports.get("postgres", 0), credentials.postgres_password, inherited)
    environment = resolve(
        choice.given,
        servers=names,
        ports=ports,
        credentials=credentials,
        database_url=database.url(),
    )
    prefix = environment["BUCKET_PREFIX"]
    servers: list[Server] = []
    if "postgres" in names:
        servers.append(database)
    if "seaweedfs" in names:
        buckets = (f"{prefix}broker", f"{prefix}mlflow")
        store = SeaweedFS(root, ports, credentials, buckets, inherited)
        servers.append(store)
    if "tansu" in names:
        keys = embedded_store_keys(credentials)
        servers.append(Tansu(ports["tansu"], store.address, f"{prefix}broker", keys, inherited))
    if "kafka" in names:
        servers.append(Kafka(root, ports, KafkaProgram.of(inherited), inherited))
    if "mlflow" in names:
        # A database that is given is asked for nothing but what it was given for.
        is_ours = DATABASE not in choice.given
        tables = database.url("mlflow", "postgresql+psycopg2")
        servers.append(
            MlflowServer(
                port=ports["mlflow"],
                backend_url=tables if is_ours else f"sqlite:///{root / 'mlflow.db'}",
                artifact_url=f"s3://{prefix}mlflow",
                store_environment=artifact_store_variables(environment),
                inherited=inherited,
                needs=("postgres",) if is_ours else (),
            )
        )
    deadline = max(DEADLINE_SECONDS, DEADLINE_SECONDS_A_PROCESS * len(choice.services))
    others = {
        spec.process: f"http://{LOOPBACK}:{ports[f'service.{spec.process}']}"
        for spec in choice.services
        if spec.name != CONSOLE
    }
    services = tuple(
        Service(
            spec,
            ports[f"service.{spec.process}"],
            environment,
            inherited,
            choice.directory,
            scratch=root / "scratch" / spec.process,
            deadline_seconds=deadline,
            others=others if spec.name == CONSOLE else {},
        )
        for spec in choice.services
    )
    return Layout(tuple(servers), services, environment)
