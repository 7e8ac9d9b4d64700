"""Apache Kafka as the stack's broker: one node that is its own controller (KRaft), on a JVM."""

import base64
import hashlib
import shutil
import signal
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.embedded.errors import StackError
from infra.embedded.kafka_probe import working_brokers
from infra.embedded.kafka_program import LOG_CONFIGURATION, KafkaProgram
from infra.embedded.private_file import make_private_directory, write_private
from infra.embedded.process import Command
from infra.embedded.server import LOOPBACK, Stage, server_environment

ROLES = ("kafka", "kafka.controller")
CLIENTS, CONTROLLER = "CLIENTS", "CONTROLLER"
NODE = 1

# For one user's loopback broker: few threads, small files, and a start that is quick. The rest is
# as Kafka has it, so that what works here works there.
CONFIGURATION = {
    "process.roles": "broker,controller",
    "node.id": str(NODE),
    "controller.listener.names": CONTROLLER,
    "inter.broker.listener.name": CLIENTS,
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # The first member of a group need not wait for others.
    "group.initial.rebalance.delay.ms": "0",
    # As Tansu: any SESSION_TIMEOUT_SECONDS will do. Kafka's own least is 6 s.
    "group.min.session.timeout.ms": "1000",
    # Records are references of a few hundred bytes; a stack may be down for weeks.
    "log.retention.ms": "-1",
    "log.index.size.max.bytes": str(1 << 20),
    "log.cleaner.dedupe.buffer.size": str(16 << 20),
    "num.network.threads": "2",
    "num.io.threads": "4",
    # After a kill its next start has to wait until the controller takes the old one for dead.
    "broker.session.timeout.ms": "5000",
    "broker.heartbeat.interval.ms": "1000",
}
# A start matters more here than the last bit of throughput, so one compiler is enough.
JVM = (
    *("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"),
)


@dataclass(frozen=True)
class Kafka:
    """The broker. Ready means: it lists its topics, and itself as a broker that works.

    What it acknowledged is in files that the system writes when the process is gone too, so
    killing it loses nothing. The program has to be ensured before it is prepared.
    """

    root: Path
    ports: Mapping[str, int]
    program: KafkaProgram
    inherited: Mapping[str, str] = field(repr=False)

    name = "kafka"
    stage = Stage.SERVER
    needs: tuple[str, ...] = ()
    stop_signal = signal.SIGTERM
    grace_seconds = 20.0
    deadline_seconds = 60.0
    try_again_on = ("Address already in use",)

    @property
    def address(self) -> str:
        """The bootstrap server."""
        return f"{LOOPBACK}:{self.ports['kafka']}"

    @property
    def data(self) -> Path:
        """The topics, the offsets, and the node's metadata."""
        return self.root / "kafka"

    @property
    def configuration_file(self) -> Path:
        """What the broker reads at its start."""
        return self.root / "kafka.properties"

    def prepare(self) -> None:
        """Write the configuration; make the data directory, whole or not at all.

        Raises:
            StackError: Kafka's storage tool failed.

        """
        write_private(self.configuration_file, self._properties(self.data).encode())
        if self.data.exists():
            return
        draft = self.root / "kafka.new"
        shutil.rmtree(draft, ignore_errors=True)
        make_private_directory(draft)
        configuration = self.root / "kafka.new.properties"
        write_private(configuration, self._properties(draft).encode())
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes)[:22].decode()
        done = subprocess.run(
            self._java(
                *("kafka.tools.StorageTool", "format", "--config", str(configuration)),
                f"--cluster-id={cluster}",
            ),
            env=server_environment(self.inherited),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        configuration.unlink()
        if done.returncode != 0:
            said = f"{done.stdout}{done.stderr}".rstrip()
            raise StackError(f"Kafka's storage tool could not make {draft}:\n{said}")
        draft.rename(self.data)

    def command(self) -> Command:
        """Broker and controller in one process, with a heap of 256 MB at most."""
        # A running broker has to be started anew if its file would be another one.
        digest = hashlib.sha256(self._properties(self.data).encode()).hexdigest()[:16]
        argv = self._java("kafka.Kafka", str(self.configuration_file))
        argv = (argv[0], f"-Dheadrace.configuration={digest}", *argv[1:])
        return Command(argv, {}, server_environment(self.inherited), directory=self.root)

    def is_ready(self) -> bool:
        """Ask it for its topics. One that isn't registered yet, or not any more, isn't named."""
        return working_brokers(self.ports["kafka"]) > 0

    def _java(self, main: str, *arguments: str) -> tuple[str, ...]:
        logs = f"-Dlog4j2.configurationFile={LOG_CONFIGURATION}"
        return (self.program.java, *JVM, logs, "-cp", self.program.class_path, main, *arguments)

    def _properties(self, data: Path) -> str:
        controller = f"{LOOPBACK}:{self.ports['kafka.controller']}"
        properties = {
            **CONFIGURATION,
            "listeners": f"{CLIENTS}://{self.address},{CONTROLLER}://{controller}",
            "listener.security.protocol.map": f"{CLIENTS}:PLAINTEXT,{CONTROLLER}:PLAINTEXT",
            "controller.quorum.voters": f"{NODE}@{controller}",
            "log.dirs": str(data),
        }
        return "".join(f"{name}={value}\n" for name, value in properties.items())
