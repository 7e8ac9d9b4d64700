"""Throughput of each stage by replicas, with several datasets; `docs/scaling.md` explains it.

python -m benchmarks.replicas [--replicas N ...] [--datasets N] [--users N] [--slices N]
                              [--partitions N ...] [--threads N] [--json FILE]
"""

import argparse
import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from kafka.partitioner.default import murmur2
from sqlalchemy import Engine

from benchmarks.cpu import Cores
from benchmarks.stages import SERVICES, STAGES, StageRun, run_slice
from cli.migrate import migrate
from cli.sample import write_streamflow
from infra.embedded.stack import Stack
from shared.database.engine import make_engine

REPOSITORY = Path(__file__).resolve().parent.parent
NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
RESULTS = Path(__file__).resolve().parent / "results"
PARTITIONS = (6, 12, 24, 48)
FULL = 0.9
"""Of the cores, from which on they are what bounds a stage."""
ONE_CORE = 0.85
"""From which on a process that Python lets run on one core is held to have it to itself."""
UNEQUAL = 1.4
"""Times its fair share, from which on the replica that had most is what the others waited for."""
Runs = dict[tuple[str, int], StageRun]
"""By stage and replicas."""


def names(count: int) -> list[str]:
    """The datasets' names."""
    return [NAMES[n % len(NAMES)] + (str(n) if n >= len(NAMES) else "") for n in range(count)]


def partition_of(dataset: str, partitions: int) -> int:
    """Where Kafka's default partitioner puts the records of a dataset."""
    return int(murmur2(dataset.encode()) & 0x7FFFFFFF) % partitions


def placement(datasets: Sequence[str], partitions: int) -> dict[int, list[str]]:
    """The datasets of each partition that has any."""
    found: dict[int, list[str]] = {}
    for dataset in datasets:
        found.setdefault(partition_of(dataset, partitions), []).append(dataset)
    return dict(sorted(found.items()))


def write_specs(folder: Path, datasets: Sequence[str]) -> None:
    """A copy of the streamflow spec for each dataset."""
    folder.mkdir()
    said = (REPOSITORY / "datasets" / "streamflow.yaml").read_text()
    for name in datasets:
        own = said.replace("dataset: streamflow\n", f"dataset: {name}\n")
        own = own.replace("name: streamflow_churn", f"name: {name}_churn")
        (folder / f"{name}.yaml").write_text(own)


def rows_of(drop: Path) -> int:
    """The rows of a slice, of all its tables."""
    return sum(len(file.read_bytes().splitlines()) - 1 for file in drop.glob("*.csv"))


def measure(
    stack: Stack, engine: Engine, drops: Sequence[Path], datasets: Sequence[str]
) -> list[StageRun]:
    """Every stage on every drop, the first of them only to warm up."""
    found: list[StageRun] = []
    for number, drop in enumerate(drops):
        runs = run_slice(stack, engine, datasets, drop.name, drop.parent, rows_of(drop))
        found += runs if number else []
        print(f"  {drop.name}: {_seconds(runs)}", file=sys.stderr, flush=True)
    return found


def mean_of(runs: Sequence[StageRun]) -> StageRun:
    """Several runs of one stage as one: sums of the work and seconds, means of the cores."""
    cores = [run.cores for run in runs]
    return StageRun(
        stage=runs[0].stage,
        service=runs[0].service,
        replicas=runs[0].replicas,
        seconds=sum(run.seconds for run in runs),
        slices=sum(run.slices for run in runs),
        rows=sum(run.rows for run in runs),
        shares=[sum(each) for each in zip(*(run.shares for run in runs), strict=True)],
        cores=Cores(
            service=fmean(each.service for each in cores),
            postgres=fmean(each.postgres for each in cores),
            others=fmean(each.others for each in cores),
            elsewhere=fmean(each.elsewhere for each in cores),
            all_there_are=cores[0].all_there_are,
        ),
        connections=max(run.connections for run in runs),
    )


def bound(run: StageRun) -> str:
    """What keeps the stage from going faster, as far as the figures tell."""
    if run.cores.busy >= FULL * run.cores.all_there_are:
        return f"the {run.cores.all_there_are} cores"
    if run.cores.service / run.replicas >= ONE_CORE:
        return "a core for each replica"
    if max(run.shares) * run.replicas > UNEQUAL * sum(run.shares):
        return f"shares: one replica had {max(run.shares)} of {sum(run.shares)}"
    return "waiting: commits, the store, MLflow"


