"""The trainer on a small catalogue, as it grows: what issue and README promise of it."""

import json
import logging
from datetime import date
from pathlib import Path

import mlflow
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from cli.sample import write_rakuten
from services.trainer.training_dataset.snapshot import read_part
from shared.contracts.manifest import DatasetManifest
from shared.object_store import ObjectUri

FIRST, NEXT = date(2026, 11, 23), date(2026, 11, 30)
RARE = 1180


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """A twentieth of the files, as the spec's tables hold them."""
    folder = write_rakuten(tmp_path_factory.mktemp("rakuten") / "files", scale=0.05, images=0)
    options = {
        "parse_options": arrow_csv.ParseOptions(newlines_in_values=True),
        "convert_options": arrow_csv.ConvertOptions(strings_can_be_null=True, null_values=[""]),
    }
    products = arrow_csv.read_csv(folder / "X_train.csv", **options)
    labels = arrow_csv.read_csv(folder / "Y_train.csv", **options)
    columns = ["productid", "imageid", "designation", "description"]
    return products.select(columns).append_column("prdtypecode", labels["prdtypecode"])


def sliced(rows: pa.Table, share: float) -> dict[str, pa.Table]:
    rows = rows.slice(0, int(rows.num_rows * share))
    return {
        "products": rows.drop_columns(["prdtypecode"]),
        "labels": rows.select(["productid", "prdtypecode"]),
    }


@pytest.fixture
def catalogue_bench(bench_of):
    return bench_of("rakuten")


def artifacts(mlflow_uri, run_id, path) -> dict[str, bytes]:
    client = MlflowClient(tracking_uri=mlflow_uri)
    found = {}
    for item in client.list_artifacts(run_id, path):
        if not item.is_dir:
            local = mlflow.artifacts.download_artifacts(
                run_id=run_id, artifact_path=item.path, tracking_uri=mlflow_uri
            )
            found[item.path] = Path(local).read_bytes()
    return found


def test_a_growing_catalogue_gives_a_better_champion_each_step(
    catalogue_bench, catalogue, mlflow_uri
):
    bench = catalogue_bench
    bench.change_spec(lambda spec: spec["training"].update(minimum=0.6))
    first = bench.train(bench.build(bench.snapshot(sliced(catalogue, 0.4), FIRST)))
    assert 0.6 < first.metrics["weighted_f1"] < 0.95
    assert 0.5 < first.metrics["macro_f1"] < 0.95
    assert set(first.metrics) >= {"accuracy", "weighted_f1", "macro_f1", "roc_auc"}
    assert first.decision == "first_champion"

    grown = bench.build(bench.snapshot(sliced(catalogue, 1.0), NEXT))
    second = bench.train(grown)
    assert second.decision == "beats_champion"
    assert bench.registry.holder(bench.model, "champion").version == second.model_version

    files = artifacts(mlflow_uri, second.run_id, "")
    report = json.loads(files["class_report.json"])
    assert len(report) == 27
    assert sum(scores["support"] for scores in report.values()) == grown.test_rows
    by_hand = sum(s["f1"] * s["support"] for s in report.values()) / grown.test_rows
    assert by_hand == pytest.approx(second.metrics["weighted_f1"])
    assert files["class_report.csv"].startswith(b"class,precision,recall,f1,support\n10,")
    terms = json.loads(files["top_terms.json"])
    assert {len(found) for found in terms.values()} == {10}
    assert len(files["feature_importances.json"]) < 100_000
    plots = artifacts(mlflow_uri, second.run_id, "plots")
    assert all(data.startswith(b"\x89PNG") for data in plots.values())
    assert "plots/confusion_matrix.png" in plots


