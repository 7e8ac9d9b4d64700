"""`headrace schedule` on a real database."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import Result
from sqlalchemy import select
from typer.testing import CliRunner

from cli.main import app
from infra.embedded.environment import given_variables
from shared.clock import utc_now
from shared.database.tables import outbox, schedule_runs
from tests.integration.ingestor.conftest import Shop

Headrace = Callable[..., Result]


@pytest.fixture
def headrace(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Headrace:
    shop.spec |= {
        "slices": {"increment": {"initial": 40, "step": 30}, "source": "s3://drops/shop"},
        "schedule": {"cron": "0 0 * * MON", "time_zone": "Europe/Paris", "missed": "skip"},
    }
    shop.write_spec()
    for name, value in given_variables(shop.settings).items():
        monkeypatch.setenv(name, value)

    def run(*words: str) -> Result:
        root = str(shop.folder / "no-stack")
        return CliRunner().invoke(app, ["schedule", *words, "--root", root])

    return run


def listed(headrace: Headrace) -> dict[str, Any]:
    done = headrace("list", "--json")
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    return row


def test_list_tells_the_next_run_in_its_zone_and_what_became_of_the_last(
    headrace: Headrace, shop: Shop
) -> None:
    row = listed(headrace)
    assert (row["dataset"], row["cron"], row["time_zone"]) == (
        "shop",
        "0 0 * * MON",
        "Europe/Paris",
    )
    assert (row["missed"], row["state"], row["last_run"]) == ("skip", "active", None)
    next_run = datetime.fromisoformat(row["next_run"])
    local = next_run.astimezone(ZoneInfo("Europe/Paris"))
    assert local.utcoffset() == next_run.utcoffset()
    assert (local.strftime("%a %H:%M"), next_run > utc_now()) == ("Mon 00:00", True)
    headrace("run-now", "shop")
    row = listed(headrace)
    assert (row["outcome"], row["slice_key"]) == ("requested", "40%")
    table = headrace("list").stdout.splitlines()
    assert table[0].split()[:3] == ["dataset", "cron", "time"]
    assert "40%" in table[1]
    assert local.strftime("%Y-%m-%d 00:00:00") in table[1]
    del shop.spec["schedule"]
    shop.write_spec()
    assert headrace("list").stdout == "no spec has a schedule\n"


def test_pause_and_resume_show_in_the_list(headrace: Headrace) -> None:
    assert headrace("pause", "shop").stdout == "shop is paused\n"
    assert headrace("pause", "shop").stdout == "shop was paused before\n"
    row = listed(headrace)
    assert (row["state"], row["next_run"]) == ("paused", None)
    assert headrace("resume", "shop").stdout == "shop goes on\n"
    assert headrace("resume", "shop").stdout == "shop was not paused\n"
    assert listed(headrace)["state"] == "active"


def test_run_now_prints_its_load_until_nothing_is_left(headrace: Headrace, shop: Shop) -> None:
    headrace("pause", "shop")
    said = [headrace("run-now", "shop") for _ in range(4)]
    with shop.engine.connect() as connection:
        sent = connection.execute(
            select(outbox.c.event_id, outbox.c.source).order_by(outbox.c.outbox_id)
        ).all()
        runs = connection.execute(
            select(schedule_runs.c.outcome).order_by(schedule_runs.c.due_at)
        ).scalars()
        assert list(runs) == ["requested"] * 3 + ["nothing_to_load"]
    assert {source for _, source in sent} == {"ingestor"}
    assert [done.stdout for done in said] == [
        *(
            f"requested shop/{share}: load {load_id}\n"
            for share, (load_id, _) in zip(["40%", "70%", "100%"], sent, strict=True)
        ),
        "nothing to load: shop has reached 100%\n",
    ]
    assert [done.exit_code for done in said] == [0, 0, 0, 0]


def test_what_can_not_be_done_is_said_with_what_to_do_and_exit_1(
    headrace: Headrace, shop: Shop
) -> None:
    done = headrace("run-now", "nosuch")
    assert (done.exit_code, "no dataset 'nosuch'" in done.stderr) == (1, True)
    del shop.spec["slices"]["source"]
    shop.write_spec()
    done = headrace("run-now", "shop")
    assert (done.exit_code, "headrace load shop --from FOLDER" in done.stderr) == (1, True)
    del shop.spec["schedule"]
    shop.write_spec()
    for word in ("run-now", "pause", "resume"):
        done = headrace(word, "shop")
        assert (done.exit_code, "has no schedule" in done.stderr) == (1, True)


def test_faulty_schedule_is_listed_with_its_fault_and_an_unreadable_spec_is_told(
    headrace: Headrace, shop: Shop
) -> None:
    shop.spec["schedule"]["cron"] = "0 0 * * 9"
    shop.write_spec()
    (shop.settings.datasets_dir / "broken.yaml").write_text("dataset: [")
    row = listed(headrace)
    assert (row["state"], row["next_run"]) == ("faulty", None)
    assert "the day of the week '9'" in row["detail"]
    assert "broken is left out" in headrace("list").stderr


def test_check_of_a_spec_names_the_line_of_a_schedule_that_can_not_be(
    shop: Shop, headrace: Headrace
) -> None:
    path = shop.settings.datasets_dir / "shop.yaml"
    path.write_text(json.dumps(shop.spec, indent=2).replace("0 0 * * MON", "0 0 * * MONDAY"))
    done = CliRunner().invoke(app, ["check", str(path)])
    number = next(n for n, line in enumerate(path.read_text().splitlines(), 1) if "MONDAY" in line)
    assert done.exit_code == 1
    assert f"line {number}: schedule.cron: the day of the week 'MONDAY'" in done.stderr
