"""The stack on Apache Kafka."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.structs import TopicPartition
from process_table import not_stopped
from typer.testing import CliRunner

from cli.stack import app
from infra.embedded.environment import Broker
from infra.embedded.errors import BrokerGiven, KafkaMissing
from infra.embedded.kafka_program import KafkaProgram
from infra.embedded.stack import Stack

pytestmark = pytest.mark.usefixtures("apache_kafka")
WaitUntil = Callable[[Callable[[], bool]], None]
ELSEWHERE = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "S3_ENDPOINT_URL": "http://127.0.0.1:1",
}
"""So that nothing but the broker is started."""


@pytest.fixture
def kafka(root: Path) -> Stack:
    """A stack of a broker alone, ready."""
    stack = alone(root)
    stack.start(services=())
    return stack


def alone(root: Path, broker: Broker | None = Broker.KAFKA) -> Stack:
    return Stack(root, given=ELSEWHERE, inherited=os.environ, broker=broker, mlflow=False)


def conditions(stack: Stack) -> dict[str, str]:
    return {status.name: status.condition for status in stack.status()}


def pid(stack: Stack) -> int:
    (found,) = [status.pid for status in stack.status() if status.name == "kafka"]
    assert found is not None
    return found


def produce(stack: Stack, *values: bytes) -> None:
    producer = KafkaProducer(
        bootstrap_servers=stack.environment()["KAFKA_BOOTSTRAP_SERVERS"], acks="all"
    )
    for value in values:
        producer.send("kept", value, partition=0).get(10)
    producer.close()


def kept(stack: Stack, count: int) -> list[bytes]:
    consumer = KafkaConsumer(
        bootstrap_servers=stack.environment()["KAFKA_BOOTSTRAP_SERVERS"],
        consumer_timeout_ms=20_000,
    )
    partition = TopicPartition("kept", 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    values = [next(consumer).value for _ in range(count)]
    consumer.close()
    return values


@pytest.fixture
def topic(kafka: Stack) -> str:
    admin = KafkaAdminClient(bootstrap_servers=kafka.environment()["KAFKA_BOOTSTRAP_SERVERS"])
    admin.create_topics({"kept": {"num_partitions": 1, "replication_factor": 1}})
    admin.close()
    return "kept"


def test_the_broker_alone_is_started_and_ready_and_stops_without_a_trace(kafka: Stack) -> None:
    assert conditions(kafka) == {"kafka": "ready"}
    assert kafka.broker() is Broker.KAFKA
    assert (kafka.root / "kafka" / "meta.properties").is_file()
    kafka.stop()
    assert not_stopped(kafka.root) == []


def test_it_listens_on_the_loopback_interface_only(kafka: Stack) -> None:
    links = psutil.Process(pid(kafka)).net_connections("inet")
    listening = [link.laddr for link in links if link.status == psutil.CONN_LISTEN]
    assert len(listening) == 2
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_what_it_acknowledged_survives_its_killing_and_new_ports(
    kafka: Stack, topic: str, wait_until: WaitUntil
) -> None:
    produce(kafka, b"first", b"second")
    os.kill(pid(kafka), signal.SIGKILL)
    wait_until(lambda: bool(kafka.dead()))
    assert conditions(kafka) == {"kafka": "dead"}
    kafka.start(services=())
    assert kept(kafka, 2) == [b"first", b"second"]

    before = kafka.environment()["KAFKA_BOOTSTRAP_SERVERS"]
    kafka.stop()
    with kafka._state.change() as state:
        state.ports = {}
    kafka.start(services=())
    assert kafka.environment()["KAFKA_BOOTSTRAP_SERVERS"] != before
    produce(kafka, b"third")
    assert kept(kafka, 3) == [b"first", b"second", b"third"]


def test_a_topic_is_made_by_nobody_who_only_asks_for_it(kafka: Stack, topic: str) -> None:
    servers = kafka.environment()["KAFKA_BOOTSTRAP_SERVERS"]
    consumer = KafkaConsumer(bootstrap_servers=servers)
    assert not consumer.partitions_for_topic("asked")
    consumer.close()
    admin = KafkaAdminClient(bootstrap_servers=servers)
    assert set(admin.list_topics()) == {topic}
    admin.close()


def test_a_stopped_process_is_not_ready_though_it_has_its_port(kafka: Stack) -> None:
    process = psutil.Process(pid(kafka))
    process.suspend()
    try:
        assert conditions(kafka) == {"kafka": "not ready"}
    finally:
        process.resume()


def test_the_choice_holds_for_later_starts_until_another_is_made(kafka: Stack) -> None:
    running = pid(kafka)
    again = alone(kafka.root, broker=None)
    again.start(services=())
    assert pid(again) == running

    other = alone(kafka.root, broker=Broker.TANSU)
    other.start(services=())
    assert conditions(other) == {"seaweedfs": "ready", "tansu": "ready"}
    assert not psutil.pid_exists(running)
    assert other.dead() == []
    assert (kafka.root / "kafka" / "meta.properties").is_file(), "its topics stay"


def test_up_says_what_a_change_of_the_broker_means(
    kafka: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka.stop()
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "")
    for name, value in {**ELSEWHERE, "MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    words = ["up", "--servers-only", "--broker", "tansu", "--root", str(kafka.root)]
    said = CliRunner().invoke(app, words).output
    assert "this stack ran on kafka so far. Its topics stay there" in said
    assert "headrace up --broker kafka" in said


def test_a_given_broker_and_a_chosen_one_contradict_each_other(root: Path) -> None:
    given = {"KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092"}
    with pytest.raises(BrokerGiven, match="KAFKA_BOOTSTRAP_SERVERS names a broker"):
        Stack(root, given=given, broker=Broker.KAFKA)


def script(folder: Path, name: str, said: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{said}\n")
    path.chmod(0o755)
    return path


def missing(root: Path, inherited: Mapping[str, str]) -> str:
    """What a start in that environment says; it must have started nothing."""
    stack = Stack(root, given={}, inherited=inherited, broker=Broker.KAFKA, mlflow=False)
    with pytest.raises(KafkaMissing) as error:
        stack.start(services=())
    assert stack.status() == []
    assert not_stopped(root) == []
    assert stack.broker() is None, "what could not be done is not remembered"
    return str(error.value)


def test_without_a_java_or_with_an_old_one_it_is_said_before_anything_is_started(
    root: Path, tmp_path: Path
) -> None:
    said = missing(root, {"PATH": str(tmp_path)})
    assert "there is no Java" in said
    assert "install Java 17 or later" in said
    old = script(tmp_path / "jdk8" / "bin", "java", """echo 'openjdk version "1.8.0_402"' >&2""")
    said = missing(root, {**os.environ, "JAVA_HOME": str(old.parents[1])})
    assert f"{str(old)!r} is Java 8, which is too old" in said


def test_without_jars_and_maven_it_is_said_how_to_get_them(root: Path, tmp_path: Path) -> None:
    java = script(tmp_path / "bin", "java", """echo 'openjdk version "21.0.2"' >&2""")
    environment = {"PATH": str(java.parent), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    said = missing(root, environment)
    assert "there is no Maven to fetch them" in said
    assert "KAFKA_HOME" in said
    script(java.parent, "mvn", "echo '[ERROR] Unknown host repo'; exit 1")
    said = missing(root, {**environment, "PATH": f"{java.parent}:/bin:/usr/bin"})
    assert "Maven could not fetch its jars:\n[ERROR] Unknown host repo" in said
    assert list((tmp_path / "cache" / "headrace").iterdir()) == [], "no half of it is kept"


def test_an_installed_kafka_is_used_and_one_that_is_none_is_named(
    root: Path, tmp_path: Path
) -> None:
    home = tmp_path / "kafka-home"
    home.mkdir()
    said = missing(root, {**os.environ, "KAFKA_HOME": str(home)})
    assert f"KAFKA_HOME is {home}, whose folder libs has no jar" in said
    (home / "libs").mkdir()
    (home / "libs" / "kafka_2.13-3.9.1.jar").touch()
    assert "has Kafka 3" in missing(root, {**os.environ, "KAFKA_HOME": str(home)})

    (home / "libs" / "kafka_2.13-3.9.1.jar").unlink()
    (home / "libs").rmdir()
    (home / "libs").symlink_to(KafkaProgram.of(os.environ).jars)
    inherited = {**os.environ, "KAFKA_HOME": str(home)}
    stack = Stack(root, given=ELSEWHERE, inherited=inherited, broker=Broker.KAFKA, mlflow=False)
    stack.start(services=())
    assert conditions(stack) == {"kafka": "ready"}
    assert str(home) in " ".join(psutil.Process(pid(stack)).cmdline())