def test_the_registered_model_takes_raw_texts_by_its_signature(
    catalogue_bench, catalogue, mlflow_uri
):
    bench = catalogue_bench
    published = bench.train(bench.build(bench.snapshot(sliced(catalogue, 0.4), FIRST)))
    version = bench.registry.version(bench.model, published.model_version)
    client = MlflowClient(tracking_uri=mlflow_uri, registry_uri=mlflow_uri)
    location = client.get_logged_model(version.source.removeprefix("models:/")).artifact_location
    path = mlflow.artifacts.download_artifacts(artifact_uri=location, tracking_uri=mlflow_uri)
    model = mlflow.pyfunc.load_model(path)
    schema = model.metadata.get_input_schema()
    assert schema.input_names() == ["products.designation", "products.description"]
    assert {str(kind) for kind in schema.input_types()} == {"DataType.string"}
    rows = catalogue.slice(catalogue.num_rows - 200).to_pandas()
    rows = rows[["designation", "description"]].astype(object).where(lambda frame: frame.notna())
    rows.columns = ["products.designation", "products.description"]
    answers = model.predict(rows)
    truth = catalogue["prdtypecode"].slice(catalogue.num_rows - 200).to_numpy()
    assert (answers == truth).mean() > 0.6


def test_the_same_snapshot_gives_the_same_metrics_to_the_last_digit(catalogue_bench, catalogue):
    bench = catalogue_bench
    ready = bench.build(bench.snapshot(sliced(catalogue, 0.15), FIRST))
    again = bench.build(bench.snapshot(sliced(catalogue, 0.15), FIRST))
    assert again.dataset_version == ready.dataset_version
    assert bench.train(again).metrics == bench.train(ready).metrics


def test_a_class_on_one_side_only_stops_nothing_and_its_champion_is_still_compared(
    catalogue_bench, catalogue, caplog
):
    bench = catalogue_bench
    bench.change_spec(lambda spec: spec["training"].update(minimum=0.4))
    whole = sliced(catalogue, 0.4)
    codes = whole["labels"]["prdtypecode"].to_numpy()
    rare = codes == RARE
    without = {name: rows.filter(pa.array(~rare)) for name, rows in whole.items()}
    first = bench.train(bench.build(bench.snapshot(without, FIRST)))
    assert first.decision == "first_champion"
    with caplog.at_level(logging.WARNING):
        ready = bench.build(bench.snapshot(_on_one_side(bench, whole, rare), NEXT))
    assert f"no row of the class {RARE}" in caplog.text
    manifest = DatasetManifest.from_bytes(
        bench.store.get_bytes(ObjectUri.parse(ready.manifest_uri)), uri=ready.manifest_uri
    )
    assert 0 in {manifest.class_counts[side][str(RARE)] for side in ("train", "test")}
    second = bench.train(ready)
    assert second.decision in {"beats_champion", "not_better"}


def test_a_champion_of_other_classes_waits_for_a_person(catalogue_bench, catalogue):
    bench = catalogue_bench
    bench.change_spec(lambda spec: spec["training"].update(minimum=0.4))
    rows = sliced(catalogue, 0.4)
    bench.train(bench.build(bench.snapshot(rows, FIRST)))
    codes = pa.compute.add(rows["labels"]["prdtypecode"], 10_000)
    other = {**rows, "labels": rows["labels"].set_column(1, "prdtypecode", codes)}
    second = bench.train(bench.build(bench.snapshot(other, NEXT)))
    assert second.decision == "champion_not_comparable"
    assert "it knows other classes" in second.reason


def test_copies_of_a_product_stand_side_by_side_and_cost_little_room(catalogue_bench, catalogue):
    bench = catalogue_bench
    ready = bench.build(bench.snapshot(sliced(catalogue, 1.0), FIRST))
    manifest = DatasetManifest.from_bytes(
        bench.store.get_bytes(ObjectUri.parse(ready.manifest_uri)), uri=ready.manifest_uri
    )
    train = read_part(bench.store, manifest.train)
    keys = train["productid"].to_pylist()
    assert keys == sorted(keys)
    assert len(keys) > 2 * len(set(keys))
    sink = pa.BufferOutputStream()
    distinct = train.group_by("productid", use_threads=False).aggregate(
        [(name, "first") for name in train.column_names if name != "productid"]
    )
    pq.write_table(distinct, sink, compression="zstd", compression_level=3)
    assert manifest.train.bytes < 1.5 * sink.tell()


def _on_one_side(bench, tables, rare):
    """The tables with only those rare products that are on the training side."""
    from services.trainer.training_dataset.split import sides

    keys = tables["labels"]["productid"].to_pylist()
    tests = sides(keys, bench.spec.training.split)
    kept = pa.array([not (is_rare and tests[at]) for at, is_rare in enumerate(rare)])
    return {name: rows.filter(kept) for name, rows in tables.items()}
