"""An Apache Kafka that encrypts and asks for logins, with a listener for each way in."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.embedded.kafka import CONFIGURATION, CONTROLLER, JVM
from infra.embedded.kafka_probe import working_brokers
from infra.embedded.kafka_program import LOG_CONFIGURATION, KafkaProgram
from infra.embedded.ports import claim
from tests.certificates import Authority
from tests.waiting import wait_until

USER, PASSWORD = "headrace", "a secret; with signs=ä"
PROTOCOLS = {
    "INTERNAL": "PLAINTEXT",
    CONTROLLER: "PLAINTEXT",
    "TLS": "SSL",
    "MUTUAL": "SSL",
    "LOGIN": "SASL_SSL",
    "BARELOGIN": "SASL_PLAINTEXT",
}
MECHANISM = "SCRAM-SHA-512"
MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"


@dataclass(frozen=True)
class SecuredKafka:
    """A broker; its listeners are the ways in."""

    ports: dict[str, int]
    authority: Authority

    def way_in(self, listener: str) -> dict[str, Any]:
        """The settings that say where the listener is and how it speaks, without a login."""
        settings: dict[str, Any] = {
            "kafka_bootstrap_servers": f"127.0.0.1:{self.ports[listener]}",
            "kafka_security_protocol": PROTOCOLS[listener],
        }
        if "SSL" in PROTOCOLS[listener]:
            settings["kafka_ca_file"] = self.authority.file
        return settings


@contextmanager
def secured_kafka(root: Path) -> Iterator[SecuredKafka]:
    """The broker, for the time of the block. Its user is made when its storage is."""
    authority = Authority(root / "certificates")
    ports = claim(PROTOCOLS, {}, set())
    configuration = root / "server.properties"
    configuration.write_text(_properties(root, ports, authority))
    program = KafkaProgram.of(os.environ)
    java = [program.java, *JVM, f"-Dlog4j2.configurationFile={LOG_CONFIGURATION}", "-cp"]
    java.append(program.class_path)
    user = f"{MECHANISM}=[name={USER},password={PASSWORD}]"
    subprocess.run(
        [
            *(*java, "kafka.tools.StorageTool", "format", "--config", str(configuration)),
            *("--cluster-id", "MkU3OEVBNTcwNTJENDM2Qg", "--add-scram", user),
        ],
        check=True,
        capture_output=True,
    )
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [*java, "kafka.Kafka", str(configuration)], stdout=log, stderr=subprocess.STDOUT
        )
    try:

        def is_ready() -> bool:
            assert process.poll() is None, (root / "log").read_text()
            return working_brokers(ports["INTERNAL"]) > 0

        wait_until(is_ready, seconds=90)
        yield SecuredKafka(ports, authority)
    finally:
        process.kill()
        process.wait()


def _properties(root: Path, ports: dict[str, int], authority: Authority) -> str:
    listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
    properties = {
        **CONFIGURATION,
        "listeners": listeners,
        "advertised.listeners": ",".join(
            each for each in listeners.split(",") if not each.startswith(CONTROLLER)
        ),
        "listener.security.protocol.map": ",".join(f"{k}:{v}" for k, v in PROTOCOLS.items()),
        "inter.broker.listener.name": "INTERNAL",
        "controller.quorum.voters": f"1@127.0.0.1:{ports[CONTROLLER]}",
        "log.dirs": str(root / "data"),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(authority.sign("broker", hosts=("127.0.0.1",)).both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
        "listener.name.mutual.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": MECHANISM,
    }
    for listener in ("login", "barelogin"):
        prefix = f"listener.name.{listener}.{MECHANISM.lower()}"
        properties[f"{prefix}.sasl.jaas.config"] = f"{MODULE} required;"
    return "".join(f"{name}={value}\n" for name, value in properties.items())
