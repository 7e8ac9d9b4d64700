"""What a folder of many specs costs: their tables, a glance at all of them, the scheduler's look.

python -m benchmarks.many_datasets [--datasets N ...] [--json FILE]
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from sqlalchemy import Engine, text

from benchmarks.memory import peak_bytes
from benchmarks.servers import Environment, fresh_database, started
from services.ingestor.schedule.schedules import Schedules
from shared.clock import utc_now
from shared.contracts.spec_file import find_spec, spec_names
from shared.database.dataset_tables import ensure_dataset
from shared.database.engine import make_engine
from shared.database.overview import read_overview
from shared.schedule.deciding import next_run
from shared.settings import Settings

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
DATASETS = (10, 100, 1_000)
TIMES = 5


def write_specs(folder: Path, datasets: int) -> None:
    """So many copies of the streamflow spec, each with a schedule."""
    folder.mkdir()
    said = (REPOSITORY / "datasets" / "streamflow.yaml").read_text()
    for number in range(datasets):
        name = f"streamflow_{number:05d}"
        own = said.replace("dataset: streamflow\n", f"dataset: {name}\n")
        own = own.replace("name: streamflow_churn", f"name: {name}_churn")
        own = own.replace("slices:\n", "slices:\n  source: /nowhere\n", 1)
        own += 'schedule: {cron: "0 4 1 * *"}\n'
        (folder / f"{name}.yaml").write_text(own)


def measure(datasets: int, root: Path, environment: Environment) -> dict[str, Any]:
    """Seconds and sizes with so many datasets."""
    print(f"{datasets:,} datasets", file=sys.stderr, flush=True)
    with fresh_database(environment, root) as own:
        folder = root / f"specs-{uuid4().hex[:8]}"
        write_specs(folder, datasets)
        named = {name.lower(): value for name, value in own.items()}
        settings = Settings.model_validate(named | {"datasets_dir": folder})
        engine = make_engine(settings, application="benchmark")
        found = {"datasets": datasets, **_measure(engine, settings)}
        engine.dispose()
    return found


def _measure(engine: Engine, settings: Settings) -> dict[str, Any]:
    before = peak_bytes()

    def look() -> object:
        now = utc_now()
        with engine.connect() as connection:
            return read_overview(
                connection, settings.datasets_dir, lambda spec, row: next_run(spec, row, now)
            )

    def make_tables() -> None:  # as `headrace migrate` does
        for name in spec_names(settings.datasets_dir):
            with engine.begin() as connection:
                ensure_dataset(connection, find_spec(settings.datasets_dir, name))

    def read_one() -> None:
        find_spec(settings.datasets_dir, "streamflow_00000")

    schedules = Schedules(engine, settings, utc_now)
    timed: dict[str, Callable[[], float]] = {
        "migrate: tables of all specs": lambda: _seconds(make_tables),
        "migrate again: nothing to do": lambda: _seconds(make_tables),
        "scheduler: first look": lambda: _seconds(schedules.run_due),
        "scheduler: each further look": lambda: median(_several(schedules.run_due)),
        "headrace status": lambda: _seconds(look),
        "an event's spec": lambda: median(_several(read_one)),
    }
    seconds = {}
    for name, clock in timed.items():
        seconds[name] = clock()
        print(f"  {name}: {seconds[name]:.3f} s", file=sys.stderr, flush=True)
    with engine.connect() as connection:
        relations, catalogue, database = connection.execute(
            text("""
                SELECT (SELECT count(*) FROM pg_class WHERE oid >= 16384),
                       (SELECT sum(pg_total_relation_size(oid)) FROM pg_class
                        WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r'),
                       pg_database_size(current_database())
            """)
        ).one()
    return {
        "seconds": seconds,
        "relations": int(relations),
        "catalogue_bytes": int(catalogue),
        "database_bytes": int(database),
        "memory_bytes": peak_bytes() - before,
    }


def _seconds(do: Callable[[], object]) -> float:
    begun = time.perf_counter()
    do()
    return time.perf_counter() - begun


def _several(do: Callable[[], object]) -> list[float]:
    return [_seconds(do) for _ in range(TIMES)]


def table(sizes: Sequence[dict[str, Any]]) -> str:
    """The figures by number of datasets, for people."""
    lines = [f"{'seconds with datasets':<34}" + "".join(f"{s['datasets']:>12,}" for s in sizes)]
    for name in sizes[0]["seconds"]:
        figures = "".join(f"{size['seconds'][name]:>12.3f}" for size in sizes)
        lines.append(f"{name:<34}{figures}")
    for key, label, unit in (
        ("relations", "tables, indexes and views", 1),
        ("catalogue_bytes", "MB of Postgres' catalogue", 1e6),
        ("database_bytes", "MB of the empty database", 1e6),
        ("memory_bytes", "MB more in this process", 1e6),
    ):
        figures = "".join(f"{size[key] / unit:>12,.0f}" for size in sizes)
        lines.append(f"{label:<34}{figures}")
    return "\n".join(lines)


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table and write its JSON."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.many_datasets", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--datasets", type=int, nargs="+", default=DATASETS)
    parser.add_argument("--json", type=Path, help="default: a new file in benchmarks/results/")
    asked = parser.parse_args(given)
    begun = datetime.now(UTC)
    with TemporaryDirectory(prefix="headrace-benchmark-") as directory:
        root = Path(directory)
        root.chmod(0o711)  # where Postgres has to run as another user
        with started(root, os.environ.get("DATABASE_URL")) as environment:
            sizes = [measure(datasets, root, environment) for datasets in asked.datasets]
    print(table(sizes))
    facts = {
        "begun": begun.isoformat(),
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "sizes": sizes,
    }
    file = asked.json or RESULTS / f"many-datasets-{begun:%Y%m%dT%H%M%SZ}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"written to {file}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
