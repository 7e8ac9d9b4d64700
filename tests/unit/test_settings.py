"""What a process says of settings that it can't use."""

import os
import subprocess
import sys

import pytest

from shared.errors import InvalidSettings
from shared.settings import Settings


def test_every_variable_that_can_not_be_used_is_named_and_none_is_quoted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HANDLER_THREADS", "none")
    monkeypatch.setenv("API_TOKEN", "too-short")
    with pytest.raises(InvalidSettings) as refused:
        Settings()
    api_token, handler_threads = sorted(str(refused.value).split("; "))
    assert api_token.startswith("API_TOKEN: ")
    assert "16" in api_token
    assert handler_threads.startswith("HANDLER_THREADS: ")
    assert "too-short" not in str(refused.value)


def test_heartbeats_come_within_a_session() -> None:
    with pytest.raises(
        InvalidSettings, match=r"^HEARTBEAT_INTERVAL_SECONDS=2 .* less than SESSION"
    ):
        Settings(session_timeout_seconds=2, heartbeat_interval_seconds=2)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("-m", "services.notifier.app"), "error: notifier can't start: API_TOKEN: "),
        (("-c", "from cli.main import main; main()", "status"), "error: API_TOKEN: "),
    ],
    ids=["a service", "the command"],
)
def test_a_process_ends_with_2_and_one_line(argv: tuple[str, ...], said: str) -> None:
    done = subprocess.run(
        [sys.executable, *argv],
        env={**os.environ, "API_TOKEN": "s3cr3t"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1
    assert "s3cr3t" not in done.stderr + done.stdout
