"""What NOTIFY_URLS says, and that nothing of it shows."""

import io
import logging
import subprocess
import sys

import pytest

from services.notifier.targets import read_targets, target_name
from shared.errors import InvalidSettings
from shared.settings import Settings
from tests.conftest import REPOSITORY

"""Of Apprise 2.2, at its import."""

HOOK = "slack://TAAAAAAAA/BBBBBBBBB/cccccccccccccccccccccccc/#general"
PLAIN = "json://127.0.0.1:9/path,with,commas?+X-Key=s3cr3t"


def settings(*urls: str) -> Settings:
    return Settings(notify_urls="\n".join(urls))


def test_addresses_stand_apart_by_blanks_or_lines_and_may_have_commas() -> None:
    targets = read_targets(Settings(notify_urls=f"  {PLAIN} \n\t{HOOK}\n"))
    assert [target.position for target in targets.usable] == [1, 2]
    assert [target.name.split("-")[0] for target in targets.usable] == ["json", "slack"]
    assert targets.faults == ()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What this process's log would get at its most talkative."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    monkeypatch.setattr(logging.root, "handlers", [handler])
    monkeypatch.setattr(logging.root, "level", logging.DEBUG)
    return written


def test_an_address_that_can_not_be_understood_is_named_by_its_position_only(
    log: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    targets = read_targets(
        settings("nosuch://s3cr3t-a", PLAIN, "s3cr3t-b", "slack://s3cr3t-c", "https://s3cr3t-d")
    )
    assert [target.position for target in targets.usable] == [2]
    assert [fault[:14] for fault in targets.faults] == [f"address {n} of 5" for n in (1, 3, 4, 5)]
    seen = f"{targets!r} {log.getvalue()} {capfd.readouterr()}"
    assert "s3cr3t" not in seen


def test_the_same_address_twice_is_one_target() -> None:
    targets = read_targets(settings(PLAIN, PLAIN))
    assert len(targets.usable) == 1
    assert "the same as address 1" in targets.faults[0]


def test_a_name_follows_from_the_address_and_not_from_a_password() -> None:
    assert target_name(HOOK) == target_name(HOOK)
    assert target_name(HOOK) != target_name(HOOK.replace("BBB", "BBC"))
    assert target_name("mailto://me:old@example.org") == target_name("mailto://me:new@example.org")
    assert target_name("mailto://me:x@example.org") != target_name("mailto://you:x@example.org")
    assert target_name("JSON://h/x").startswith("json-")


def test_nothing_of_an_address_shows_in_settings_or_targets() -> None:
    said = f"{settings(PLAIN)!r} {read_targets(settings(PLAIN))!r}"
    assert "s3cr3t" not in said
    assert "with,commas" not in said


def test_only_known_occasions_can_be_asked_for() -> None:
    assert Settings(notify_on="").notify_on == ""
    with pytest.raises(InvalidSettings, match="NOTIFY_ON"):
        Settings(notify_on="rejected everything")


def test_without_addresses_apprise_is_not_imported() -> None:
    code = (
        "import sys, services.notifier.app, services.notifier.targets as t\n"
        "from shared.settings import Settings\n"
        "assert t.read_targets(Settings(notify_urls=' ')) == t.Targets()\n"
        "assert 'apprise' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, timeout=60)
