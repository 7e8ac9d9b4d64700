"""Drift: each dataset against the champion's, kept once and told once."""

import json
import random
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sqlalchemy import select

from services.trainer.drift.comparing import compare
from services.trainer.drift.profile import profile
from services.trainer.promotion.champions import promote
from shared.contracts.drift_spec import Drift
from shared.contracts.events import DriftDetected, ModelPublished
from shared.contracts.manifest import DatasetManifest
from shared.database.tables import drift
from shared.errors import InconsistentState
from shared.object_store import ObjectUri

JANUARY, FEBRUARY = date(2024, 1, 31), date(2024, 2, 29)


def changed(tables, table, column, change):
    rows = tables[table]
    place = rows.schema.get_field_index(column)
    return {**tables, table: rows.set_column(place, rows.field(place), change(rows[column]))}


def rows_of(bench):
    with bench.engine.connect() as connection:
        found = connection.execute(select(drift).order_by(drift.c.measured_at)).mappings().all()
    return {(row["feature"], row["measure"]): row for row in found}


def publish(bench, tables, as_of):
    """A model of these tables, and what follows from its event."""
    bench.train(bench.build(bench.publish(bench.snapshot(tables, as_of))))
    event = bench.event_of(ModelPublished)
    assert bench.deliver(event)
    return event


@pytest.fixture
def champion(bench, small):
    """Whoever was trained on January's users."""
    publish(bench, small, JANUARY)
    return bench


def test_the_first_model_has_nothing_to_be_compared_with(champion):
    assert rows_of(champion) == {}
    assert champion.emitted(DriftDetected) == []


def test_the_same_users_a_day_later_have_not_drifted(champion, small):
    publish(champion, small, date(2024, 2, 1))
    found = rows_of(champion)
    assert {row["is_drifted"] for row in found.values()} == {False}
    assert champion.emitted(DriftDetected) == []
    features = {feature for feature, _ in found}
    asked = {f"{t}.{c}" for t, of in champion.spec.training.features.items() for c in of}
    assert features == asked - {"users.signup_date"} | {"labels.churn_label"}
    rows = found["users.has_family", "psi"]
    assert rows["rows"] == rows["baseline_rows"] == 2000


def test_what_has_changed_is_found_ranked_and_told(champion, small, headrace):
    dearer = changed(small, "subscriptions", "monthly_fee", lambda fee: pc.multiply(fee, 3.0))
    moved = changed(
        dearer,
        "subscriptions",
        "contract_type",
        lambda kinds: pa.chunked_array([["Two year"] * len(kinds)]),
    )
    publish(champion, moved, FEBRUARY)
    found = rows_of(champion)
    fee, kind = (
        found["subscriptions.monthly_fee", "ks"],
        found["subscriptions.contract_type", "chi_squared"],
    )
    assert fee["is_drifted"]
    assert fee["p_value"] < 1e-6
    assert kind["is_drifted"]
    assert not found["users.has_family", "psi"]["is_drifted"]
    assert not found["labels.churn_label", "psi"]["is_drifted"]
    drawn = {bin_["label"]: bin_ for bin_ in kind["bins"]}
    assert drawn["Two year"]["current"] == 2000
    assert 0 < drawn["Two year"]["baseline"] < 2000

    [told] = champion.emitted(DriftDetected)
    assert {each.feature for each in told.features} >= {
        "subscriptions.monthly_fee",
        "subscriptions.contract_type",
    }
    assert told.features_drifted == len(told.features)
    assert told.features_compared == len({feature for feature, _ in found})
    weights = [each.value / each.threshold for each in told.features]
    assert weights == sorted(weights, reverse=True)
    assert (told.as_of, told.baseline_as_of) == (FEBRUARY, JANUARY)

    said = json.loads(headrace("drift", champion.spec.dataset, "--json").output)
    assert said["champion_version"] == "1"
    assert {each["feature"] for each in said["differences"] if each["is_drifted"]} == {
        each.feature for each in told.features
    }
    table = headrace("drift", champion.spec.dataset).output.splitlines()
    assert f"{told.features_drifted} of {told.features_compared} have drifted" in table[0]
    assert table[2].startswith(told.features[0].feature)


def test_a_second_delivery_changes_nothing(champion, small):
    event = publish(champion, small, FEBRUARY)
    before = rows_of(champion)
    assert not champion.deliver(event)
    assert rows_of(champion) == before


def test_measured_anew_it_takes_the_place_of_what_was_there(champion, small):
    publish(champion, small, FEBRUARY)
    before = rows_of(champion)
    champion.change_spec(
        lambda spec: spec.update(drift={"ignore": ["users.has_family"], "thresholds": {"psi": 9}})
    )
    event = champion.event_of(ModelPublished)
    again = champion.event(event.payload)
    object.__setattr__(again, "causation_id", event.causation_id)
    assert champion.deliver(again)
    after = rows_of(champion)
    assert before.keys() - after.keys() == {
        ("users.has_family", "psi"),
        ("users.has_family", "chi_squared"),
    }
    assert after["users.has_dependents", "psi"]["threshold"] == 9


