"""The catalogue at a small scale: its dataset's run, its champion, and answers about X_test."""

import csv
import json
from datetime import date

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pytest
from mlflow import MlflowClient

from cli.sample import write_rakuten
from services.trainer.evaluation.measures import evaluate
from services.trainer.modelling.frame import model_inputs, model_target
from services.trainer.prediction.serving import champion
from services.trainer.training_dataset.snapshot import read_part

MONDAY = date(2026, 11, 23)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """A hundredth of the files."""
    folder = tmp_path_factory.mktemp("catalogue")
    return write_rakuten(folder / "files", scale=0.012, images=0, seed=3)


@pytest.fixture
def tables(catalogue):
    """The spec's tables of all the rows, as they are when they are loaded."""
    options = {
        "parse_options": arrow_csv.ParseOptions(newlines_in_values=True),
        "convert_options": arrow_csv.ConvertOptions(strings_can_be_null=True, null_values=[""]),
    }
    products = arrow_csv.read_csv(catalogue / "X_train.csv", **options)
    labels = arrow_csv.read_csv(catalogue / "Y_train.csv", **options)
    return {
        "products": products.select(["productid", "imageid", "designation", "description"]),
        "labels": pa.table(
            {"productid": products["productid"], "prdtypecode": labels["prdtypecode"]}
        ),
    }


def test_the_catalogue_is_logged_learned_and_asked_by_text_and_by_file(
    bench_of, tables, catalogue, headrace, mlflow_uri, tmp_path
):
    bench = bench_of("rakuten")
    bench.change_spec(lambda spec: spec["training"].update(minimum=0.2))
    ready = bench.build(bench.publish(bench.snapshot(tables, MONDAY), percentage=40.0))
    client = MlflowClient(tracking_uri=mlflow_uri, registry_uri=mlflow_uri)
    experiment = client.get_experiment_by_name(f"{bench.spec.dataset}_datasets")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.data.params["classes"] == "27"
    assert run.data.params["percentage"] == "40"
    assert run.data.metrics["imbalance_ratio_before"] > 2
    published = bench.train(ready)
    assert published.decision == "first_champion"

    name = bench.spec.dataset
    answer = json.loads(headrace("predict", name, "--text", "Livre de poche", "--json").stdout)
    assert answer["model_version"] == published.model_version
    assert int(answer["predicted"]) in tables["labels"]["prdtypecode"].to_pylist()

    out = tmp_path / "answers.csv"
    asked = ("predict", name, "--file", catalogue / "X_test.csv", "--out", out)
    assert headrace(*asked).exit_code == 0
    with (
        out.open(newline="") as found,
        (catalogue / "X_test.csv").open(newline="", encoding="utf-8") as given,
    ):
        answers, rows = list(csv.DictReader(found)), list(csv.DictReader(given))
    assert [(a[""], a["productid"]) for a in answers] == [(r[""], r["productid"]) for r in rows]
    assert len({answer["predicted"] for answer in answers}) > 5


def test_the_test_sides_texts_are_answered_as_at_training(
    bench_of, tables, catalogue, headrace, tmp_path
):
    bench = bench_of("rakuten")
    bench.change_spec(lambda spec: spec["training"].update(minimum=0.2))
    bench.train(bench.build(bench.snapshot(tables, MONDAY)))
    predictor = champion(
        bench.engine, bench.store, bench.registry, bench.directory, bench.spec.dataset
    )
    test = read_part(bench.store, predictor.manifest.test)
    then = evaluate(
        predictor.pipeline,
        model_inputs(test, predictor.features),
        model_target(test[predictor.manifest.target]),
    )
    out = tmp_path / "answers.csv"
    asked = ("predict", bench.spec.dataset, "--file", catalogue / "X_train.csv", "--out", out)
    assert headrace(*asked).exit_code == 0
    with out.open(newline="") as file:
        found = {int(row["productid"]): row["predicted"] for row in csv.DictReader(file)}
    assert len(found) == tables["labels"].num_rows
    wanted = dict(zip(test["productid"].to_pylist(), then.predicted.tolist(), strict=True))
    assert {key: found[key] for key in wanted} == {k: str(v) for k, v in wanted.items()}
