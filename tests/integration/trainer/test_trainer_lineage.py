"""Any version leads back to its rows; what was decided about it and why stands beside it."""

import json
from datetime import date, datetime

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from sqlalchemy import delete, select, update

from services.trainer.lineage import trace, verify
from services.trainer.promotion.champions import promote, roll_back
from services.trainer.training_dataset.snapshot import read_part
from shared.database.tables import loads, promotions
from shared.errors import InconsistentState
from shared.object_store import ObjectUri

JANUARY = date(2024, 1, 31)


@pytest.fixture
def client(mlflow_uri):
    return MlflowClient(tracking_uri=mlflow_uri, registry_uri=mlflow_uri)


@pytest.fixture
def snapshotted(bench, small):
    return bench.publish(bench.snapshot(small, JANUARY), percentage=43.0)


@pytest.fixture
def ready(bench, snapshotted):
    return bench.build(snapshotted)


def tags(client, bench, version):
    found = client.get_model_version(bench.model, version).tags
    return {name.removeprefix("headrace."): value for name, value in found.items()}


def retrain(bench, ready, **parameters):
    bench.change_spec(lambda spec: spec["training"]["model"].update(parameters=parameters))
    return bench.train(ready)


def walk(bench, version="1"):
    return trace(bench.engine, bench.store, bench.registry, bench.model, version)


def test_a_version_leads_back_to_the_exact_rows_that_it_learned_from(
    bench, client, small, snapshotted, ready
):
    bench.train(ready)
    found = tags(client, bench, "1")
    assert found["git_commit"] == "abc123"
    assert found["spec_digest"] == bench.spec.digest()
    assert found["snapshot_id"] == snapshotted.snapshot_id
    assert found["load_id"] == snapshotted.load_id
    assert found["slice_key"] == snapshotted.slice_key
    assert found["dataset_version"] == ready.dataset_version

    lineage = walk(bench)
    assert all(verdict.is_same for verdict in verify(bench.store, lineage))
    assert found["train_sha256"] == lineage.dataset.train.sha256
    assert found["test_sha256"] == lineage.dataset.test.sha256
    rows = pa.concat_tables(
        read_part(bench.store, part) for part in (lineage.dataset.train, lineage.dataset.test)
    )
    assert set(rows["user_id"].to_pylist()) == set(small["labels"]["user_id"].to_pylist())
    frozen = pa.concat_tables(
        pq.read_table(pa.BufferReader(bench.store.get_bytes(ObjectUri.parse(part.uri))))
        for part in lineage.snapshot.tables["users"].parts
    )
    assert frozen.equals(small["users"])
    assert lineage.load["load_id"] == snapshotted.load_id
    assert (lineage.slice_key, lineage.percentage) == (snapshotted.slice_key, 43.0)
    [landed] = lineage.landing
    assert bench.store.get_bytes(landed.file.uri) == b"as it came"


def test_the_sources_are_those_of_every_slice_that_the_snapshot_knew(bench, small, ready):
    february = bench.publish(bench.snapshot(small, date(2024, 2, 29)))
    second = bench.build(february)
    bench.publish(bench.snapshot(small, date(2024, 3, 31)))
    bench.train(ready)
    retrain(bench, second, C=0.5)
    assert [landed.load_id for landed in walk(bench, "1").landing] == [ready.load_id]
    both = [ready.load_id, second.load_id]
    assert [landed.load_id for landed in walk(bench, "2").landing] == both


def test_the_command_shows_the_way_and_finds_what_was_changed_on_it(bench, ready, headrace):
    published = bench.train(ready)
    shown = headrace("models", "show", bench.model, "1", "--verify")
    assert shown.exit_code == 0, shown.output
    for fact in (
        published.run_id, ready.dataset_version, ready.snapshot_id, ready.load_id, ready.slice_key,
        "/users.csv", "abc123", "first_champion",
    ):  # fmt: skip
        assert fact in shown.stdout
    assert "NO" not in shown.stdout.split()
    bench.overwrite(ready.train_uri, b"other rows")
    assert headrace("models", "show", bench.model, "1").exit_code == 0, "nothing was read"
    changed = headrace("models", "show", bench.model, "1", "--verify", "--json")
    assert changed.exit_code == 1
    assert "not what its manifest says" in changed.stderr
    differing = [f["uri"] for f in json.loads(changed.stdout)["verified"] if not f["is_same"]]
    assert differing == [ready.train_uri]
    assert "no version 9" in headrace("models", "show", bench.model, "9").stderr


def test_a_missing_link_is_named(bench, client, ready):
    bench.train(ready)
    with bench.engine.begin() as connection:
        connection.execute(delete(loads))
    with pytest.raises(InconsistentState, match=f"loads has no row of load_id {ready.load_id}"):
        walk(bench)
    client.set_model_version_tag(bench.model, "1", "headrace.train_sha256", "0" * 64)
    with pytest.raises(InconsistentState):
        walk(bench)
    client.delete_model_version_tag(bench.model, "1", "headrace.snapshot_id")
    with pytest.raises(InconsistentState, match=r"no tag headrace\.snapshot_id"):
        walk(bench)


