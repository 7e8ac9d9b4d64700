import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest
from process_table import not_stopped

from infra.embedded.errors import ProcessDied, StackBusy, StackNotStarted
from infra.embedded.services import ServiceSpec
from infra.embedded.stack import Stack
from infra.embedded.state import StateFile

WaitUntil = Callable[[Callable[[], bool]], None]
SMALL = ServiceSpec("small", "small_service")


def pids(stack: Stack) -> dict[str, int | None]:
    return {status.name: status.pid for status in stack.status()}


def conditions(stack: Stack) -> dict[str, str]:
    return {status.name: status.condition for status in stack.status()}


def inherited() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}


def test_first_start_from_an_empty_folder_makes_every_server_ready(stack: Stack) -> None:
    assert conditions(stack) == {"postgres": "ready", "seaweedfs": "ready", "tansu": "ready"}
    assert stack.dead() == []
    assert stack.is_up()


def test_secrets_are_readable_by_their_owner_only(stack: Stack) -> None:
    for name in ("credentials.json", "stack.json", "seaweedfs-grpc.key"):
        assert (stack.root / name).stat().st_mode & 0o777 == 0o600


def test_stop_leaves_no_process_behind(stack: Stack) -> None:
    assert not_stopped(stack.root)
    assert set(stack.stop()) == {"postgres", "seaweedfs", "tansu"}
    assert not_stopped(stack.root) == []
    assert not stack.is_up()
    assert set(conditions(stack).values()) == {"stopped"}


def test_second_start_changes_nothing(stack: Stack) -> None:
    before, environment = pids(stack), stack.environment()
    again = Stack(stack.root, inherited=os.environ, mlflow=False)
    assert again.start(services=()) == environment
    assert pids(again) == before


