"""The champion answers about a file of rows as it did when it was measured."""

import csv
import json
from datetime import date

import pyarrow as pa
import pyarrow.csv as arrow_csv

from services.trainer.evaluation.measures import evaluate
from services.trainer.modelling.frame import model_inputs, model_target
from services.trainer.prediction.serving import champion
from services.trainer.training_dataset.snapshot import read_part

JANUARY = date(2024, 1, 31)


def test_raw_rows_of_the_test_side_are_answered_as_at_training(bench, small, headrace, tmp_path):
    published = bench.train(bench.build(bench.snapshot(small, JANUARY)))
    predictor = champion(
        bench.engine, bench.store, bench.registry, bench.directory, bench.spec.dataset
    )
    test = read_part(bench.store, predictor.manifest.test)
    target = model_target(test[predictor.manifest.target])
    then = evaluate(predictor.pipeline, model_inputs(test, predictor.features), target)
    tested = pa.table({"user_id": test["user_id"]})
    for name in bench.spec.training.features:
        tested = tested.join(small[name], "user_id", join_type="left outer")
    source, answers = tmp_path / "in.csv", tmp_path / "out.csv"
    arrow_csv.write_csv(tested, source)

    asked = ("predict", bench.spec.dataset, "--file", source, "--out", answers)
    done = headrace(*asked, "--as-of", JANUARY, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"] == test.num_rows
    with answers.open(newline="") as file:
        found = {row["user_id"]: row for row in csv.DictReader(file)}
    wanted = {
        key: (str(label).lower(), f"{sure:.6f}", published.model_version)
        for key, label, sure in zip(
            test["user_id"].to_pylist(),
            then.predicted.tolist(),
            then.scores.max(axis=1),
            strict=True,
        )
    }
    assert {
        key: (row["predicted"], row["confidence"], row["model_version"])
        for key, row in found.items()
    } == wanted
    text = headrace("predict", bench.spec.dataset, "--text", "hello")
    assert text.exit_code == 1
    assert "reads no text" in text.stderr


def test_without_a_champion_it_is_said_how_to_get_one(bench, small, headrace, tmp_path):
    asked = ("predict", bench.spec.dataset, "--file", tmp_path / "a", "--out", tmp_path / "b")
    refused = headrace(*asked)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"{bench.model} has no champion yet" in refused.stderr
    assert f"headrace load {bench.spec.dataset} --wait" in refused.stderr
    bench.change_spec(lambda spec: spec.update(training=None, drift=None))
    assert "declares no training" in headrace(*asked).stderr
