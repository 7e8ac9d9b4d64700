"""The trainer on the real drops: what issue and README promise of them."""

import time
from datetime import date

import pyarrow as pa
from sqlalchemy import select

from shared.database.tables import promotions, training_datasets

JANUARY, FEBRUARY = date(2024, 1, 31), date(2024, 2, 29)


def test_january_gives_a_champion_that_clears_what_is_promised(bench, months):
    ready = bench.build(bench.snapshot(months["month_000"], JANUARY))
    published = bench.train(ready)
    assert published.decision == "first_champion"
    assert published.alias == "champion"
    assert published.promoted
    assert published.metrics["roc_auc"] >= 0.83
    assert published.metrics["f1"] >= 0.58
    assert ready.test_rows + 2 * ready.train_rows > 7043
    with bench.engine.connect() as connection:
        [row] = connection.execute(select(promotions)).mappings().all()
    assert (row["model_version"], row["alias"], row["champion_version"]) == ("1", "champion", None)
    assert bench.registry.holder(bench.model, "champion").version == "1"


def test_january_again_after_february_gives_the_same_digest_and_metrics(bench, months):
    january = bench.build(bench.snapshot(months["month_000"], JANUARY))
    first = bench.train(january)
    february = bench.build(bench.snapshot(months["month_001"], FEBRUARY))
    second = bench.train(february)
    assert second.decision == "below_minimum"
    assert (second.alias, second.promoted) == ("challenger", False)
    shuffled = {
        name: rows.take(pa.array(range(rows.num_rows - 1, -1, -1)))
        for name, rows in months["month_000"].items()
    }
    again = bench.build(bench.snapshot(shuffled, JANUARY))
    assert again.dataset_version == january.dataset_version != february.dataset_version
    assert again.manifest_uri == january.manifest_uri
    assert again.snapshot_id != january.snapshot_id
    third = bench.train(again)
    assert third.metrics == first.metrics
    assert third.model_version == first.model_version
    assert third.run_id != first.run_id
    assert (third.decision, third.alias) == ("already_champion", "champion")
    with bench.engine.connect() as connection:
        rows = connection.execute(select(training_datasets)).mappings().all()
    by_version = {row["dataset_version"]: row["snapshot_id"] for row in rows}
    assert by_version == {
        january.dataset_version: january.snapshot_id,
        february.dataset_version: february.snapshot_id,
    }


def test_the_labels_of_another_month_would_show(bench, months):
    """What the leakage test rests on: a model read with February's labels can't reach January's."""
    mixed = {**months["month_000"], "labels": months["month_001"]["labels"]}
    right = bench.train(bench.build(bench.snapshot(months["month_000"], JANUARY)))
    wrong = bench.train(bench.build(bench.snapshot(mixed, JANUARY)))
    assert wrong.metrics["roc_auc"] < 0.70 < 0.83 <= right.metrics["roc_auc"]


def test_a_snapshot_is_read_by_its_own_manifest_when_a_later_one_lies_beside_it(bench, months):
    january = bench.snapshot(months["month_000"], JANUARY)
    bench.build(bench.snapshot(months["month_001"], FEBRUARY))
    published = bench.train(bench.build(january))
    assert published.metrics["roc_auc"] >= 0.83


def test_from_warm_a_slice_takes_the_trainer_a_few_seconds(bench, months):
    bench.train(bench.build(bench.snapshot(months["month_000"], JANUARY)))
    february = bench.snapshot(months["month_001"], FEBRUARY)
    started, worked = time.monotonic(), time.process_time()
    bench.train(bench.build(february))
    print(f"{time.monotonic() - started:.2f} s, {time.process_time() - worked:.2f} s of ours")
    assert time.process_time() - worked < 5
