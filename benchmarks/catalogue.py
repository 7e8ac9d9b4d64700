"""Memory and time of a weekly step of a large catalogue; `docs/benchmarks.md` explains it.

python -m benchmarks.catalogue [--times N ...] [--rows N] [--json FILE]
"""

import argparse
import csv
import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from sqlalchemy import insert

from benchmarks.measure import MEMORY_TARGET_BYTES, Target
from benchmarks.servers import Environment, fresh_database, started
from benchmarks.worker import Worker
from cli.sample.rakuten import write_rakuten
from shared.clock import utc_now
from shared.database.engine import make_engine
from shared.database.tables import loads, slices
from shared.settings import Settings

REPOSITORY = Path(__file__).resolve().parent.parent
DATASET = "rakuten"
ROWS = 84_916
TIMES = (1, 100)
SAMPLE_SCALE = 0.01
TEXT_CHARACTERS = 150
"""Of each text, so that a hundred catalogues lie on a disk in 2 GB."""
STEPS = {"43%": "step 40 -> 43 %, file new", "46%": "step 43 -> 46 %, file known"}


def write_catalogue(folder: Path, rows: int) -> Path:
    """Write X_train.csv and Y_train.csv of `rows` products, whose texts are repeated."""
    with TemporaryDirectory() as directory:
        sample = write_rakuten(Path(directory) / "sample", scale=SAMPLE_SCALE, images=0)
        texts, classes = _texts(sample / "X_train.csv"), _classes(sample / "Y_train.csv")
    folder.mkdir()
    with (folder / "X_train.csv").open("wb") as x, (folder / "Y_train.csv").open("wb") as y:
        x.write(b",designation,description,productid,imageid\n")
        y.write(b",prdtypecode\n")
        for row in range(rows):
            place = row % len(texts)
            x.write(b"%d,%b,%d,%d\n" % (row, texts[place], 5 * rows - row, 7 * rows + row))
            y.write(b"%d,%b\n" % (row, classes[place]))
    return folder


def measure(times: int, rows: int, root: Path, environment: Environment) -> dict[str, Any]:
    """The steps of a catalogue `times` as large as `rows`, of which 40 % are published."""
    print(f"{times} x {rows:,} rows", file=sys.stderr, flush=True)
    rows *= times
    folder = write_catalogue(root / f"catalogue-{times}", rows)
    found: dict[str, Any] = {"times": times, "rows": rows, "steps": {}}
    found["source_bytes"] = sum(file.stat().st_size for file in folder.iterdir())
    with fresh_database(environment, root) as own:
        shutil.copy(REPOSITORY / "datasets" / f"{DATASET}.yaml", own["DATASETS_DIR"])
        _publish_first(own, folder, rows)
        with Worker("ingestor", own, root / "catalogue.log") as worker:
            found["import_bytes"] = worker.import_bytes
            for slice_key in STEPS:
                task = {"dataset": DATASET, "slice_key": slice_key, "source": str(folder)}
                done = worker.do(**task)
                found["peak_bytes"] = done["peak_bytes"]
                found["steps"][slice_key] = {
                    "seconds": done["seconds"] + sum(done["apart"].values()),
                    "rows": done["loaded"]["tables"][0]["rows_in"],
                    "peak_bytes": done["peak_bytes"],
                }
    shutil.rmtree(folder)
    return found


def report(found: Mapping[str, Any]) -> str:
    """What is printed of one size."""
    peak, imports = found["peak_bytes"] / 1e6, found["import_bytes"] / 1e6
    lines = [f"{found['rows']:,} rows, {found['source_bytes'] / 1e6:,.0f} MB"]
    for slice_key, step in found["steps"].items():
        lines.append(f"  {STEPS[slice_key]}: {step['rows']:,} rows in {step['seconds']:.1f} s")
    lines.append(f"  peak memory {peak:.0f} MB, {imports:.0f} MB of them after the imports")
    return "\n".join([*lines, f"  {target_of(found)}"])


def target_of(found: Mapping[str, Any]) -> Target:
    """The promise about the ingestor's memory."""
    limit = MEMORY_TARGET_BYTES / 1e6
    return Target("peak memory of the ingestor under 300 MB", limit, found["peak_bytes"] / 1e6)


def _publish_first(environment: Environment, folder: Path, rows: int) -> None:
    """Record 40 % as published: to load them is not what is measured."""
    named = {name.lower(): value for name, value in environment.items()}
    engine = make_engine(Settings.model_validate(named), application="benchmark")
    first = {
        "dataset": DATASET,
        "slice_key": "40%",
        "as_of": utc_now().date(),
        "revision": 1,
        "load_id": str(uuid4()),
        "content_sha256": "0" * 64,
    }
    place = {"percentage": 40.0, "first_row": 0, "end_row": rows * 2 // 5, "source_rows": rows}
    request = {
        "status": "published",
        "source_uri": str(folder),
        "requested_by": "benchmark",
        "requested_at": utc_now(),
    }
    with engine.begin() as connection:
        connection.execute(insert(loads).values(**first, **place, **request))
        connection.execute(insert(slices).values(**first, published_at=utc_now()))
    engine.dispose()


def _texts(path: Path) -> list[bytes]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row[1:3] for row in csv.reader(file)][1:]
    quoted = ([text[:TEXT_CHARACTERS].replace('"', '""') for text in row] for row in rows)
    return [f'"{designation}","{description}"'.encode() for designation, description in quoted]


def _classes(path: Path) -> list[bytes]:
    return [line.split(b",")[1] for line in path.read_bytes().splitlines()[1:]]


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its results and write its JSON. 0 also where a target is missed."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.catalogue", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--times", type=int, nargs="+", default=TIMES, help="sizes, in catalogues")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of one catalogue")
    parser.add_argument("--json", type=Path, help="default: a new file in benchmarks/results/")
    options = parser.parse_args(given)
    begun = datetime.now(UTC)
    sizes = []
    with TemporaryDirectory(prefix="headrace-benchmark-") as directory:
        root = Path(directory)
        root.chmod(0o711)  # where Postgres has to run as another user
        with started(root, os.environ.get("DATABASE_URL")) as environment:
            for times in options.times:
                sizes.append(measure(times, options.rows, root, environment))
                print(report(sizes[-1]), flush=True)
    facts = {
        "begun": begun.isoformat(),
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "sizes": sizes,
    }
    results = Path(__file__).resolve().parent / "results"
    file = options.json or results / f"catalogue-{begun:%Y%m%dT%H%M%SZ}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"written to {file}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
