"""The images' start script: a folder for temporary files, and none left behind."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.waiting import wait_until

SCRIPT = REPOSITORY / "infra/docker/entrypoint.sh"

pytestmark = pytest.mark.skipif(not shutil.which("flock"), reason="flock of util-linux is missing")


def start(shared: Path, *argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [SCRIPT, *argv],
        env={"PATH": "/usr/bin:/bin", "SCRATCH_DIR": str(shared)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(shared: Path, *argv: str) -> tuple[int, str]:
    """The exit code of a command, and what it printed."""
    with start(shared, *argv) as process:
        said, _ = process.communicate()
    return process.returncode, said


def folders(shared: Path) -> set[str]:
    return {path.name for path in shared.iterdir() if path.is_dir()}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has written to its folder, and waits for a line."""
    process = start(tmp_path, "sh", "-c", 'echo kept > "$TMPDIR/file"; echo up; read -r line')
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    yield process
    process.kill()
    process.communicate()


def test_the_command_has_a_folder_of_its_own_for_temporary_files(tmp_path: Path) -> None:
    code, said = run(tmp_path, "python3", "-c", "import tempfile; print(tempfile.gettempdir())")
    assert code == 0
    assert Path(said.strip()).parent == tmp_path


def test_its_exit_code_is_the_commands(tmp_path: Path) -> None:
    assert run(tmp_path, "sh", "-c", "exit 7")[0] == 7


def test_what_a_killed_process_left_is_deleted_by_the_next(
    tmp_path: Path, running: subprocess.Popen[str]
) -> None:
    left = folders(tmp_path)
    running.kill()
    wait_until(
        lambda: run(tmp_path, "true")[0] == 0 and not left & folders(tmp_path),
        seconds=10,
        what="the folder of a killed process is deleted",
    )


def test_the_folder_of_a_process_that_runs_is_left_alone(
    tmp_path: Path, running: subprocess.Popen[str]
) -> None:
    (own,) = folders(tmp_path)
    for _ in range(5):
        assert run(tmp_path, "true")[0] == 0
    assert (tmp_path / own / "file").read_text() == "kept\n"


def test_a_folder_without_a_lock_is_taken_for_left_behind(tmp_path: Path) -> None:
    (tmp_path / "half made").mkdir()
    assert run(tmp_path, "true")[0] == 0
    assert "half made" not in folders(tmp_path)


def test_many_that_start_at_once_keep_their_folders(tmp_path: Path) -> None:
    script = 'echo 1 > "$TMPDIR/x"; echo up; read -r line; cat "$TMPDIR/x"'
    processes = [start(tmp_path, "sh", "-c", script) for _ in range(12)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
    assert [process.communicate("go\n")[0] for process in processes] == ["1\n"] * 12
