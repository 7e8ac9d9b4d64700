"""Merge and export of a slice as the history behind it grows, and of one that comes late.

python -m benchmarks.history [--rows N] [--slices N] [--changed SHARE] [--json FILE]
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
from sqlalchemy import text

from benchmarks.dataset import DATASET, FILE, TABLE
from benchmarks.drops import write_drop
from benchmarks.headrace_snapshotter import EXPORT
from benchmarks.servers import Environment, checkpoint, fresh_database, started
from benchmarks.worker import Worker
from shared.database.engine import make_engine
from shared.settings import Settings

RESULTS = Path(__file__).resolve().parent / "results"
FIRST_DAY = date(2024, 1, 1)
MERGE = "merge with history"


def change(rows: pa.Table, share: float, number: int) -> pa.Table:
    """`rows` with another `months_active` in a share of them."""
    column = rows.schema.get_field_index("months_active")
    is_changed = np.random.default_rng([7, number]).random(len(rows)) < share
    months = rows["months_active"].to_numpy() + is_changed
    return rows.set_column(column, "months_active", pa.array(months))


def measure(
    rows: int, slices: int, share: float, root: Path, environment: Environment
) -> list[dict[str, Any]]:
    """The seconds of each slice in order, and of one that comes late, in the middle."""
    drop = root / "drop"
    drop.mkdir()
    write_drop(drop / FILE, rows)
    now = arrow_csv.read_csv(drop / FILE)
    days = [FIRST_DAY + timedelta(days=2 * number) for number in range(slices)]
    late = days[slices // 2] + timedelta(days=1)
    found, history = [], 0
    with (
        fresh_database(environment, root) as own,
        Worker("ingestor", own, root / "ingestor.log") as ingestor,
        Worker("snapshotter", own, root / "snapshotter.log") as snapshotter,
    ):
        for number, day in enumerate([*days, late]):
            now = change(now, share, number) if number else now
            arrow_csv.write_csv(now, drop / FILE)
            loaded = ingestor.do(slice_key=day.isoformat(), source=str(drop))["loaded"]
            checkpoint(own)
            done = snapshotter.do(loaded=loaded)
            found.append(
                {
                    "slice": day.isoformat(),
                    "is_late": day == late,
                    "history_rows_before": history,
                    "changes": done["changes"],
                    "merge_seconds": done["steps"][MERGE],
                    "export_seconds": done["apart"][EXPORT],
                    "peak_bytes": done["peak_bytes"],
                }
            )
            history += sum(done["changes"][what] for what in ("inserted", "updated", "deleted"))
            print(f"  {day}: {done['seconds']:.1f} s", file=sys.stderr, flush=True)
        found[-1]["history_bytes_a_row"] = _history_bytes(own) / history
    return found


def _history_bytes(environment: Environment) -> int:
    """Of the table's history, indexes included."""
    named = {name.lower(): value for name, value in environment.items()}
    engine = make_engine(Settings.model_validate(named), application="benchmark")
    query = text("SELECT pg_total_relation_size(CAST(:history AS regclass))")
    with engine.connect() as connection:
        size = connection.execute(query, {"history": f"{DATASET}.{TABLE}_history"}).scalar_one()
    engine.dispose()
    return int(size)


def table(found: Sequence[dict[str, Any]]) -> str:
    """The slices, for people."""
    lines = [f"{'slice':<18}{'rows of history':>16}{'changed':>10}{'merge':>9}{'export':>9}"]
    for each in found:
        name = each["slice"] + (" (late)" if each["is_late"] else "")
        changed = each["changes"]["inserted"] + each["changes"]["updated"]
        lines.append(
            f"{name:<18}{each['history_rows_before']:>16,}{changed:>10,}"
            f"{each['merge_seconds']:>7.2f} s{each['export_seconds']:>7.2f} s"
        )
    return "\n".join([*lines, f"{found[-1]['history_bytes_a_row']:.0f} bytes a row of history"])


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table and write its JSON."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.history", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--changed", type=float, default=0.9, help="share of the rows, each slice")
    parser.add_argument("--json", type=Path, help="default: a new file in benchmarks/results/")
    asked = parser.parse_args(given)
    begun = datetime.now(UTC)
    with TemporaryDirectory(prefix="headrace-benchmark-") as directory:
        root = Path(directory)
        root.chmod(0o711)  # where Postgres has to run as another user
        with started(root, os.environ.get("DATABASE_URL")) as environment:
            found = measure(asked.rows, asked.slices, asked.changed, root, environment)
    print(table(found))
    facts = {
        "begun": begun.isoformat(),
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "rows": asked.rows,
        "slices": found,
    }
    file = asked.json or RESULTS / f"history-{begun:%Y%m%dT%H%M%SZ}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"written to {file}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
