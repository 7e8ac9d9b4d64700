"""Build training datasets in process and on a Dask cluster, in memory that is measured and limited.

python -m benchmarks.cluster [--rows N ...] [--limit MB] [--workers N] [--json FILE]
"""

import argparse
import hashlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import UTC, date, datetime
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.memory import peak_bytes
from benchmarks.servers import started
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.manifest import FilePart, SchemaField, SnapshotManifest, TableManifest
from shared.object_store import Bucket, ObjectStore
from shared.settings import Settings

IN_PROCESS, ON_CLUSTER = "in process", "on the cluster"
AS_OF = date(2026, 11, 23)
PART_ROWS, GROUP_ROWS = 1_000_000, 100_000
NUMBERS = [f"n{number}" for number in range(8)]
_START_SECONDS = 180


def spec() -> DatasetSpec:
    """Ten features of rows in two tables; one class in ten is positive, and oversampled."""
    return DatasetSpec.model_validate(
        {
            "dataset": "bench",
            "slices": {"naming": {"pattern": "{date:%Y-%m-%d}"}},
            "tables": {
                "facts": {
                    "key": ["id"],
                    "columns": {
                        "id": "string",
                        **dict.fromkeys(NUMBERS, "number"),
                        "town": "string",
                        "seen": "timestamp",
                    },
                },
                "labels": {"key": ["id"], "columns": {"id": "string", "left": "boolean"}},
            },
            "training": {
                "entity": "id",
                "target": {"table": "labels", "column": "left"},
                "features": {"facts": [*NUMBERS, "town", "seen"]},
                "balance": {"strategy": "random_oversample"},
                "model": {"name": "bench", "kind": "xgboost"},
            },
        }
    )


def freeze(store: ObjectStore, rows: int) -> SnapshotManifest:
    """A snapshot of so many rows, in parts ordered by key, as the snapshotter writes them."""
    random = np.random.default_rng(rows)
    parts: dict[str, list[FilePart]] = {"facts": [], "labels": []}
    place = store.uri(Bucket.SNAPSHOTS, f"bench/{rows}")
    for start in range(0, rows, PART_ROWS):
        size = min(PART_ROWS, rows - start)
        ids = pa.array([f"entity-{number:010d}" for number in range(start, start + size)])
        towns = np.array([f"town {number:03d}" for number in range(200)])
        tables = {
            "facts": {
                "id": ids,
                **{name: random.normal(size=size) for name in NUMBERS},
                "town": pa.array(towns[random.integers(0, 200, size)].tolist()),
                "seen": pa.array(random.integers(0, 10**15, size), pa.timestamp("us", tz="UTC")),
            },
            "labels": {"id": ids, "left": random.random(size) < 0.1},
        }
        for name, columns in tables.items():
            sink = io.BytesIO()
            pq.write_table(pa.table(columns), sink, row_group_size=GROUP_ROWS)
            uri = place.child(f"{name}/part-{start:012d}.parquet")
            data = sink.getvalue()
            store.put_bytes(uri, data, content_type="application/vnd.apache.parquet")
            sha256 = hashlib.sha256(data).hexdigest()
            parts[name].append(FilePart(uri=str(uri), rows=size, bytes=len(data), sha256=sha256))
    declared = spec().tables
    return SnapshotManifest(
        dataset="bench",
        as_of=AS_OF,
        known_at=datetime(2026, 11, 23, tzinfo=UTC),
        load_id="bench",
        snapshot_id=f"bench-{rows}",
        spec_digest=spec().digest(),
        tables={
            name: TableManifest(
                rows=rows,
                fields=tuple(
                    SchemaField(name=column, type=of.type)
                    for column, of in declared[name].columns.items()
                ),
                parts=tuple(of_table),
            )
            for name, of_table in parts.items()
        },
    )


