"""What the pages of the browser tests show: a real run of two datasets in which much goes wrong.

Months 0 to 5 of `streamflow`: month_001 has rows that can't be typed, and comes again as a second
revision; month_002 is refused by the validator, and waits to be mended; month_005 lacks a file. A
load of a folder that isn't there is a dead letter. `rakuten` has two small shares. `bakery` has a
spec and no load.
"""

import shutil
from pathlib import Path

from cli.sample import write_rakuten, write_streamflow
from tests.conftest import REPOSITORY
from tests.csv_rows import Row, change

MONTHS, USERS, SEED = 6, 700, 11
REJECTED = "month_002"
QUARANTINED = "month_001"
INCOMPLETE = "month_005"
RAKUTEN_SCALE = 0.006


def write_specs(folder: Path) -> None:
    """The specs of the story, with some room for rows that can't be typed."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = (REPOSITORY / "datasets" / "streamflow.yaml").read_text()
    head = "  usage_agg_30d:\n    key: [user_id]\n"
    assert head in spec
    spec = spec.replace(head, f"{head}    quarantine_budget: 2%\n")
    (folder / "streamflow.yaml").write_text(spec)
    shutil.copy(REPOSITORY / "datasets" / "rakuten.yaml", folder)
    shutil.copy(REPOSITORY / "tests" / "datasets" / "bakery.yaml", folder)


def write_drops(folder: Path) -> Path:
    """The months, spoiled; month_001 as it came first, and whole as `again/month_001`."""
    write_streamflow(folder, months=MONTHS, users=USERS, seed=SEED)
    write_rakuten(folder / "rakuten", scale=RAKUTEN_SCALE, images=20, seed=SEED)
    second = folder / "again" / QUARANTINED
    shutil.copytree(folder / QUARANTINED, second)

    def raise_fees(rows: list[Row]) -> None:
        for row in rows[:90]:
            row["monthly_fee"] = f"{float(row['monthly_fee']) + 4:.2f}"

    def spoil_usage(rows: list[Row]) -> None:
        for number, row in enumerate(rows[20:29]):
            row["watch_hours_30d"] = ("n/a", "12,5", "??")[number % 3]
        rows[40]["user_id"] = ""

    def spoil_contracts(rows: list[Row]) -> None:
        for row in rows[:14]:
            row["contract_type"] = "Monthly"

    def spoil_hours(rows: list[Row]) -> None:
        for row in rows[100:106]:
            row["watch_hours_30d"] = "900"

    change(second / "subscriptions.csv", raise_fees)
    change(second / "usage_agg_30d.csv", lambda rows: rows.__delitem__(slice(700, 703)))
    change(folder / QUARANTINED / "usage_agg_30d.csv", spoil_usage)
    change(folder / REJECTED / "subscriptions.csv", spoil_contracts)
    change(folder / REJECTED / "usage_agg_30d.csv", spoil_hours)
    (folder / INCOMPLETE / "labels.csv").unlink()
    return folder


def loads(folder: Path) -> list[tuple[str, ...]]:
    """The arguments of `headrace load`, in order."""
    months = [f"month_{number:03d}" for number in range(MONTHS)]
    streamflow = [("streamflow", "--from", str(folder), "--slice", month) for month in months]
    streamflow.insert(3, ("streamflow", "--from", str(folder / "again"), "--slice", QUARANTINED))
    streamflow.append(("streamflow", "--from", str(folder / "nowhere"), "--slice", "month_006"))
    rakuten = [("rakuten", "--from", str(folder / "rakuten")) for _ in range(2)]
    return [*rakuten, *streamflow]
