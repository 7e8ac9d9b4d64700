"""`headrace dataset build`: a training dataset on demand, without a training."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import print_table
from cli.session import ROOT, AsJson, Root, session
from shared.contracts.spec_file import find_spec

if TYPE_CHECKING:
    from services.trainer.training_dataset.building import MadeDataset

app = typer.Typer()
dataset = typer.Typer(no_args_is_help=True, help="Training datasets, made on demand.")
app.add_typer(dataset, name="dataset")


@dataset.callback()
def group() -> None:
    """Keep `build` a word of its own while it is the only one."""


@dataset.command()
def build(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="The dataset's name.")],
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            formats=["%Y-%m-%d"],
            help="The newest snapshot at or before this date; the newest of all by default.",
        ),
    ] = None,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """Make the training dataset of a snapshot and log it, as its event would, without training."""
    from services.trainer.registry import Tracking
    from services.trainer.training_dataset.building import (
        make_on_demand,  # with MLflow, which takes seconds
    )
    from shared.object_store import ObjectStore

    with session(root) as current:
        settings = current.settings
        made = make_on_demand(
            current.engine,
            ObjectStore(settings),
            Tracking(settings.mlflow_tracking_uri),
            find_spec(settings.datasets_dir, name),
            as_of=as_of.date() if as_of else None,
        )
    facts = _facts(made)
    if as_json:
        typer.echo(json.dumps(facts, default=str, indent=2))
        return
    counts = facts.pop("class_counts")
    for key, value in facts.items():
        typer.echo(f"{key:<22}  {value}")
    cells = [
        [name, *(str(counts[side][name]) for side in ("before", "after", "test"))]
        for name in counts["after"]
    ]
    print_table(cells, ["class", "before", "after", "test"], "rows by class")


def _facts(made: "MadeDataset") -> dict[str, Any]:
    from services.trainer.accounts import imbalance_ratio

    manifest, snapshot = made.manifest, made.snapshot
    counts = manifest.class_counts
    return {
        "dataset": manifest.dataset,
        "dataset_version": manifest.dataset_version,
        "slice_key": snapshot.slice_key,
        "as_of": manifest.as_of,
        "snapshot_id": snapshot.snapshot_id,
        "strategy": manifest.balance.strategy,
        "rows_train": manifest.train.rows,
        "rows_test": manifest.test.rows,
        "imbalance_ratio_before": round(imbalance_ratio(counts["train_before"]), 4),
        "imbalance_ratio_after": round(imbalance_ratio(counts["train"]), 4),
        "manifest_uri": made.manifest_uri,
        "train_uri": manifest.train.uri,
        "test_uri": manifest.test.uri,
        "run_id": made.run_id,
        "class_counts": {
            "before": counts["train_before"],
            "after": counts["train"],
            "test": counts["test"],
        },
    }