def build(way: str, environment: Mapping[str, str], manifest: bytes, limit: int) -> dict[str, Any]:
    """Build the dataset in this process or from it, with so many bytes for it, or 0 for all."""
    os.environ.update(environment)
    from services.trainer.app import where_to_compute
    from services.trainer.training_dataset.contents import describe

    own, snapshot = spec(), SnapshotManifest.from_bytes(manifest, uri="bench")
    settings = Settings()
    address = settings.dask_scheduler_address if way == ON_CLUSTER else None
    settings = settings.model_copy(update={"dask_scheduler_address": address})
    computing, checks = where_to_compute(settings, ObjectStore(settings))
    for check in checks.values():
        check()
    before, begun = peak_bytes(), time.perf_counter()
    if limit:
        most = _data_bytes() + limit
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    with TemporaryDirectory(prefix="headrace-benchmark-") as folder:
        training = own.training
        if training is None:
            raise RuntimeError("the benchmark's spec declares no training")
        try:
            with computing.dataset(own, training, AS_OF, snapshot) as built:
                described, _ = describe(own, training, AS_OF, built, "s3://d", Path(folder))
        except MemoryError:
            return {"outcome": "out of memory", "seconds": time.perf_counter() - begun}
    return {
        "outcome": described.dataset_version[:12],
        "seconds": time.perf_counter() - begun,
        "bytes": peak_bytes() - before,
        "train_rows": described.train.rows,
        "train_bytes": described.train.bytes,
    }


def apart(*arguments: Any) -> dict[str, Any]:
    """`build` in a process of its own, which may come to its end in it."""
    begun = time.perf_counter()
    with ProcessPoolExecutor(1, get_context("spawn")) as processes:
        try:
            return processes.submit(build, *arguments).result()
        except BrokenProcessPool:
            return {"outcome": "out of memory", "seconds": time.perf_counter() - begun}


@contextmanager
def cluster(root: Path, environment: Mapping[str, str], workers: int) -> Iterator[str]:
    """A scheduler and workers of one thread each, as processes; its address."""
    processes: list[subprocess.Popen[bytes]] = []
    file = root / "scheduler.json"

    def launch(*arguments: str) -> Path:
        log = root / f"dask-{len(processes)}.log"
        with log.open("wb") as out:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *arguments, "--host", "127.0.0.1"],
                    env={**os.environ, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                )
            )
        return log

    try:
        launch("scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        _wait_for(file, '"address"')
        address = str(json.loads(file.read_text())["address"])
        for _ in range(workers):
            log = launch(
                "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard",
                "--preload", "services.trainer.cluster.boosting", "--local-directory", str(root),
            )  # fmt: skip
            _wait_for(log, "Registered to")
        yield address
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def report(found: Sequence[Mapping[str, Any]], limit: int, workers: int) -> str:
    """What is printed."""
    lines = [
        f"{'rows':>11}  {'way':16}{'seconds':>9}{'trainer':>10}  dataset",
    ]
    for run in found:
        taken = f"{run['bytes'] / 1e6:,.0f} MB" if "bytes" in run else ""
        limited = f", at most {limit} MB" if run["limit"] else ""
        lines.append(
            f"{run['rows']:>11,}  {run['way']:16}{run['seconds']:>9.1f}{taken:>10}  "
            f"{run['outcome']}{limited}"
        )
    lines.append(f"{workers} workers of one thread; trainer: what building took beyond the imports")
    return "\n".join(lines)


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="benchmarks.cluster", description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[7_000, 300_000, 3_000_000])
    parser.add_argument(
        "--limit", type=int, default=500, help="MB for building the largest again, in both ways"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where everything measured is written")
    options = parser.parse_args(given)
    found = []
    with TemporaryDirectory(prefix="headrace-benchmark-") as directory:
        root = Path(directory)
        with started(root, None) as servers:
            settings = Settings.model_validate({k.lower(): v for k, v in servers.items()})
            store = ObjectStore(settings)
            store.create_buckets()
            with cluster(root, servers, options.workers) as address:
                environment = {**servers, "DASK_SCHEDULER_ADDRESS": address}
                cases = [(rows, 0) for rows in options.rows]
                for rows, limit in [*cases, (max(options.rows), options.limit)]:
                    manifest = freeze(store, rows).to_bytes()
                    for way in (IN_PROCESS, ON_CLUSTER):
                        print(f"{rows:,} rows {way}", file=sys.stderr, flush=True)
                        run = apart(way, environment, manifest, limit << 20)
                        found.append({"rows": rows, "way": way, "limit": limit, **run})
    print(report(found, options.limit, options.workers))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def _wait_for(file: Path, said: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not (file.exists() and said in file.read_text()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{file.name} doesn't say {said}: {file.parent}")
        time.sleep(0.1)


def _data_bytes() -> int:
    """The private memory that counts against the limit."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmData")


if __name__ == "__main__":
    sys.exit(main())