def test_a_manifest_of_other_rows_than_the_version_says_is_found(bench, client, ready):
    bench.train(ready)
    client.set_model_version_tag(bench.model, "1", "headrace.train_sha256", "0" * 64)
    with pytest.raises(InconsistentState, match=r"headrace\.train_sha256"):
        walk(bench)


def test_every_decision_stands_on_its_version_and_in_the_database(bench, client, ready):
    def decided(version):
        found = tags(client, bench, version)
        assert datetime.fromisoformat(found["decided_at"]).tzinfo is not None
        return found["decision"], found["decision_reason"]

    retrain(bench, ready, C=0.00001)
    second = retrain(bench, ready, C=1.0)
    assert decided("1")[0] == "first_champion"
    assert decided("2") == ("beats_champion", second.reason)
    roll_back(bench.engine, bench.registry, bench.model, by="ann", reason="odd scores")
    why = "rolled back from version 2 by ann: odd scores"
    assert decided("1") == ("rolled_back", why)
    assert decided("2") == ("withdrawn", why)
    promote(bench.engine, bench.registry, bench.model, "2", by="bob", reason="it was fine")
    assert decided("2") == ("promoted_by_hand", "promoted by bob: it was fine")
    assert decided("1")[0] == "rolled_back"
    with bench.engine.connect() as connection:
        kept = connection.execute(
            select(promotions.c.decision, promotions.c.model_sha256).order_by(
                promotions.c.decided_at
            )
        ).all()
    assert [decision for decision, _ in kept] == [
        "first_champion", "beats_champion", "rolled_back", "promoted_by_hand",
    ]  # fmt: skip
    digests = {version: tags(client, bench, version)["model_sha256"] for version in "12"}
    assert [sha256 for _, sha256 in kept] == [digests[v] for v in ("1", "2", "1", "2")]


def test_the_commands_list_promote_and_roll_back(bench, ready, headrace):
    retrain(bench, ready, C=0.00001)
    retrain(bench, ready, C=1.0)
    name = bench.spec.dataset

    def aliases():
        rows = json.loads(headrace("models", name, "--json").stdout)
        return {row["model_version"]: row["alias"] for row in rows}

    assert aliases() == {"1": None, "2": "champion"}
    done = headrace("models", "rollback", bench.model, "--reason", "odd")
    assert (done.exit_code, "version 1 is the champion" in done.stdout) == (0, True)
    assert aliases() == {"1": "champion", "2": None}
    assert headrace("models", "promote", bench.model, "2").exit_code == 0
    assert aliases() == {"1": None, "2": "champion"}
    listed = headrace("models", name)
    for fact in ("promoted_by_hand", "rolled_back", "odd", ready.slice_key, "roc_auc"):
        assert fact in listed.stdout
    assert "no version 7" in headrace("models", "promote", bench.model, "7").stderr
    assert headrace("models", "nobody").stdout == "no models yet\n"


def swapped(client, bench, ready, tmp_path):
    """Put another good model in the place of version 1's file; gives the digest of that."""
    retrain(bench, ready, C=0.00001)
    retrain(bench, ready, C=1.0)
    ids = [
        client.get_model_version(bench.model, number).source.removeprefix("models:/")
        for number in "21"
    ]
    tracking = client.tracking_uri
    location = client.get_logged_model(ids[0]).artifact_location
    mlflow.artifacts.download_artifacts(
        artifact_uri=f"{location}/model.skops", dst_path=str(tmp_path), tracking_uri=tracking
    )
    (tmp_path / "put").mkdir()
    (tmp_path / "model.skops").rename(tmp_path / "put" / "model.skops")
    client.log_model_artifacts(ids[1], str(tmp_path / "put"))
    return tags(client, bench, "2")["model_sha256"]


def test_a_stored_model_that_was_exchanged_is_not_loaded_whatever_its_tag_says(
    bench, client, ready, headrace, tmp_path
):
    other = swapped(client, bench, ready, tmp_path)
    promote(bench.engine, bench.registry, bench.model, "1", by="ann")
    genuine = tags(client, bench, "1")["model_sha256"]
    client.set_model_version_tag(bench.model, "1", "headrace.model_sha256", other)

    rows = tmp_path / "in.csv"
    rows.write_text("user_id\nu1\n")
    asked = ("predict", bench.spec.dataset, "--file", rows, "--out", tmp_path / "out.csv")
    refused = headrace(*asked)
    assert refused.exit_code == 1
    assert f"has the SHA-256 {other}, the one that was registered had {genuine}" in refused.stderr
    assert not (tmp_path / "out.csv").exists()
    challenged = retrain(bench, ready, C=0.5)
    assert challenged.decision == "champion_not_comparable"
    assert "was changed or damaged since" in challenged.reason

    with bench.engine.begin() as connection:
        connection.execute(update(promotions).values(model_sha256=None))
    assert "lacks" in headrace(*asked).stderr, "the tag is all there is, and it agrees"
    client.delete_model_version_tag(bench.model, "1", "headrace.model_sha256")
    assert "no digest of its file is known" in headrace(*asked).stderr
