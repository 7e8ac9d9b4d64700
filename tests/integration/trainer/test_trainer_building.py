"""A dataset is logged whole, and made on demand it is the one that its event made."""

import hashlib
import json
from datetime import date, timedelta

import mlflow
import pytest
from mlflow import MlflowClient

from services.trainer.training_dataset.building import NoDataset, make_on_demand
from shared.contracts.events import DatasetReady
from shared.contracts.manifest import DatasetManifest
from shared.database.tables import outbox, training_datasets
from shared.object_store import ObjectUri

JANUARY, FEBRUARY = date(2024, 1, 31), date(2024, 2, 29)


@pytest.fixture
def client(mlflow_uri):
    return MlflowClient(tracking_uri=mlflow_uri, registry_uri=mlflow_uri)


def dataset_runs(client, bench):
    experiment = client.get_experiment_by_name(f"{bench.spec.dataset}_datasets")
    return client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])


def content(mlflow_uri, run_id, path, folder):
    place = mlflow.artifacts.download_artifacts(
        run_id=run_id, artifact_path=path, dst_path=str(folder), tracking_uri=mlflow_uri
    )
    with open(place, "rb") as file:  # noqa: PTH123
        return file.read()


def on_demand(bench, as_of=None):
    return make_on_demand(
        bench.engine, bench.store, bench.trainer.tracking, bench.spec, as_of=as_of
    )


def test_a_run_shows_where_the_slice_stands_the_classes_and_the_files_themselves(
    bench, client, small, mlflow_uri, tmp_path
):
    first = bench.build(bench.publish(bench.snapshot(small, JANUARY), percentage=40.0))
    second = bench.build(bench.publish(bench.snapshot(small, JANUARY), percentage=43.5))
    runs = dataset_runs(client, bench)
    assert [(run.data.params["week"], run.data.params["percentage"]) for run in runs] == [
        ("0", "40"),
        ("1", "43.5"),
    ]
    assert first.dataset_version == second.dataset_version
    run = runs[0]
    assert run.data.params["strategy"] == "random_oversample"
    assert run.data.tags["headrace.load_id"] == first.load_id
    manifest = DatasetManifest.from_bytes(
        bench.store.get_bytes(ObjectUri.parse(first.manifest_uri)), uri=first.manifest_uri
    )
    counts = manifest.class_counts
    before = counts["train_before"]
    metrics = run.data.metrics
    assert metrics["rows_train"] == first.train_rows == sum(counts["train"].values())
    assert metrics["rows_test"] == first.test_rows
    assert metrics["rows_train_before"] == sum(before.values())
    assert metrics["imbalance_ratio_before"] == max(before.values()) / min(before.values()) > 1
    assert metrics["imbalance_ratio_after"] == 1

    def artifact(path):
        return content(mlflow_uri, run.info.run_id, path, tmp_path)

    assert json.loads(artifact("class_counts.json")) == {
        "before": before,
        "after": counts["train"],
        "test": counts["test"],
    }
    assert artifact("manifest.json") == manifest.to_bytes()
    for part, path in ((manifest.train, "train"), (manifest.test, "test")):
        assert hashlib.sha256(artifact(f"data/{path}.parquet")).hexdigest() == part.sha256
    plots = {item.path for item in client.list_artifacts(run.info.run_id, "plots")}
    assert {f"plots/class_distribution_{name}.png" for name in ("before", "after")} <= plots


def test_slices_with_dates_count_by_their_date_and_have_no_percentage(bench, client, small):
    february = bench.publish(bench.snapshot(small, FEBRUARY))
    january = bench.publish(bench.snapshot(small, JANUARY))  # late
    bench.build(february)
    bench.build(january)
    runs = dataset_runs(client, bench)
    assert [run.data.params["week"] for run in runs] == ["1", "0"]
    assert all("percentage" not in run.data.params for run in runs)


def test_on_demand_it_is_bit_by_bit_what_the_event_made_and_asking_twice_is_asking_once(
    bench, client, small
):
    payload = bench.publish(bench.snapshot(small, JANUARY))
    first = on_demand(bench)
    again = on_demand(bench)
    files = {part.uri: bench.store.get_bytes(ObjectUri.parse(part.uri)) for part in parts(first)}
    assert (again.run_id, again.manifest) == (first.run_id, first.manifest)
    assert len(dataset_runs(client, bench)) == 1
    assert bench.count(outbox) == 0, "nothing is published and so nothing is trained"
    assert bench.count(training_datasets) == 1

    ready = bench.build(payload)
    assert ready.dataset_version == first.manifest.dataset_version
    assert ready.manifest_uri == first.manifest_uri
    for uri, data in files.items():
        assert bench.store.get_bytes(ObjectUri.parse(uri)) == data
    assert bench.count(training_datasets) == 1
    assert len(dataset_runs(client, bench)) == 2
    assert len(bench.emitted(DatasetReady)) == 1


def parts(made):
    return made.manifest.train, made.manifest.test


def test_the_newest_snapshot_at_or_before_a_date_is_taken(bench, small):
    payloads = [
        bench.publish(bench.snapshot(small, JANUARY)),
        bench.publish(bench.snapshot(small, FEBRUARY)),
        bench.publish(bench.snapshot({**small, "users": small["users"].slice(0, 1900)}, FEBRUARY)),
    ]
    ids = [payload.snapshot_id for payload in payloads]
    assert on_demand(bench).snapshot.snapshot_id == ids[2], "of two of a date the one known last"
    assert on_demand(bench, FEBRUARY).snapshot.snapshot_id == ids[2]
    assert on_demand(bench, FEBRUARY - timedelta(days=1)).snapshot.snapshot_id == ids[0]
    with pytest.raises(NoDataset, match="no snapshot at or before 2024-01-30"):
        on_demand(bench, JANUARY - timedelta(days=1))


def test_the_command_builds_and_says_what_it_made(bench, small, headrace):
    bench.publish(bench.snapshot(small, JANUARY))
    told = json.loads(headrace("dataset", "build", bench.spec.dataset, "--json").stdout)
    made = on_demand(bench)
    assert told["dataset_version"] == made.manifest.dataset_version
    assert told["run_id"] == made.run_id
    assert told["class_counts"]["before"] == made.manifest.class_counts["train_before"]
    said = headrace("dataset", "build", bench.spec.dataset, "--as-of", "2024-02-01")
    assert said.exit_code == 0
    for fact in (told["dataset_version"], told["train_uri"], told["run_id"], "imbalance_ratio"):
        assert str(fact) in said.stdout


def test_the_command_exits_1_and_says_why_where_there_is_nothing_to_build(bench, small, headrace):
    name = bench.spec.dataset
    refused = headrace("dataset", "build", name)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"{name} has no snapshot: see `headrace snapshots {name}`" in refused.stderr
    bench.publish(bench.snapshot(small, JANUARY))
    bench.change_spec(lambda spec: spec.update(training=None, drift=None))
    refused = headrace("dataset", "build", name)
    assert refused.exit_code == 1
    assert "declares no training" in refused.stderr
    assert "no dataset" in headrace("dataset", "build", "nobody").stderr
