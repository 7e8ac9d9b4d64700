import os
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import boto3
import psutil
import psycopg2
import pytest
from botocore.config import Config
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from infra.embedded.probe import answers_ok
from infra.embedded.stack import Stack


def s3_client(environment: dict[str, str]):
    return boto3.client(
        "s3",
        endpoint_url=environment["S3_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_REGION"],
        config=Config(signature_version="s3v4"),
    )


def listening_ports(stack: Stack, name: str) -> list[int]:
    [pid] = [status.pid for status in stack.status() if status.name == name]
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    links = []
    for process in family:
        with suppress(psutil.NoSuchProcess):  # Postgres' workers come and go
            links += process.net_connections("inet")
    listening = [link.laddr for link in links if link.status == psutil.CONN_LISTEN]
    assert {address.ip for address in listening} == {"127.0.0.1"}
    return sorted({address.port for address in listening})


@pytest.mark.parametrize("name", ["postgres", "seaweedfs", "tansu"])
def test_servers_listen_on_the_loopback_interface_only(stack: Stack, name: str) -> None:
    assert listening_ports(stack, name)


def test_postgres_lets_nobody_in_without_the_password(stack: Stack) -> None:
    url = stack.environment()["DATABASE_URL"]
    wrong = url.replace(url.split(":")[2].split("@")[0], "wrong")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(wrong)


def test_postgres_is_safe_against_a_crash(stack: Stack) -> None:
    connection = psycopg2.connect(stack.environment()["DATABASE_URL"])
    cursor = connection.cursor()
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        cursor.execute(f"SHOW {setting}")
        assert cursor.fetchone() == ("on",)
    connection.close()


def test_the_store_shows_nothing_to_a_request_without_credentials(
    stack: Stack, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    environment = stack.environment()
    s3 = s3_client(environment)
    secret = "a sentence that nobody else may read" * 1000
    s3.put_object(Bucket="headrace-mlflow", Key="private.txt", Body=secret.encode())
    paths = [
        *("/", "/headrace-mlflow", "/headrace-mlflow/private.txt", "/buckets/"),
        *("/buckets/headrace-mlflow/private.txt", "/dir/assign", "/dir/status", "/vol/status"),
        *("/dir/lookup?volumeId=1", "/status", "/ui/index.html", "/1,01637037d6", "/submit"),
    ]
    # The nine that it was given, and the second one of its admin server, which comes up last.
    wait_until(lambda: len(listening_ports(stack, "seaweedfs")) == 10)
    for port in listening_ports(stack, "seaweedfs"):
        for path in paths:
            for method in ("GET", "PUT", "POST", "DELETE"):
                body = b"intruder" if method in ("PUT", "POST") else None
                url = f"http://127.0.0.1:{port}{path}"
                code, answer = ask(Request(url, data=body, method=method))
                assert b"nobody else" not in answer, url
                assert b"private.txt" not in answer or "private.txt" in path, url
                # These pages show addresses, versions and sizes to anybody, and no more.
                is_public = path in ("/", "/status", "/ui/index.html")
                assert code is None or code >= 400 or is_public, f"{method} {url}: {code}"
    assert s3.get_object(Bucket="headrace-mlflow", Key="private.txt")["Body"].read() == (
        secret.encode()
    )


def ask(request: Request) -> tuple[int | None, bytes]:
    """The status and body of the answer; None from a port that does not speak HTTP."""
    try:
        with urlopen(request, timeout=5) as response:  # noqa: S310
            return response.status, response.read()
    except HTTPError as error:
        return error.code, error.read()
    except (URLError, OSError):
        return None, b""


def test_the_store_shows_nothing_to_its_own_shell_without_the_certificate(stack: Stack) -> None:
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    ports = Stack(stack.root)._state.read().ports
    command = [
        *(weed, "shell"),
        f"-master=127.0.0.1:{ports['seaweedfs.master']}.{ports['seaweedfs.master.grpc']}",
        f"-filer=127.0.0.1:{ports['seaweedfs.filer']}.{ports['seaweedfs.filer.grpc']}",
    ]

    def list_buckets(environment: dict[str, str]) -> str:
        shell = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "HOME": str(stack.root), **environment},
            text=True,
        )
        try:
            return shell.communicate("fs.ls /buckets\n", timeout=4)[0]
        except subprocess.TimeoutExpired:
            shell.kill()
            return shell.communicate()[0]

    certificate, key = (str(stack.root / f"seaweedfs-grpc.{end}") for end in ("crt", "key"))
    assert "headrace-mlflow" not in list_buckets({})
    assert "headrace-mlflow" in list_buckets(
        {
            "WEED_GRPC_CA": certificate,
            "WEED_GRPC_CLIENT_CERT": certificate,
            "WEED_GRPC_CLIENT_KEY": key,
        }
    )


