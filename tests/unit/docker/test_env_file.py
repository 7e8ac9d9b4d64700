"""The `.env` that `make setup` writes."""

import re
import stat
from pathlib import Path

import pytest

from infra.docker.env_file import bring_up_to_date, completed, first, variables
from tests.conftest import REPOSITORY

EXAMPLE = (REPOSITORY / ".env.example").read_text(encoding="utf-8")


def values(text: str) -> dict[str, str]:
    return {variable.name: variable.value for variable in variables(text) if variable.is_on}


def test_every_password_is_made_and_each_is_another() -> None:
    wanted = {variable.name for variable in variables(EXAMPLE) if variable.is_secret}
    assert wanted >= {"POSTGRES_PASSWORD", "API_TOKEN"}
    made = [values(first(EXAMPLE))[name] for name in sorted(wanted)]
    again = [values(first(EXAMPLE))[name] for name in sorted(wanted)]
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in made)
    assert len({*made, *again}) == 2 * len(wanted)


def test_the_example_has_no_password_that_works() -> None:
    for variable in variables(EXAMPLE):
        if re.search(r"PASSWORD|TOKEN", variable.name):
            assert variable.is_secret, variable.name


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    bring_up_to_date(path, REPOSITORY / ".env.example")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_doing_it_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    bring_up_to_date(path, REPOSITORY / ".env.example")
    before = path.read_bytes()
    said = bring_up_to_date(path, REPOSITORY / ".env.example")
    assert path.read_bytes() == before
    assert "already" in said


def test_what_is_new_is_added_and_what_somebody_wrote_is_kept() -> None:
    present = "# mine\nPOSTGRES_PASSWORD=chosen\nKAFKA_PORT=19092\nSOMETHING=else\n"
    text = completed(present, EXAMPLE)
    assert text.startswith(present)
    found = values(text)
    assert found["POSTGRES_PASSWORD"] == "chosen"
    assert found["KAFKA_PORT"] == "19092"
    assert found["SOMETHING"] == "else"
    assert len(found["API_TOKEN"]) == 48
    assert {variable.name for variable in variables(EXAMPLE)} <= {
        variable.name for variable in variables(text)
    }
    assert completed(text, EXAMPLE) == text


def test_a_password_that_was_left_empty_is_filled_in() -> None:
    found = values(completed("API_TOKEN=\n" + EXAMPLE.replace("API_TOKEN=\n", ""), EXAMPLE))
    assert len(found["API_TOKEN"]) == 48


def test_a_link_is_followed_and_kept(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere"
    secret.write_text("API_TOKEN=of-my-own-choosing\n", encoding="utf-8")
    link = tmp_path / ".env"
    link.symlink_to(secret)
    said = bring_up_to_date(link, REPOSITORY / ".env.example")
    assert link.is_symlink()
    assert values(secret.read_text(encoding="utf-8"))["API_TOKEN"] == "of-my-own-choosing"
    assert "API_TOKEN" not in said
    assert "POSTGRES_PASSWORD" in said


@pytest.mark.parametrize("line", ["export A=b", "  # A note about X=1", "lower=case", ""])
def test_lines_that_are_no_variables_are_left_alone(line: str) -> None:
    assert completed(line + "\n" + EXAMPLE, EXAMPLE).splitlines()[0] == line
