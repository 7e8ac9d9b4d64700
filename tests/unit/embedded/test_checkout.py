"""The commit of a checkout, as git itself would tell it."""

import subprocess
from pathlib import Path

import pytest

from infra.embedded.checkout import head_commit
from infra.embedded.credentials import Credentials
from infra.embedded.environment import resolve
from tests.conftest import REPOSITORY


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


def test_a_branch_a_packed_branch_and_a_detached_head_are_read(checkout: Path) -> None:
    assert head_commit(checkout) == git(checkout, "rev-parse", "HEAD")
    git(checkout, "checkout", "-q", "-b", "feature/deep")
    git(checkout, "commit", "-q", "--allow-empty", "-m", "second")
    second = git(checkout, "rev-parse", "HEAD")
    git(checkout, "pack-refs", "--all")
    assert not (checkout / ".git/refs/heads/feature/deep").exists()
    assert head_commit(checkout) == second
    git(checkout, "checkout", "-q", "--detach", "main")
    assert head_commit(checkout) == git(checkout, "rev-parse", "main") != second


def test_a_worktree_has_the_commit_of_its_own_branch(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "worktree", "add", "-q", "-b", "other", str(tmp_path / "other"))
    git(tmp_path / "other", "commit", "-q", "--allow-empty", "-m", "elsewhere")
    found = head_commit(tmp_path / "other")
    assert found == git(tmp_path / "other", "rev-parse", "HEAD") != head_commit(checkout)


def test_where_there_is_no_checkout_and_where_nothing_is_committed_there_is_no_commit(
    tmp_path: Path,
) -> None:
    assert head_commit(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert head_commit(tmp_path) is None
    (tmp_path / ".git" / "HEAD").write_text("0123 is no commit\n")
    assert head_commit(tmp_path) is None


def test_the_stack_tells_its_services_the_commit_unless_a_person_names_one() -> None:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this is no checkout")

    def commit(given: dict[str, str]) -> str:
        return resolve(
            {**given, "S3_ENDPOINT_URL": "http://127.0.0.1:1"},
            servers=frozenset(),
            ports={},
            credentials=Credentials(
                postgres_password="p", s3_access_key_id="i", s3_secret_access_key="s"
            ),
            database_url="postgresql://h@127.0.0.1/h",
        )["GIT_COMMIT"]

    assert commit({}) == git(REPOSITORY, "rev-parse", "HEAD")
    assert commit({"GIT_COMMIT": "v1.2"}) == "v1.2"
