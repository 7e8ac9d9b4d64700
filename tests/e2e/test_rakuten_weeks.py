"""Twenty Mondays of the catalogue at 3 % of its size: 40 % by hand, the rest by the clock.

Time is passed in, so twenty weeks take as long as their work does.
"""

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cli.sample import write_rakuten
from services.ingestor.schedule.schedules import Schedules
from shared.clock import utc_now
from shared.contracts.increment import rows_in_share
from shared.database.statuses import ScheduleOutcome
from shared.schedule.deciding import ScheduleRun
from tests.e2e.conftest import Headrace
from tests.waiting import wait_until

DATASET = "rakuten"
WEEKS = 20
SLICE_SECONDS = 120.0


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rakuten")
    write_rakuten(folder, scale=0.03, images=60, seed=3)
    return folder


def model_of(headrace: Headrace, load_id: str) -> Any:
    found = headrace.query(
        "SELECT model_version, score FROM headrace.promotions WHERE load_id = :load", load=load_id
    )
    dead = headrace.query(
        "SELECT service, reason FROM headrace.dead_letters WHERE correlation_id = :load",
        load=load_id,
    )
    assert dead == []
    status = headrace.query("SELECT status FROM headrace.loads WHERE load_id = :load", load=load_id)
    assert not status or status[0][0] not in ("rejected", "failed"), headrace.run("loads", DATASET)
    return found[0] if found else None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_mondays_bring_the_whole_catalogue_and_a_model_version_each(
    headrace: Headrace, catalogue: Path
) -> None:
    rows = len((catalogue / "Y_train.csv").read_text().splitlines()) - 1
    zone = ZoneInfo("Europe/Paris")
    begun = utc_now()
    first = headrace.json("load", DATASET, "--from", str(catalogue), "--wait")
    assert first["status"] == "published"
    assert headrace.scalar("SELECT total_products FROM rakuten.current_data_state") == int(
        rows * 0.4
    )

    def monday(week: int) -> datetime:
        days = (7 - begun.astimezone(zone).weekday()) + 7 * week
        day = begun.astimezone(zone) + timedelta(days=days)
        return day.replace(hour=0, minute=0, second=0, microsecond=0)

    def fire(now: datetime) -> list[ScheduleRun]:
        schedules = Schedules(headrace.engine, headrace.settings, lambda: now)
        return [run for run in schedules.run_due() if run.dataset == DATASET]

    # The running ingestor has seen the schedule: what is due from now on is ours to say.
    wait_until(lambda: headrace.query("SELECT FROM headrace.schedules WHERE dataset = 'rakuten'"))
    versions, products = {first["model_version"]}, [rows_in_share(rows, Decimal(40))]
    for week in range(WEEKS):
        (run,) = fire(monday(week) + timedelta(seconds=1))
        assert (run.outcome, run.slice_key) == (ScheduleOutcome.REQUESTED, f"{43 + 3 * week}%")
        assert fire(monday(week) + timedelta(seconds=2)) == [], "a moment fires once"
        assert run.load_id is not None
        load_id = run.load_id
        model = wait_until(
            lambda load_id=load_id: model_of(headrace, load_id), seconds=SLICE_SECONDS
        )
        versions.add(model.model_version)
        products.append(headrace.scalar("SELECT total_products FROM rakuten.current_data_state"))

    (after,) = fire(monday(WEEKS) + timedelta(seconds=1))
    assert after.outcome is ScheduleOutcome.NOTHING_TO_LOAD
    assert "nothing to load" in headrace.run("load", DATASET)

    assert products == [rows_in_share(rows, Decimal(40 + 3 * week)) for week in range(WEEKS + 1)]
    assert products[-1] == rows
    assert len(versions) == WEEKS + 1, "one model version a week"
    as_of = headrace.query(
        "SELECT slice_key, as_of FROM headrace.slices WHERE dataset = 'rakuten' ORDER BY as_of"
    )
    assert [(row.slice_key, row.as_of) for row in as_of[1:]] == [
        (f"{43 + 3 * week}%", monday(week).date()) for week in range(WEEKS)
    ]
    _every_product_once(headrace, catalogue, rows)
    _history_adds_up(headrace, rows)
    _every_decision_has_its_reason(headrace)


def _every_product_once(headrace: Headrace, catalogue: Path, rows: int) -> None:
    import pandas as pd

    source = pd.read_csv(catalogue / "X_train.csv", index_col=0)
    labels = pd.read_csv(catalogue / "Y_train.csv", index_col=0)
    expected = dict(zip(source["productid"], labels["prdtypecode"], strict=True))
    found = headrace.query(
        "SELECT p.productid, l.prdtypecode, p.designation FROM rakuten.products AS p "
        "JOIN rakuten.labels AS l USING (productid)"
    )
    assert len(found) == rows
    assert {row.productid: row.prdtypecode for row in found} == expected
    texts = dict(zip(source["productid"], source["designation"], strict=True))
    assert {row.productid: row.designation for row in found} == texts
    shares = headrace.query("SELECT prdtypecode, rows FROM rakuten.class_distribution")
    assert dict(map(tuple, shares)) == Counter(expected.values())


def _history_adds_up(headrace: Headrace, rows: int) -> None:
    history = headrace.query(
        "SELECT h.operation, count(*) AS rows, count(DISTINCT h.load_id) AS loads "
        "FROM rakuten.products_history AS h GROUP BY 1"
    )
    assert [tuple(row) for row in history] == [("insert", rows, WEEKS + 1)]
    loads = headrace.query(
        "SELECT slice_key, percentage, inserted, status FROM rakuten.data_loads "
        "ORDER BY completed_at DESC"
    )
    published = [row for row in loads if row.status == "published"]
    assert len(published) == WEEKS + 1
    assert (published[0].slice_key, published[0].percentage) == ("100%", 100)
    assert sum(row.inserted for row in published) == 2 * rows, "products and labels"
    frozen = headrace.query(
        "SELECT as_of, count(*) AS rows FROM rakuten.products_snapshots GROUP BY 1 ORDER BY 1"
    )
    assert [row.rows for row in frozen] == [
        rows_in_share(rows, Decimal(40 + 3 * week)) for week in range(WEEKS + 1)
    ]


def _every_decision_has_its_reason(headrace: Headrace) -> None:
    models = headrace.json("models", DATASET)
    assert len(models) == WEEKS + 1
    assert all(model["reason"] for model in models)
    champions = [model for model in models if model["alias"] == "champion"]
    assert len(champions) == 1
    assert champions[0]["metrics"]["weighted_f1"] >= 0.75
