"""`headrace images` says how many rows have their picture, and which have none."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, text
from typer.testing import CliRunner, Result

from cli.main import app
from shared.database.tables import images
from shared.settings import Settings


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs `headrace images` on the test's database."""
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["images", *words, "--root", str(tmp_path)])

    return run


@pytest.fixture
def known(engine: Engine) -> None:
    """Pictures of a dataset, and one of another."""
    rows = [
        ("rakuten", "1", "stored", 10, "s3://images/a.jpg"),
        ("rakuten", "2", "stored", 10, "s3://images/a.jpg"),
        ("rakuten", "3", "missing", None, None),
        ("other", "4", "missing", None, None),
    ]
    with engine.begin() as connection:
        for dataset, key, state, size, uri in rows:
            connection.execute(
                text(
                    "INSERT INTO headrace.datasets (dataset, spec_digest, spec) "
                    "VALUES (:dataset, '', '{}') ON CONFLICT DO NOTHING"
                ),
                {"dataset": dataset},
            )
            connection.execute(
                insert(images).values(
                    dataset=dataset,
                    table_name="products",
                    row_key=key,
                    file=f"images/{key}.jpg",
                    state=state,
                    bytes=size,
                    uri=uri,
                    load_id="load",
                )
            )


@pytest.mark.usefixtures("known")
def test_states_are_counted_and_the_missing_ones_listed(command) -> None:
    counted = json.loads(command("rakuten", "--json").stdout)
    assert counted == [
        {
            "table_name": "products",
            "state": "missing",
            "rows": 1,
            "bytes": 0,
            "distinct_pictures": 0,
        },
        {
            "table_name": "products",
            "state": "stored",
            "rows": 2,
            "bytes": 20,
            "distinct_pictures": 1,
        },
    ]
    assert "stored" in command("rakuten").stdout
    [missing] = json.loads(command("rakuten", "--missing", "--json").stdout)
    assert (missing["row_key"], missing["file"]) == ("3", "images/3.jpg")
    assert "images/3.jpg" in command("rakuten", "--missing").stdout


@pytest.mark.usefixtures("known")
def test_an_unknown_dataset_is_an_error_that_names_it(command) -> None:
    result = command("rakutan")
    assert result.exit_code == 1
    assert "there is no dataset 'rakutan'" in result.output