def test_data_older_than_the_champions_is_measured_and_not_told(champion, small):
    older = changed(small, "subscriptions", "monthly_fee", lambda fee: pc.multiply(fee, 3.0))
    publish(champion, older, date(2023, 12, 31))
    assert rows_of(champion)["subscriptions.monthly_fee", "ks"]["is_drifted"]
    assert champion.emitted(DriftDetected) == []


def test_the_champion_of_a_persons_choice_is_held_against_the_newest_dataset(champion, small):
    dearer = changed(small, "subscriptions", "monthly_fee", lambda fee: pc.multiply(fee, 3.0))
    publish(champion, dearer, FEBRUARY)
    publish(champion, small, date(2024, 3, 31))
    promote(champion.engine, champion.registry, champion.model, "2", by="test")
    assert champion.deliver(champion.event_of(ModelPublished))
    found = rows_of(champion)
    assert found["subscriptions.monthly_fee", "ks"]["champion_version"] == "2"
    assert found["subscriptions.monthly_fee", "ks"]["as_of"] == date(2024, 3, 31)


def test_a_model_that_nothing_is_recorded_of_is_refused(champion, small):
    event = publish(champion, small, FEBRUARY)
    stranger = champion.event(event.payload)
    with pytest.raises(InconsistentState, match="no decision about"):
        champion.deliver(stranger)


def manifest_of(bench, ready):
    data = bench.store.get_bytes(ObjectUri.parse(ready.manifest_uri))
    return DatasetManifest.from_bytes(data, uri=ready.manifest_uri)


def test_copies_that_balance_the_classes_are_no_drift(bench, small):
    """Each entity counts once, whatever side it is on and how often it trains."""
    balanced = manifest_of(bench, bench.build(bench.snapshot(small, JANUARY)))
    bench.change_spec(lambda spec: spec["training"]["balance"].update(strategy="none"))
    natural = manifest_of(bench, bench.build(bench.snapshot(small, JANUARY)))
    assert balanced.train.rows > natural.train.rows
    found = compare(bench.store, bench.spec.training, Drift(), balanced, natural, rows=10_000)
    assert (found.baseline_rows, found.current_rows) == (2000, 2000)
    assert {each.value for each in found.differences if each.measure != "psi"} == {0.0}


def test_of_many_rows_a_part_is_looked_at_which_is_the_same_each_time(bench, small):
    manifest = manifest_of(bench, bench.build(bench.snapshot(small, JANUARY)))
    first, second = (
        profile(bench.store, manifest, manifest.features, frozenset(), 500) for _ in range(2)
    )
    assert 400 < first.rows < 600
    assert first.rows == second.rows
    name = "usage_agg_30d.watch_hours_30d"
    assert first.columns[name].all().tolist() == second.columns[name].all().tolist()


WORDS = [f"word{number}" for number in range(300)]


def products(numbers, other_words=0.0, length=12):
    """A catalogue of texts; of a share of the words it is other ones."""
    chance = random.Random(7)  # noqa: S311
    texts = [
        " ".join(
            chance.choice(WORDS).upper()
            if chance.random() >= other_words
            else f"neu{chance.randrange(50)}"
            for _ in range(length)
        )
        for _ in numbers
    ]
    return {
        "products": pa.table(
            {
                "productid": pa.array(numbers, pa.int64()),
                "imageid": pa.array(numbers, pa.int64()),
                "designation": texts,
                "description": pa.array([None if n % 3 else "<b>a box</b>" for n in numbers]),
            }
        ),
        "labels": pa.table(
            {
                "productid": pa.array(numbers, pa.int64()),
                "prdtypecode": pa.array([(10, 40)[n % 2] for n in numbers], pa.int64()),
            }
        ),
    }


@pytest.fixture
def catalogue(bench_of):
    return bench_of("rakuten")


def drifted_from(bench, before, now):
    manifests = [
        manifest_of(bench, bench.build(bench.snapshot(tables, day)))
        for tables, day in ((before, JANUARY), (now, FEBRUARY))
    ]
    found = compare(bench.store, bench.spec.training, Drift(), *manifests, rows=10_000)
    return {(each.feature, each.measure.value): each for each in found.differences}


def test_other_texts_of_the_same_words_have_not_drifted(catalogue):
    found = drifted_from(catalogue, products(range(400)), products(range(400, 800)))
    name = "products.designation"
    assert {m for f, m in found if f == name} == {"length_psi", "length_ks", "vocabulary"}
    assert not any(each.is_drifted for each in found.values())
    assert found[name, "vocabulary"].value < 0.01


def test_other_words_and_longer_texts_have(catalogue):
    now = products(range(400, 800), other_words=0.3, length=20)
    found = drifted_from(catalogue, products(range(400)), now)
    name = "products.designation"
    assert all(found[name, m].is_drifted for m in ("length_psi", "length_ks", "vocabulary"))
    words = [bin_["label"] for bin_ in found[name, "vocabulary"].bins.drawn()]
    assert any(word.startswith("neu") for word in words)
    assert not found["products.description", "vocabulary"].is_drifted
