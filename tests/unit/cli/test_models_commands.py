"""`headrace models`, `dataset` and `predict` where no server is needed."""

from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.champions import with_aliases
from cli.main import app

run = CliRunner().invoke


@pytest.mark.parametrize(
    "arguments",
    [
        ["models"],
        ["models", "--json"],
        ["models", "rakuten"],
        ["models", "rakuten", "--json"],
        ["models", "list", "promote"],
        ["models", "promote", "rakuten_classifier", "2", "--reason", "why"],
        ["models", "rollback", "rakuten_classifier"],
        ["models", "show", "rakuten_classifier", "2", "--verify"],
        ["dataset", "build", "rakuten", "--as-of", "2026-01-31"],
        ["predict", "rakuten", "--text", "un livre"],
    ],
    ids=" ".join,
)
def test_each_form_of_the_command_is_understood_and_asks_for_a_stack(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    done = run(app, [*arguments, "--root", str(tmp_path)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"no stack runs in {tmp_path}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["promote", "m", "1"], "No such command"),
        (["rollback", "m"], "No such command"),
        (["models", "promote", "m"], "Missing argument"),
        (["models", "rakuten", "streamflow"], "unexpected extra argument"),
        (["models", "--nonsense"], "No such option"),
        (["dataset", "build"], "Missing argument"),
        (["dataset", "build", "rakuten", "--as-of", "yesterday"], "yesterday"),
        (["predict", "rakuten"], "say either --text"),
        (["predict", "rakuten", "--file", "in.csv"], "say either --text"),
        (["predict", "rakuten", "--text", "x", "--file", "a", "--out", "b"], "say either --text"),
        (["predict", "rakuten", "--text", "x", "--out", "b"], "say either --text"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_named_with_exit_code_2(arguments: list[str], said: str) -> None:
    done = run(app, arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())


def test_the_help_of_the_group_names_its_commands_and_how_to_list() -> None:
    done = run(app, ["models", "--help"])
    assert done.exit_code == 0
    for word in ("models [DATASET]", "promote", "rollback", "show"):
        assert word in done.stdout


def decided(version: str, alias: str | None, model: str = "m") -> dict[str, object]:
    return {
        "model_name": model,
        "model_version": version,
        "alias_then": alias,
        "as_of": date(2024, 1, 31),
    }


def test_an_alias_is_shown_with_the_version_that_has_it_now() -> None:
    history = [
        decided("1", "champion"),
        decided("2", "challenger"),
        decided("1", "champion", model="other"),
        decided("3", "challenger"),
        decided("2", "champion"),  # promoted by hand
        decided("4", None),  # trained again, and withdrawn before
    ]
    found = [row["alias"] for row in with_aliases(history)]
    assert found == [None, "champion", "champion", "challenger", "champion", None]
    promoted = [*history, decided("3", "champion")]
    assert [row["alias"] for row in with_aliases(promoted)][3] == "champion"
    assert "challenger" not in [row["alias"] for row in with_aliases(promoted)]