def test_two_starts_at_once_make_one_stack(root: Path) -> None:
    stacks = [Stack(root, inherited=os.environ, mlflow=False) for _ in range(2)]
    threads = [threading.Thread(target=stack.start, args=((),)) for stack in stacks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(conditions(stacks[0]).values()) == {"ready"}
    stacks[1].stop()
    assert not_stopped(root) == []


def test_a_stack_that_somebody_else_starts_is_busy(root: Path) -> None:
    file = StateFile(root)
    with file.lock(), pytest.raises(StackBusy, match="another `headrace up`"), file.lock(0.1):
        pass


def test_the_environment_of_a_stack_never_started_is_an_error_that_says_what_to_do(
    root: Path,
) -> None:
    with pytest.raises(StackNotStarted, match="run `headrace up`"):
        Stack(root).environment()
    assert Stack(root).status() == []
    assert Stack(root).stop() == []


def test_a_recorded_pid_that_belongs_to_another_process_by_now_is_left_alone(
    stack: Stack,
) -> None:
    stack.stop()
    with StateFile(stack.root).change() as state:
        state.processes = {}
    stack.start(services=())
    path = stack.root / "stack.json"
    facts = json.loads(path.read_text())
    real = facts["processes"]["tansu"]["pid"]
    facts["processes"]["tansu"]["pid"] = os.getpid()
    path.write_text(json.dumps(facts))
    assert [death.name for death in stack.dead()] == ["tansu"]

    stack.start(services=())

    assert pids(stack)["tansu"] not in (os.getpid(), real)
    assert not Path(f"/proc/{real}").exists()


@pytest.mark.parametrize("content", ["", "{not json"])
def test_a_lost_state_file_loses_neither_processes_nor_data(stack: Stack, content: str) -> None:
    before = not_stopped(stack.root)
    write(stack, "kept")
    (stack.root / "stack.json").write_text(content)

    stack.start(services=())

    assert set(conditions(stack).values()) == {"ready"}
    assert read(stack) == ["kept"]
    assert set(not_stopped(stack.root)).isdisjoint(before)


def test_an_occupied_port_is_replaced_and_what_depends_on_it_is_started_anew(
    root: Path, wait_until: WaitUntil
) -> None:
    stack = Stack(root, inherited=inherited(), mlflow=False)
    stack.start([SMALL])
    before, old = pids(stack), stack.environment()["KAFKA_BOOTSTRAP_SERVERS"]
    os.kill(before["tansu"] or 0, signal.SIGKILL)
    wait_until(lambda: bool(stack.dead()))
    host, _, port = old.partition(":")
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind((host, int(port)))
        squatter.listen()
        environment = stack.start([SMALL])

    assert environment["KAFKA_BOOTSTRAP_SERVERS"] != old
    after = pids(stack)
    assert after["small"] != before["small"]
    assert after["postgres"] == before["postgres"]


def test_start_after_killing_a_service_starts_that_one_again(
    root: Path, wait_until: WaitUntil
) -> None:
    stack = Stack(root, inherited=inherited(), mlflow=False)
    stack.start([SMALL])
    before = pids(stack)
    os.kill(before["small"] or 0, signal.SIGKILL)
    wait_until(lambda: [death.name for death in stack.dead()] == ["small"])
    assert conditions(stack)["small"] == "dead"

    stack.start([SMALL])

    after = pids(stack)
    assert after.pop("small") != before.pop("small")
    assert after == before


def test_migrate_runs_between_the_servers_and_the_services(root: Path) -> None:
    order: list[str] = []
    stack = Stack(root, inherited=inherited(), mlflow=False)

    def migrate(settings: object) -> None:
        assert settings == stack.settings()
        order.append("migrate")

    stack.start([SMALL], migrate=migrate, report=lambda name, seconds: order.append(name))

    assert set(order[:3]) == {"postgres", "seaweedfs", "tansu"}
    assert order[3:] == ["migrate", "the schema, topics and buckets", "small"]


def test_a_service_that_dies_at_its_start_is_named_with_the_end_of_its_log(root: Path) -> None:
    stack = Stack(root, inherited=inherited(), given={"TOPIC_PREFIX": "wrong"}, mlflow=False)
    with pytest.raises(
        ProcessDied, match=r"small died[\s\S]*the topics of 'wrong' are not there"
    ) as e:
        stack.start([SMALL])
    assert e.value.log == root / "logs" / "small.log"
    assert conditions(stack)["tansu"] == "ready"


def test_a_server_that_dies_is_named_with_the_end_of_its_log(
    stack: Stack, wait_until: WaitUntil
) -> None:
    os.kill(pids(stack)["postgres"] or 0, signal.SIGINT)
    wait_until(lambda: bool(stack.dead()))
    [death] = stack.dead()
    assert death.name == "postgres"
    assert "database system is shut down" in death.tail


def test_committed_rows_survive_the_killing_of_postgres(stack: Stack) -> None:
    write(stack, "committed")
    os.kill(pids(stack)["postgres"] or 0, signal.SIGKILL)

    stack.start(services=())

    assert read(stack) == ["committed"]


def test_given_servers_are_used_and_not_started(root: Path) -> None:
    given = {
        "DATABASE_URL": "postgresql://me:secret@db.example/headrace",
        "S3_ENDPOINT_URL": "https://s3.example",
        "AWS_ACCESS_KEY_ID": "theirs",
        "AWS_SECRET_ACCESS_KEY": "theirs",
        "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092",
        "MLFLOW_TRACKING_URI": "https://mlflow.example",
        "BUCKET_PREFIX": "mine-",
    }
    stack = Stack(root, given=given, inherited=os.environ)
    environment = stack.start(services=())
    assert {name: environment[name] for name in given} == given
    assert stack.status() == []
    assert stack.given()["DATABASE_URL"] == "postgresql://db.example/headrace"


def test_keys_without_a_store_do_not_reach_the_embedded_one(root: Path) -> None:
    given = {"AWS_ACCESS_KEY_ID": "real", "AWS_SECRET_ACCESS_KEY": "real"}
    stack = Stack(root, given=given, inherited=os.environ, mlflow=False)
    environment = stack.start(services=())
    assert "real" not in environment.values()
    assert conditions(stack)["seaweedfs"] == "ready"


def write(stack: Stack, word: str) -> None:
    with psycopg2.connect(stack.environment()["DATABASE_URL"]) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        cursor.execute("INSERT INTO words VALUES (%s)", (word,))
    connection.close()


def read(stack: Stack) -> list[str]:
    with psycopg2.connect(stack.environment()["DATABASE_URL"]) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT word FROM words")
        words = [row[0] for row in cursor.fetchall()]
    connection.close()
    return words