def table(runs: Runs) -> str:
    """The stages by replicas, for people."""
    head = (
        f"{'stage':<10}{'replicas':>9}{'slices/min':>12}{'rows/s':>10}{'x one':>7}"
        f"{'service':>9}{'postgres':>10}{'others':>8}{'elsewhere':>11}"
        f"{'conns':>7}  {'shares':<10}bound by"
    )
    lines = [head]
    for (stage, replicas), run in runs.items():
        one = next(run for (name, _), run in runs.items() if name == stage)
        ratio = run.slices_per_minute / one.slices_per_minute
        cores = run.cores
        lines.append(
            f"{stage:<10}{replicas:>9}{run.slices_per_minute:>12.1f}{run.rows_per_second:>10,.0f}"
            f"{ratio:>7.2f}{cores.service:>9.2f}{cores.postgres:>10.2f}{cores.others:>8.2f}"
            f"{cores.elsewhere:>11.2f}{run.connections:>7}  "
            f"{'+'.join(map(str, run.shares)):<10}{bound(run)}"
        )
    return "\n".join(
        [
            *lines,
            "",
            "service to elsewhere: cores busy on average; conns: the service's, to Postgres",
        ]
    )


def placements(datasets: Sequence[str], at_work: int) -> str:
    """Which datasets wait for one another, and what more partitions would do."""
    lines = [f"{len(datasets)} datasets on {at_work} partitions:"]
    for partition, there in placement(datasets, at_work).items():
        lines.append(f"  {partition}: {', '.join(there)}")
    for partitions in sorted({at_work, *PARTITIONS}):
        longest = max(Counter(partition_of(each, partitions) for each in datasets).values())
        used = len(placement(datasets, partitions))
        lines.append(f"  with {partitions:>2}: {used} in use, at most {longest} behind one another")
    return "\n".join(lines)


def _seconds(runs: Sequence[StageRun]) -> str:
    return ", ".join(f"{run.stage} {run.seconds:.1f} s" for run in runs)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.replicas", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--replicas", type=int, nargs="+", default=(1, 2, 3))
    parser.add_argument("--datasets", type=int, default=8)
    parser.add_argument("--users", type=int, default=10_000, help="rows of each of six tables")
    parser.add_argument("--slices", type=int, default=1, help="measured, after one to warm up")
    parser.add_argument(
        "--partitions", type=int, nargs="+", default=(6, 24), help="TOPIC_PARTITIONS"
    )
    parser.add_argument("--threads", type=int, default=2, help="HANDLER_THREADS of each replica")
    parser.add_argument("--json", type=Path, help="default: a new file in benchmarks/results/")
    return parser.parse_args(given)


def run_with(partitions: int, drops: Sequence[Path], root: Path, asked: argparse.Namespace) -> Runs:
    """Every stage by replicas on a stack of its own, whose topics have so many partitions."""
    settings = {
        "DATASETS_DIR": str(root / "specs"),
        "TOPIC_PARTITIONS": str(partitions),
        "HANDLER_THREADS": str(asked.threads),
        "RELAY_INTERVAL_SECONDS": "0.2",
    }
    stack = Stack(root / f"stack-{partitions}", given=settings, inherited=dict(os.environ))
    waiting = list(drops)
    found: Runs = {}
    try:
        for replicas in asked.replicas:
            print(f"{partitions} partitions, {replicas} replicas", file=sys.stderr, flush=True)
            scale = dict.fromkeys(SERVICES, replicas)
            stack.start(migrate=migrate, scale=scale | {"notifier": 0})
            engine = make_engine(stack.settings(), application="benchmark")
            part = [waiting.pop(0) for _ in range(asked.slices + 1)]
            runs = measure(stack, engine, part, names(asked.datasets))
            engine.dispose()
            for stage in STAGES:
                found[stage, replicas] = mean_of([run for run in runs if run.stage == stage])
    finally:
        stack.stop()
    return dict(sorted(found.items(), key=lambda item: list(STAGES).index(item[0][0])))


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its tables and write its JSON."""
    asked = arguments(given)
    begun = datetime.now(UTC)
    datasets = names(asked.datasets)
    facts: dict[str, Any] = {
        "begun": begun.isoformat(),
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "options": {name: value for name, value in vars(asked).items() if name != "json"},
        "runs": [],
    }
    with TemporaryDirectory(prefix="headrace-benchmark-") as directory:
        root = Path(directory)
        root.chmod(0o711)  # where Postgres has to run as another user
        write_specs(root / "specs", datasets)
        months = len(asked.replicas) * (asked.slices + 1)
        drops = write_streamflow(root / "drops", months=months, users=asked.users, seed=7)
        for partitions in asked.partitions:
            runs = run_with(partitions, drops, root, asked)
            print(placements(datasets, partitions), table(runs), sep="\n\n", end="\n\n", flush=True)
            facts["runs"].append(
                {
                    "partitions": partitions,
                    "placement": placement(datasets, partitions),
                    "stages": [run.as_json() | {"bound": bound(run)} for run in runs.values()],
                }
            )
    file = asked.json or RESULTS / f"replicas-{begun:%Y%m%dT%H%M%SZ}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"written to {file}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
