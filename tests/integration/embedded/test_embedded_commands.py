import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process_table import not_stopped
from typer.testing import CliRunner

from cli.stack import app
from infra.embedded.stack import Stack

WaitUntil = Callable[[Callable[[], bool]], None]
Foreground = tuple[subprocess.Popen[bytes], Path]
REPOSITORY = Path(__file__).resolve().parents[3]


def headrace(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*words])
    return result.exit_code, result.output


@pytest.fixture
def foreground(root: Path, tmp_path: Path, wait_until: WaitUntil) -> Iterator[Foreground]:
    """`headrace up --foreground`, everything up, and the file to which it writes."""
    command = [sys.executable, "-c", "from cli.stack import app; app()"]
    options = ["up", "--foreground", "--servers-only", "--root", str(root)]
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*command, *options], stdout=file, stderr=subprocess.STDOUT, cwd=REPOSITORY
        )
    try:
        wait_until(lambda: "everything is up" in output.read_text() or process.poll() is not None)
        yield process, output
    finally:
        process.kill()
        process.wait()


def test_interrupting_the_foreground_stops_everything(root: Path, foreground: Foreground) -> None:
    process, output = foreground
    process.send_signal(signal.SIGINT)
    assert process.wait(90) == 0, output.read_text()
    assert not_stopped(root) == []


def test_a_death_in_the_foreground_is_named_with_its_log_and_stops_the_rest(
    root: Path, foreground: Foreground
) -> None:
    process, output = foreground
    [tansu] = [status.pid for status in Stack(root).status() if status.name == "tansu"]
    os.kill(tansu or 0, signal.SIGKILL)
    assert process.wait(90) == 1
    assert f"tansu died; the end of {root / 'logs' / 'tansu.log'}" in output.read_text()
    assert "storage: s3://headrace-broker" in output.read_text()
    assert not_stopped(root) == []


def test_down_elsewhere_ends_the_foreground_without_a_complaint(
    root: Path, foreground: Foreground
) -> None:
    process, output = foreground
    subprocess.run(
        [sys.executable, "-c", "from cli.stack import app; app()", "down", "--root", str(root)],
        check=True,
        cwd=REPOSITORY,
    )
    assert process.wait(90) == 0
    assert "died" not in output.read_text()


def test_ps_tells_by_its_exit_code_whether_all_is_ready(
    stack: Stack, wait_until: WaitUntil
) -> None:
    root = ("--root", str(stack.root))
    code, output = headrace("ps", "--json", *root)
    assert code == 0
    assert {p["name"]: p["condition"] for p in json.loads(output)["processes"]} == {
        "postgres": "ready",
        "seaweedfs": "ready",
        "tansu": "ready",
    }
    assert "secret" not in output
    assert stack.environment()["DATABASE_URL"] not in output
    [tansu] = [status.pid for status in stack.status() if status.name == "tansu"]
    os.kill(tansu or 0, signal.SIGKILL)
    wait_until(lambda: bool(stack.dead()))
    code, output = headrace("ps", *root)
    assert code == 3
    assert f"tansu\tdead\t{stack.environment()['KAFKA_BOOTSTRAP_SERVERS']}" in output


def test_ps_of_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    code, output = headrace("ps", "--root", str(tmp_path))
    assert code == 3
    assert "run `headrace up`" in output


def test_logs_prints_one_or_all_and_names_those_there_are(stack: Stack) -> None:
    root = ("--root", str(stack.root))
    code, output = headrace("logs", "postgres", "-n", "1", *root)
    assert code == 0
    assert output.endswith("database system is ready to accept connections\n")
    assert {line.split()[0] for line in headrace("logs", *root)[1].splitlines()} == {
        "postgres",
        "seaweedfs",
        "tansu",
    }
    code, output = headrace("logs", "nothing", *root)
    assert code == 1
    assert "there are: postgres, seaweedfs, tansu" in output


def test_down_twice_is_harmless(stack: Stack) -> None:
    root = ("--root", str(stack.root))
    heeded = signal.getsignal(signal.SIGTERM)
    assert headrace("down", *root)[0] == 0
    assert signal.getsignal(signal.SIGTERM) == heeded
    code, output = headrace("down", *root)
    assert code == 0
    assert "nothing runs" in output
