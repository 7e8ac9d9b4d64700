"""The stand-ins obey what the images that they stand in for obey."""

import secrets
from collections.abc import Callable, Iterator

import psycopg2
import pytest

from tests.compose.choice import choose_images
from tests.compose.images.build import PREFIX, build_all
from tests.compose.project import inspect, run
from tests.waiting import wait_until

Start = Callable[..., str]
ANSWER_SECONDS = 240.0
"""For a server to start or to end, on a machine that has other things to do."""
PASSWORD = "a password with 'quotes'"


@pytest.fixture(scope="module")
def images(command: tuple[str, ...]) -> dict[str, str]:
    """The stand-ins, where a run here uses them."""
    chosen = choose_images(lambda _: None)
    if not all(image.startswith(PREFIX) for image in chosen.values()) or not chosen:
        pytest.skip("this machine has the real images")
    return chosen


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts containers, and removes them with all that they kept."""
    started: list[str] = []

    def begin(image: str, *command: str, **environment: str) -> str:
        options = [word for pair in environment.items() for word in ("--env", "=".join(pair))]
        name = f"headrace-standin-{secrets.token_hex(3)}"
        started.append(name)
        run("docker", "run", "--detach", "--name", name, "--publish-all", *options, image, *command)
        return name

    yield begin
    for name in started:
        run("docker", "rm", "--force", "--volumes", name, code=None)


def test_what_is_built_is_not_built_again(images: dict[str, str]) -> None:
    built: list[str] = []
    assert build_all(built.append) == images
    assert built == []


def _port(container: str, inside: str) -> int:
    (binding, *_) = inspect(container)["NetworkSettings"]["Ports"][inside]
    return int(binding["HostPort"])


def _ends(container: str) -> int:
    wait_until(lambda: inspect(container)["State"]["Status"] == "exited", seconds=ANSWER_SECONDS)
    return int(inspect(container)["State"]["ExitCode"])


def _log(container: str) -> str:
    return run("docker", "logs", container)


def test_postgres_makes_user_and_database_and_lets_nobody_in_without_the_password(
    images: dict[str, str], start: Start
) -> None:
    container = start(
        images["POSTGRES_IMAGE"],
        *("postgres", "-c", "work_mem=7MB"),
        POSTGRES_USER="river",
        POSTGRES_PASSWORD=PASSWORD,
        POSTGRES_DB="delta",
        POSTGRES_INITDB_ARGS="--encoding=UTF8 --locale=C",
    )
    where = {"host": "127.0.0.1", "port": _port(container, "5432/tcp"), "dbname": "delta"}

    def connection() -> psycopg2.extensions.connection | None:
        try:
            return psycopg2.connect(**where, user="river", password=PASSWORD)
        except psycopg2.OperationalError:
            return None

    link = wait_until(connection, seconds=ANSWER_SECONDS, what=_log(container))
    with link, link.cursor() as cursor:
        cursor.execute("SHOW work_mem")
        assert cursor.fetchone() == ("7MB",)
        cursor.execute("SHOW data_directory")
        assert cursor.fetchone() == ("/var/lib/postgresql/18/docker",)
    link.close()
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(**where, user="river", password="another")


def test_postgres_that_was_killed_while_it_was_made_is_made_again(
    images: dict[str, str], start: Start
) -> None:
    container = start(images["POSTGRES_IMAGE"], POSTGRES_PASSWORD=PASSWORD)
    draft = ("test", "-e", "/var/lib/postgresql/18/.draft")
    wait_until(lambda: _succeeds(container, *draft), seconds=ANSWER_SECONDS, what="initialising")
    run("docker", "kill", container)
    run("docker", "start", container)
    ready = ("pg_isready", "--quiet", "--host=127.0.0.1")
    wait_until(lambda: _succeeds(container, *ready), seconds=ANSWER_SECONDS, what=_log(container))
    assert not _succeeds(container, *draft)
    run("docker", "kill", container)
    run("docker", "start", container)
    wait_until(lambda: _succeeds(container, *ready), seconds=ANSWER_SECONDS, what=_log(container))


def _succeeds(container: str, *argv: str) -> bool:
    code = '"$@" > /dev/null 2>&1 && echo yes'
    return "yes" in run("docker", "exec", container, "sh", "-c", code, "-", *argv, code=None)


def test_postgres_without_a_password_is_not_made(images: dict[str, str], start: Start) -> None:
    container = start(images["POSTGRES_IMAGE"])
    assert _ends(container) == 1
    assert "POSTGRES_PASSWORD" in _log(container)


def test_the_store_refuses_short_secrets_and_what_it_does_not_know(
    images: dict[str, str], start: Start
) -> None:
    short = start(
        images["MINIO_IMAGE"], "server", "/data", MINIO_ROOT_USER="river", MINIO_ROOT_PASSWORD="x"
    )
    assert _ends(short) == 2
    assert "MINIO_ROOT_PASSWORD" in _log(short)
    other = start(images["MINIO_IMAGE"], "gateway", "/data")
    assert _ends(other) == 2
    assert "gateway" in _log(other)


def test_the_store_shows_strangers_nothing_on_any_port(
    images: dict[str, str], start: Start
) -> None:
    keys = {"MINIO_ROOT_USER": "river", "MINIO_ROOT_PASSWORD": "a long secret"}
    container = start(images["MINIO_IMAGE"], "server", "/data", **keys)
    wait_until(lambda: _succeeds(container, "mc", "ready", "local"), seconds=ANSWER_SECONDS)
    listening = run("docker", "exec", container, "cat", "/proc/net/tcp", "/proc/net/tcp6")
    fields = [line.split() for line in listening.splitlines()]
    # Local address and state, as the kernel writes them: 0A is LISTEN, 0100007F is 127.0.0.1.
    open_to_all = {
        int(each[1].rpartition(":")[2], 16)
        for each in fields
        if each[3:4] == ["0A"] and not each[1].startswith(("0100007F", "0B00007F"))
    }
    # S3, and its gRPC port, where only the certificate made at the start is let in.
    assert open_to_all == {9000, 19000}
    address = next(iter(inspect(container)["NetworkSettings"]["Networks"].values()))["IPAddress"]
    said = run("curl", "--silent", "--max-time", "5", f"http://{address}:9000/")
    assert "AccessDenied" in said
    refused = run("curl", "--silent", "--max-time", "5", f"http://{address}:8888/", code=7)
    assert refused == ""


def test_the_broker_takes_its_configuration_from_the_variables_and_survives_a_kill(
    images: dict[str, str], start: Start
) -> None:
    container = start(
        images["KAFKA_IMAGE"],
        CLUSTER_ID="4L6g3nShT-eMCtK--X86sw",
        KAFKA_NODE_ID="7",
        KAFKA_PROCESS_ROLES="broker,controller",
        KAFKA_LISTENERS="PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
        KAFKA_CONTROLLER_QUORUM_VOTERS="7@localhost:9093",
        KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
        KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        KAFKA_LOG_DIRS="/var/lib/kafka/data",
        KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR="1",
        KAFKA_HEAP_OPTS="-Xmx256m",
    )
    topics = ("/opt/kafka/bin/kafka-topics.sh", "--bootstrap-server", "localhost:9092")
    create = (*topics, "--create", "--if-not-exists", "--topic", "delta", "--partitions", "3")
    wait_until(
        lambda: _succeeds(container, *create), seconds=ANSWER_SECONDS, what="the broker answers"
    )
    said = run("docker", "exec", container, "cat", "/opt/kafka/config/server.properties")
    assert "log.dirs=/var/lib/kafka/data" in said
    assert "node.id=7" in said
    run("docker", "kill", container)
    run("docker", "start", container)

    def listed() -> bool:
        return "delta" in run("docker", "exec", container, *topics, "--list", code=None)

    wait_until(listed, seconds=ANSWER_SECONDS, what="the topic is there after a kill")
    assert "4L6g3nShT-eMCtK--X86sw" in run(
        "docker", "exec", container, "cat", "/var/lib/kafka/data/meta.properties"
    )
