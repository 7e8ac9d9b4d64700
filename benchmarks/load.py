"""Time loads of generated drops beside raw COPY, pandas and dlt; `docs/benchmarks.md` explains it.

python -m benchmarks.load [--rows N ...] [--runs N] [--peers NAME ...] [--json FILE]
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.contenders import run_once
from benchmarks.dataset import FILE
from benchmarks.drops import write_drop
from benchmarks.measure import HEADRACE, LIMIT, LOADS, WHOLE, Comparison
from benchmarks.servers import Environment, server_version, started

RESULTS = Path(__file__).resolve().parent / "results"
PEERS = ("dlt", "pandas")
ROWS = (1_000_000, 10_000_000)
PANDAS_ROWS = 2_000_000
"""Above so many rows pandas takes many minutes and gigabytes, and runs only when it is named."""


def compare(
    rows: int, runs: int, peers: Sequence[str], root: Path, environment: Environment
) -> Comparison:
    """Make a drop of `rows` rows and load it with every contender, `runs` times."""
    drop = root / f"drop-{rows}"
    drop.mkdir()
    write_drop(drop / FILE, rows)
    done = []
    for number in range(1, runs + 1):
        print(f"{rows:,} rows, run {number} of {runs}", file=sys.stderr, flush=True)
        done.append(run_once(drop, peers, root, environment))
    (drop / FILE).unlink()
    return Comparison(rows, done)


def report(comparison: Comparison) -> str:
    """What is printed of one size."""
    averages = ", ".join(f"{run.load_average:.1f}" for run in comparison.runs)
    parts = [
        f"{comparison.rows:,} rows of six columns; median of {len(comparison.runs)}; "
        f"load average at the start {averages}",
        "",
        comparison.table([LIMIT, HEADRACE, WHOLE, *PEERS]),
        "",
    ]
    imports = comparison.import_bytes(HEADRACE)
    for process, peak in comparison.peak_bytes(HEADRACE).items():
        before = f"{imports[process] / 1e6:.0f} MB of them after the imports"
        parts.append(f"{process}: at most {peak / 1e6:.0f} MB, {before}")
    parts += ["", *map(str, comparison.targets()), "", _steps(comparison)]
    return "\n".join(parts)


def summary(comparison: Comparison) -> dict[str, Any]:
    """The same as JSON, with every single measurement."""
    contenders = [LIMIT, HEADRACE, WHOLE, *PEERS]
    return {
        "rows": comparison.rows,
        "medians": {
            contender: {
                load: {
                    "seconds": comparison.seconds(contender, load),
                    "rows_per_second": comparison.rows_per_second(contender, load),
                    "times_raw_copy": comparison.over_limit(contender, load),
                }
                for load in LOADS
            }
            for contender in contenders
        },
        "peak_bytes": {name: comparison.peak_bytes(name) for name in contenders},
        "targets": [{**asdict(t), "is_met": t.is_met} for t in comparison.targets()],
        "runs": [asdict(run) for run in comparison.runs],
    }


def _steps(comparison: Comparison) -> str:
    """Where Headrace's time went in the last run; steps under 2 % of a load are left out."""
    lines = ["seconds by step in the last run, those within another one included in it:"]
    result = next(r for r in comparison.runs[-1].results if r.contender == HEADRACE)
    for load in LOADS:
        lines.append(f"  {load} load")
        steps = {**result.details[load]["steps"], **result.details[load]["apart"]}
        lines += [
            f"    {seconds:7.2f}  {step}"
            for step, seconds in steps.items()
            if seconds > 0.02 * result.seconds[load]
        ]
    return "\n".join(lines)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.load", description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="rows of a drop")
    parser.add_argument("--runs", type=int, help="default: 3 up to 2,000,000 rows, 1 above")
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=PEERS,
        help=f"default: all, but pandas only up to {PANDAS_ROWS:,} rows",
    )
    parser.add_argument("--json", type=Path, help="default: a new file in benchmarks/results/")
    return parser.parse_args(given)


def peers_at(rows: int, asked: Sequence[str] | None) -> list[str]:
    """The peers to run at this size."""
    if asked is not None:
        return list(asked)
    return [peer for peer in PEERS if peer != "pandas" or rows <= PANDAS_ROWS]


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its tables and write its JSON. 0 also where a target is missed."""
    options = arguments(given)
    begun = datetime.now(UTC)
    facts: dict[str, Any] = {
        "begun": begun.isoformat(),
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "sizes": [],
    }
    with TemporaryDirectory(prefix="headrace-benchmark-") as directory:
        root = Path(directory)
        root.chmod(0o711)  # where Postgres has to run as another user
        with started(root, os.environ.get("DATABASE_URL")) as environment:
            facts["postgres"] = server_version(environment)
            for rows in options.rows:
                runs = options.runs or (3 if rows <= PANDAS_ROWS else 1)
                comparison = compare(rows, runs, peers_at(rows, options.peers), root, environment)
                print(report(comparison), end="\n\n", flush=True)
                facts["sizes"].append(summary(comparison))
    file = options.json or RESULTS / f"load-{begun:%Y%m%dT%H%M%SZ}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"written to {file}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
