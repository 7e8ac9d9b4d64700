"""What a person does about past, bad and wrong slices, on the whole stack."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest

from cli.verify.audit import audit
from tests.e2e.conftest import Headrace, copy_spec

pytestmark = pytest.mark.slow
DATASET = "amended"


@pytest.fixture(scope="module")
def drops(headrace: Headrace, sample_drops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four months for a dataset of this module's own; a user of the third can't be typed."""
    copy_spec("streamflow", headrace.settings.datasets_dir, as_name=DATASET)
    folder = tmp_path_factory.mktemp("amended")
    for month in ("month_000", "month_001", "month_002", "month_003"):
        shutil.copytree(sample_drops / month, folder / month)
    users = folder / "month_002" / "users.csv"
    header, first, rest = users.read_text().split("\n", 2)
    place = header.split(",").index("signup_date")
    cells = first.split(",")
    cells[place] = "last spring"
    users.write_text("\n".join([header, ",".join(cells), rest]))
    return folder


def backfill(headrace: Headrace, drops: Path, last: str, *more: str, code: int = 0) -> str:
    words = ("--from", "month_000", "--to", last, "--source", str(drops), *more)
    return headrace.run("backfill", DATASET, *words, code=code)


def trained(headrace: Headrace) -> list[str]:
    rows = headrace.query(
        "SELECT l.slice_key FROM headrace.promotions AS p JOIN headrace.loads AS l USING (load_id) "
        "WHERE p.dataset = :dataset ORDER BY p.decided_at",
        dataset=DATASET,
    )
    return [row.slice_key for row in rows]


def statuses(headrace: Headrace) -> dict[str, str]:
    return {row["slice_key"]: row["status"] for row in headrace.json("slices", DATASET)}


def test_past_slices_come_in_order_and_one_model_at_the_end(
    headrace: Headrace, drops: Path
) -> None:
    plan = headrace.json(
        "backfill", DATASET, "--from", "month_000", "--to", "month_001", "--source", str(drops),
        "--dry-run",
    )  # fmt: skip
    assert [(each["slice_key"], each["what"]) for each in plan] == [
        ("month_000", "to load"),
        ("month_001", "to load"),
    ]
    assert statuses(headrace) == {}

    said = backfill(headrace, drops, "month_001")
    assert said.index("1/2  month_000  published") < said.index("2/2  month_001  published")
    assert trained(headrace) == ["month_001"]
    datasets = headrace.json("datasets", DATASET)
    assert [row["slice_key"] for row in datasets] == ["month_001"]
    notes = [row["note"] for row in headrace.json("history", DATASET)]
    assert notes == ["not trained on", ""]

    again = backfill(headrace, drops, "month_001")
    assert again.count("in already") == 2
    assert trained(headrace) == ["month_001"], "and not once more"


def test_it_stops_at_a_refused_slice_and_goes_on_when_that_is_mended(
    headrace: Headrace, drops: Path, tmp_path: Path
) -> None:
    said = backfill(headrace, drops, "month_003", code=1)
    assert "1 of 4 slices were refused: month_002; 1 slices are left" in said
    assert statuses(headrace)["month_002"] == "rejected"
    assert "month_003" not in statuses(headrace)

    sheet = tmp_path / "mend.csv"
    headrace.run("rejects", "export", f"{DATASET}/month_002", "--to", str(sheet))
    lines = list(csv.DictReader(sheet.read_text(encoding="utf-8-sig").splitlines()))
    assert [line["signup_date"] for line in lines] == ["last spring"]
    assert "is not a date" in lines[0]["headrace_reason"]
    nothing = headrace.run("rejects", "replay", str(sheet), code=1)
    assert "no row differs" in nothing
    lines[0]["signup_date"] = "2023-04-01"
    with sheet.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, lines[0].keys(), delimiter=";")
        writer.writeheader()
        writer.writerows(lines)
    dry = headrace.run("rejects", "replay", str(sheet), "--dry-run")
    assert "users.csv, record 1: signup_date 'last spring' -> '2023-04-01'" in dry
    done: dict[str, Any] = headrace.json("rejects", "replay", str(sheet), "--wait")
    assert (done["status"], done["rows_quarantined"]) == ("published", 0)
    assert done["rows_in"] == done["rows_loaded"]
    once = headrace.json("rejects", "replay", str(sheet), "--wait")
    assert once["status"] == "unchanged"
    corrected = [row for row in headrace.json("history", DATASET) if row["kind"] == "correction"]
    assert corrected[0]["note"].endswith("1 rows mended, 0 of them left out")

    said = backfill(headrace, drops, "month_003")
    assert said.count("in already") == 3
    assert trained(headrace) == ["month_001", "month_002", "month_003"]


def test_a_withdrawn_slice_is_out_and_all_that_is_stored_agrees(
    headrace: Headrace, drops: Path
) -> None:
    before = headrace.query(f"SELECT count(*) FROM {DATASET}.users_history")[0][0]
    words = ("withdraw", DATASET, "month_003", "--reason", "from the wrong system")
    done = headrace.json(*words, "--wait")
    assert done["status"] == "withdrawn"
    assert done["model_version"] is not None
    assert statuses(headrace)["month_003"] == "withdrawn"
    assert headrace.query(f"SELECT count(*) FROM {DATASET}.users_history")[0][0] >= before
    last = headrace.query(
        f"SELECT u.user_id FROM {DATASET}.users AS u JOIN headrace.loads AS l USING (load_id) "
        "WHERE l.slice_key = 'month_003' AND l.kind = 'load'"
    )
    assert last == []
    told = headrace.run(*words, code=1)
    assert "is withdrawn already" in told
    assert "from the wrong system" in headrace.run("status")
    assert audit(headrace.settings, DATASET) == []


def test_a_pruning_finds_nothing_old_and_says_so(headrace: Headrace) -> None:
    found = headrace.json("prune", "--dry-run")
    assert len(found) == 12
    assert {each["items"] for each in found} == {0}
