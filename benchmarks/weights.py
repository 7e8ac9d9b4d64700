"""Fit the catalogue's model on weighted distinct rows and on the copies; docs/benchmarks.md.

python -m benchmarks.weights [--scale X] [--share PERCENT] [--runs N] [--json FILE]
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from benchmarks.memory import peak_bytes
from cli.sample import write_rakuten
from services.trainer.evaluation.measures import evaluate
from services.trainer.modelling.fit import fit
from services.trainer.modelling.frame import model_inputs, model_target
from services.trainer.modelling.weights import distinct_rows
from services.trainer.training_dataset.contents import build, describe
from shared.contracts.manifest import DatasetManifest
from shared.contracts.spec_file import find_spec
from shared.contracts.table_spec import ColumnType
from shared.contracts.training_spec import Training

DATASETS = Path(__file__).resolve().parent.parent / "datasets"
COPIES, WEIGHTS = "copies", "weights"
WAYS = (COPIES, WEIGHTS)


def make_files(folder: Path, scale: float, share: float) -> None:
    """Write the training dataset of the catalogue's first `share` per cent into `folder`."""
    source = write_rakuten(folder / "source", scale=scale, images=0)
    products, labels = _read(source / "X_train.csv"), _read(source / "Y_train.csv")
    rows = int(products.num_rows * share / 100)
    products, labels = products.slice(0, rows), labels.slice(0, rows)
    tables = {
        "products": products,
        "labels": products.select(["productid"]).append_column(
            "prdtypecode", labels["prdtypecode"]
        ),
    }

    def read(table: str, columns: Mapping[str, ColumnType]) -> pa.Table:
        return tables[table].select(list(columns))

    spec, training = find_spec(DATASETS, "rakuten"), _training()
    built = build(spec, training, date(2026, 11, 23), read)
    manifest, _ = describe(spec, training, date(2026, 11, 23), built, "s3://datasets", folder)
    (folder / "manifest.json").write_bytes(manifest.to_bytes())


def measure(folder: Path, way: str) -> dict[str, Any]:
    """Fit in this process, from the Parquet files on, and say what came of it."""
    training = _training()
    location = folder / "manifest.json"
    manifest = DatasetManifest.from_bytes(location.read_bytes(), uri=str(location))
    train, test = (pq.read_table(folder / f"{side}.parquet") for side in ("train", "test"))
    before, begun = peak_bytes(), time.perf_counter()
    rows, copies = train, None
    if way == WEIGHTS:
        rows, copies = distinct_rows(train, manifest.entity)
    model = fit(
        training.model,
        manifest.features,
        model_inputs(rows, manifest.features),
        model_target(rows[manifest.target]),
        text=training.text,
        copies=copies,
    )
    seconds, peak = time.perf_counter() - begun, peak_bytes()
    target = model_target(test[manifest.target])
    found = evaluate(model, model_inputs(test, manifest.features), target)
    return {
        "rows": rows.num_rows,
        "seconds": seconds,
        "peak_bytes": peak,
        "bytes_of_the_fit": peak - before,
        "metrics": found.metrics,
        "predicted": found.predicted.tolist(),
    }


def compare(folder: Path, runs: int) -> dict[str, Any]:
    """Both ways `runs` times, in turn, each in a process of its own."""
    done: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        for number in range(1, runs + 1):
            for way in WAYS:
                print(f"{way}, run {number} of {runs}", file=sys.stderr, flush=True)
                done[way].append(processes.submit(measure, folder, way).result())
    answers = [np.array(done[way][0]["predicted"]) for way in WAYS]
    summary: dict[str, Any] = {
        way: {
            "rows": found[0]["rows"],
            "metrics": found[0]["metrics"],
            **{
                name: median(run[name] for run in found)
                for name in ("seconds", "peak_bytes", "bytes_of_the_fit")
            },
        }
        for way, found in done.items()
    }
    summary["same_answers"] = float((answers[0] == answers[1]).mean())
    return summary


def report(summary: Mapping[str, Any], runs: int) -> str:
    """What is printed."""
    lines = [
        f"median of {runs}; fit of {_training().model.kind}, from Parquet to the fitted pipeline",
        f"{'':10}{'rows':>9}{'seconds':>9}{'peak':>9}{'of it, fit':>12}"
        f"{'weighted F1':>13}{'macro F1':>10}{'accuracy':>10}",
    ]
    for way in WAYS:
        of_way, metrics = summary[way], summary[way]["metrics"]
        lines.append(
            f"{way:10}{of_way['rows']:>9,}{of_way['seconds']:>9.1f}"
            f"{of_way['peak_bytes'] / 1e6:>6.0f} MB{of_way['bytes_of_the_fit'] / 1e6:>9.0f} MB"
            f"{metrics['weighted_f1']:>13.4f}{metrics['macro_f1']:>10.4f}"
            f"{metrics['accuracy']:>10.4f}"
        )
    time_share = summary[WEIGHTS]["seconds"] / summary[COPIES]["seconds"]
    bytes_share = summary[WEIGHTS]["bytes_of_the_fit"] / summary[COPIES]["bytes_of_the_fit"]
    lines.append(
        f"with weights: {time_share:.2f} of the time, {bytes_share:.2f} of the fit's memory; "
        f"{summary['same_answers']:.2%} of the test rows are answered alike"
    )
    return "\n".join(lines)


def _read(path: Path) -> pa.Table:
    return arrow_csv.read_csv(
        path,
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(strings_can_be_null=True, null_values=[""]),
    )


def _training() -> Training:
    training = find_spec(DATASETS, "rakuten").training
    if training is None:
        raise RuntimeError("datasets/rakuten.yaml declares no training")
    return training


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="benchmarks.weights", description=__doc__.split("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="1 is 84,916 products")
    parser.add_argument("--share", type=float, default=46.0, help="of the catalogue, in per cent")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where everything measured is written")
    options = parser.parse_args(given)
    with TemporaryDirectory(prefix="headrace-benchmark-") as directory:
        make_files(Path(directory), options.scale, options.share)
        summary = compare(Path(directory), options.runs)
    print(report(summary, options.runs))
    if options.json:
        options.json.write_text(json.dumps(summary, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