def test_objects_topics_and_offsets_survive_a_restart(stack: Stack) -> None:
    before = stack.environment()
    s3_client(before).put_object(Bucket="headrace-mlflow", Key="kept", Body=b"x" * 9_000_000)
    servers = before["KAFKA_BOOTSTRAP_SERVERS"]
    admin = KafkaAdminClient(bootstrap_servers=servers)
    admin.create_topics({"kept": {"num_partitions": 3, "replication_factor": 1}})
    admin.close()
    produce(servers, b"first", b"second")
    assert consume(servers, 2) == [b"first", b"second"]
    produce(servers, b"third")

    stack.stop()
    after = stack.start(services=())

    assert after == before
    body = s3_client(after).get_object(Bucket="headrace-mlflow", Key="kept")["Body"].read()
    assert body == b"x" * 9_000_000
    assert consume(servers, 1) == [b"third"]


def produce(servers: str, *values: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=servers, acks="all")
    for value in values:
        producer.send("kept", value, partition=1).get(10)
    producer.close()


def consume(servers: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(
        "kept",
        bootstrap_servers=servers,
        group_id="readers",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=6000,
        heartbeat_interval_ms=2000,
    )
    values: list[bytes] = []
    deadline = time.monotonic() + 30
    while len(values) < count and time.monotonic() < deadline:
        for records in consumer.poll(500).values():
            values += [record.value for record in records]
    consumer.commit()
    consumer.close()
    return values


def test_objects_survive_a_change_of_all_the_store_s_ports(stack: Stack) -> None:
    before = stack.environment()
    s3_client(before).put_object(Bucket="headrace-mlflow", Key="kept", Body=b"y" * 5_000_000)
    stack.stop()
    with stack._state.change() as state:
        taken, state.ports = state.ports["seaweedfs.s3"], {}
    with socket.create_server(("127.0.0.1", taken)):
        after = stack.start(services=())
    assert after["S3_ENDPOINT_URL"] != before["S3_ENDPOINT_URL"]
    s3 = s3_client(after)
    assert len(s3.get_object(Bucket="headrace-mlflow", Key="kept")["Body"].read()) == 5_000_000
    s3.put_object(Bucket="headrace-mlflow", Key="new", Body=b"z" * 5_000_000)
    assert len(s3.get_object(Bucket="headrace-mlflow", Key="new")["Body"].read()) == 5_000_000


def test_mlflow_is_ready_only_with_its_tables_and_keeps_its_runs(root: Path) -> None:
    stack = Stack(root, inherited=os.environ)
    uri = stack.start(services=())["MLFLOW_TRACKING_URI"]
    create = Request(  # noqa: S310
        f"{uri}/api/2.0/mlflow/experiments/create",
        data=b'{"name": "kept"}',
        headers={"Content-Type": "application/json"},
    )
    assert answers_ok(create)
    artifact = f"{uri}/api/2.0/mlflow-artifacts/artifacts/1/run/artifacts/plot.txt"
    assert answers_ok(Request(artifact, data=b"a plot", method="PUT"), seconds=10)  # noqa: S310
    stored = s3_client(stack.environment()).list_objects_v2(Bucket="headrace-mlflow")
    assert [entry["Key"] for entry in stored["Contents"]] == ["1/run/artifacts/plot.txt"]

    stack.stop()
    stack.start(services=())

    assert answers_ok(f"{uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name=kept")
    # The store answers for its buckets a moment before its volumes are back.
    assert answers_ok(Request(artifact), seconds=10)  # noqa: S310
    assert ask(Request(artifact)) == (200, b"a plot")  # noqa: S310


def test_mlflow_beside_a_given_database_asks_nothing_of_it(root: Path) -> None:
    given = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    stack = Stack(root, given=given, inherited=os.environ)
    stack.start(services=())
    assert {s.name: s.condition for s in stack.status()}["mlflow"] == "ready"
    assert (root / "mlflow.db").exists()
