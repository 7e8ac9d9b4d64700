"""`make` targets call `headrace`, and `clean` deletes nothing that nobody agreed to."""

import os
import pty
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

CALLS = {
    "start": ["up"],
    "up": ["up"],
    "stop": ["down"],
    "down": ["down"],
    "restart": ["down", "up"],
    "ps": ["ps"],
    "logs": ["logs"],
    "logs SERVICE=trainer FOLLOW=1": ['logs "trainer" --follow'],
    "init-db": ["migrate"],
    "load-data DATASET=rakuten": ['load "rakuten" --wait'],
    "load-data DATASET=rakuten FROM=drops SLICE=43% AS_OF=2026-11-16": [
        'load "rakuten" --from "drops" --slice "43%" --as-of "2026-11-16" --wait'
    ],
    "trigger DATASET=rakuten": ['load "rakuten"'],
    "status": ["status"],
    "history DATASET=rakuten": ['history "rakuten"'],
    "generate-dataset DATASET=rakuten": ['dataset build "rakuten"'],
    "generate-dataset DATASET=rakuten AS_OF=2026-11-16": [
        'dataset build "rakuten" --as-of "2026-11-16"'
    ],
    "check-health": ["health"],
    "shell-postgres": ["psql"],
    "shell-postgres SQL=x": ['psql -c "$SQL"'],
    "demo": ["demo"],
    "demo FAULTS=1 KEEP=1": ["demo --faults --keep"],
    "demo DATASET=rakuten SCALE=0.1 KEEP=1": ['demo --dataset "rakuten" --scale "0.1" --keep'],
}
PROMISED = {
    "setup", "start", "stop", "restart", "ps", "logs", "init-db", "load-data", "status", "history",
    "generate-dataset", "trigger", "check-health", "shell-postgres", "clean", "test",
}  # fmt: skip
DELETED = (".headrace", ".headrace-demo", ".venv", ".uv")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile in a folder where all is installed; `headrace` notes how it is called."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for name in ("uv.lock", "pyproject.toml", ".uv/bin/uv", ".venv/.installed", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in (".headrace", ".headrace-demo"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows").write_text("of value")
    headrace = tmp_path / ".venv" / "bin" / "headrace"
    headrace.parent.mkdir()
    headrace.write_text('#!/bin/sh\necho "$*" >> called.txt\n')
    headrace.chmod(0o755)
    return tmp_path


def make(
    checkout: Path, *words: str, stdin: int = subprocess.DEVNULL
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *words],
        cwd=checkout,
        stdin=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
    )


def there(checkout: Path) -> set[str]:
    return {name for name in DELETED if (checkout / name).exists()}


@pytest.mark.parametrize("words", CALLS)
def test_a_target_calls_headrace_and_nothing_else(checkout: Path, words: str) -> None:
    done = make(checkout, "-n", *words.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f".venv/bin/headrace {call}" for call in CALLS[words]]


def test_sql_reaches_psql_as_it_was_written(checkout: Path) -> None:
    sql = "SELECT \"a\", 'b' FROM t WHERE x > 1"
    assert make(checkout, "shell-postgres", f"SQL={sql}").returncode == 0
    assert (checkout / "called.txt").read_text() == f"psql -c {sql}\n"


def test_help_describes_every_target_that_is_promised(checkout: Path) -> None:
    described = re.findall(r"^  ([a-z-]+) +\S", make(checkout, "help").stdout, re.M)
    assert set(described) >= PROMISED


@pytest.mark.parametrize("target", ["load-data", "trigger", "history", "generate-dataset"])
def test_a_target_that_needs_a_dataset_says_so(checkout: Path, target: str) -> None:
    done = make(checkout, target)
    assert done.returncode != 0
    assert f"{target} needs DATASET, as in: make {target} DATASET=rakuten" in done.stderr
    assert not (checkout / "called.txt").exists()


def test_clean_without_anybody_to_ask_deletes_nothing(checkout: Path) -> None:
    done = make(checkout, "clean")
    assert done.returncode != 0
    assert "YES=1" in done.stderr
    assert there(checkout) == set(DELETED)
    assert not (checkout / "called.txt").exists(), "the stack runs on"


def test_clean_with_yes_stops_the_stacks_and_deletes_what_it_named(checkout: Path) -> None:
    done = make(checkout, "clean", "YES=1")
    assert done.returncode == 0, done.stderr
    for name in DELETED:
        assert name in done.stdout
    assert there(checkout) == set()
    left = {path.name for path in checkout.iterdir()}
    assert left == {"Makefile", "uv.lock", "pyproject.toml", "notes.txt", "called.txt"}
    assert (checkout / "called.txt").read_text().splitlines() == [
        "down --root .headrace",
        "down --root .headrace-demo",
    ]
    assert "nothing to delete" in make(checkout, "clean").stdout


def test_clean_deletes_nothing_where_the_stack_does_not_stop(checkout: Path) -> None:
    (checkout / ".venv" / "bin" / "headrace").write_text("#!/bin/sh\nexit 1\n")
    assert make(checkout, "clean", "YES=1").returncode != 0
    assert there(checkout) == set(DELETED)


@pytest.mark.parametrize(("answer", "left"), [("yes", set()), ("no", DELETED), ("", DELETED)])
def test_clean_on_a_terminal_deletes_on_a_yes_alone(
    checkout: Path, answer: str, left: set[str]
) -> None:
    controller, terminal = pty.openpty()
    try:
        os.write(controller, f"{answer}\n".encode())
        done = make(checkout, "clean", stdin=terminal)
    finally:
        os.close(controller)
        os.close(terminal)
    assert done.returncode == 0, done.stderr
    assert "(yes/no)" in done.stdout
    assert there(checkout) == set(left)
