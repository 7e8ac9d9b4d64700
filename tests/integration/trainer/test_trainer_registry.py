"""One training, one version; one decision, one champion: whatever fails in between."""

from dataclasses import replace
from datetime import date
from unittest.mock import Mock, patch

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import select

from services.trainer import handlers
from services.trainer.handlers import Trainer
from services.trainer.in_process import InProcess
from services.trainer.modelling.frame import model_inputs
from services.trainer.promotion.champions import promote, roll_back
from services.trainer.registry import Registry, Tracking
from services.trainer.training_dataset.snapshot import read_part
from shared.contracts.events import DatasetReady, ModelPublished
from shared.contracts.manifest import DatasetManifest
from shared.database.tables import outbox, promotions
from shared.errors import InconsistentState, InvalidSpec, ServerUnavailable
from shared.object_store import ObjectUri

JANUARY, FEBRUARY = date(2024, 1, 31), date(2024, 2, 29)


class Crash(BaseException):
    """The process is gone: nothing of ours can catch it."""


@pytest.fixture
def client(mlflow_uri):
    return MlflowClient(tracking_uri=mlflow_uri, registry_uri=mlflow_uri)


@pytest.fixture
def ready(bench, small):
    return bench.build(bench.snapshot(small, JANUARY))


def versions(client, bench):
    return [version.version for version in client.search_model_versions(f"name = '{bench.model}'")]


def runs(client, bench, kind):
    experiment = client.get_experiment_by_name(f"{bench.spec.dataset}_{kind}")
    return client.search_runs([experiment.experiment_id])


def of_model(bench, **parameters):
    """The spec with another model, so that the next training is another one."""
    bench.change_spec(lambda spec: spec["training"]["model"].update(parameters=parameters))


def test_a_second_delivery_changes_nothing(bench, client, ready):
    event = bench.event(ready)
    assert bench.deliver(event)
    assert not bench.deliver(event)
    assert versions(client, bench) == ["1"]
    assert len(runs(client, bench, "training")) == 1
    assert bench.count(promotions) == 1
    assert len(bench.emitted(ModelPublished)) == 1


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (Tracking, "record"),
        (Registry, "register"),
        (Tracking, "remember"),
        (Registry, "assign"),
        (Tracking, "finish"),
        (handlers, "keep_promotion"),
    ],
)
def test_a_crash_after_any_step_leaves_one_run_one_version_and_the_same_decision(
    bench, client, ready, place, name
):
    original = getattr(place, name)

    def crash(*args, **kwargs):
        original(*args, **kwargs)
        raise Crash

    event = bench.event(ready)
    with patch.object(place, name, crash), pytest.raises(Crash):
        bench.deliver(event)
    assert bench.count(promotions) == 0
    assert bench.emitted(ModelPublished) == []
    assert bench.deliver(event)
    assert versions(client, bench) == ["1"]
    [run] = runs(client, bench, "training")
    assert run.info.status == "FINISHED"
    [published] = bench.emitted(ModelPublished)
    assert (published.decision, published.alias) == ("first_champion", "champion")
    assert published.run_id == run.info.run_id
    for name in published.metrics:
        assert len(client.get_metric_history(run.info.run_id, name)) == 1


def test_a_crash_while_the_dataset_is_built_leaves_one_run(bench, client, small):
    event = bench.event(bench.snapshot(small, JANUARY))
    with patch.object(handlers, "keep_dataset", side_effect=Crash), pytest.raises(Crash):
        bench.deliver(event)
    assert bench.emitted(DatasetReady) == []
    assert bench.deliver(event)
    assert len(runs(client, bench, "datasets")) == 1
    assert len(bench.emitted(DatasetReady)) == 1


def test_a_crash_after_the_alias_was_set_keeps_the_champion_that_was_compared_with(
    bench, client, ready
):
    of_model(bench, C=0.00001)
    assert bench.train(ready).decision == "first_champion"
    of_model(bench, C=1.0)
    event = bench.event(ready)
    with patch.object(handlers, "keep_promotion", side_effect=Crash), pytest.raises(Crash):
        bench.deliver(event)
    assert bench.registry.holder(bench.model, "champion").version == "2"
    assert bench.deliver(event)
    published = bench.emitted(ModelPublished)[-1]
    assert published.decision == "beats_champion"
    with bench.engine.connect() as connection:
        row = (
            connection.execute(select(promotions).where(promotions.c.event_id == event.id))
            .mappings()
            .one()
        )
    assert (row["model_version"], row["champion_version"]) == ("2", "1")
    assert row["champion_score"] < row["score"]


def test_a_decision_is_made_anew_where_a_person_changed_the_champion_meanwhile(bench, ready):
    of_model(bench, C=0.00001)
    bench.train(ready)
    of_model(bench, C=0.00002)
    bench.train(ready)
    of_model(bench, C=1.0)
    event = bench.event(ready)
    with patch.object(Registry, "assign", side_effect=Crash), pytest.raises(Crash):
        bench.deliver(event)
    roll_back(bench.engine, bench.registry, bench.model, by="somebody")
    assert bench.deliver(event)
    with bench.engine.connect() as connection:
        row = (
            connection.execute(select(promotions).where(promotions.c.event_id == event.id))
            .mappings()
            .one()
        )
    assert (row["champion_version"], row["decision"]) == ("1", "beats_champion")


def test_a_version_that_was_rolled_back_before_its_decision_was_recorded_stays_so(bench, ready):
    of_model(bench, C=0.00001)
    bench.train(ready)
    of_model(bench, C=1.0)
    event = bench.event(ready)
    with patch.object(handlers, "keep_promotion", side_effect=Crash), pytest.raises(Crash):
        bench.deliver(event)
    assert bench.registry.holder(bench.model, "champion").version == "2"
    roll_back(bench.engine, bench.registry, bench.model, by="a person")
    assert bench.deliver(event)
    assert bench.emitted(ModelPublished)[-1].decision == "withdrawn"
    assert bench.registry.holder(bench.model, "champion").version == "1"


def roll_back_by_hand(bench):
    roll_back(bench.engine, bench.registry, bench.model, by="a person")


def promote_the_first_by_hand(bench):
    promote(bench.engine, bench.registry, bench.model, "1", by="a person")


@pytest.mark.parametrize("is_logged_first", [False, True])
@pytest.mark.parametrize("word", [roll_back_by_hand, promote_the_first_by_hand])
def test_a_delivery_that_another_one_overtook_leaves_a_persons_word_about_the_champion(
    bench, ready, word, is_logged_first
):
    """As where a rebalance gives an event to a second member while the first one fits."""
    of_model(bench, C=0.00001)
    bench.train(ready)
    of_model(bench, C=1.0)
    event = bench.event(ready)
    record = Tracking.record

    def overtaken(tracking, run):
        own = record(tracking, run) if is_logged_first else None
        with patch.object(Tracking, "record", record):
            assert bench.deliver(event)
        word(bench)
        return own or record(tracking, run)

    with patch.object(Tracking, "record", overtaken):
        assert not bench.deliver(event)
    assert bench.registry.holder(bench.model, "champion").version == "1"
    decided = [published.decision for published in bench.emitted(ModelPublished)]
    assert decided[:2] == ["first_champion", "beats_champion"]
    assert len(decided) == 3


def test_a_replay_makes_its_own_run_with_the_same_metrics_and_no_version(bench, client, ready):
    first, second = bench.train(ready), bench.train(ready)
    assert first.run_id != second.run_id
    assert first.metrics == second.metrics
    assert versions(client, bench) == ["1"]
    one, two = (client.get_run(run).data.metrics for run in (first.run_id, second.run_id))
    assert one == two == first.metrics


def test_a_worse_version_becomes_challenger_and_a_better_one_champion(bench, ready):
    of_model(bench, C=0.001)
    first = bench.train(ready)
    of_model(bench, C=0.00001)
    worse = bench.train(ready)
    assert (worse.decision, worse.alias, worse.promoted) == ("not_better", "challenger", False)
    assert bench.registry.holder(bench.model, "champion").version == first.model_version
    of_model(bench, C=1.0)
    better = bench.train(ready)
    assert (better.decision, better.alias) == ("beats_champion", "champion")
    assert bench.registry.holder(bench.model, "champion").version == better.model_version
    assert bench.registry.holder(bench.model, "challenger").version == worse.model_version
    of_model(bench, C=0.001)
    again = bench.train(ready)
    assert (again.model_version, again.alias, again.promoted) == ("1", None, False)


def test_a_version_of_earlier_data_is_not_promoted(bench, months, small):
    of_model(bench, C=0.00001)
    february = {**small, "labels": months["month_000"]["labels"].slice(0, 2000)}
    bench.train(bench.build(bench.snapshot(february, FEBRUARY)))
    of_model(bench, C=1.0)
    earlier = bench.train(bench.build(bench.snapshot(small, JANUARY)))
    assert earlier.decision == "older_than_champion"
    assert earlier.alias == "challenger"


def test_a_champion_that_needs_other_features_waits_for_a_person(bench, small, ready):
    first = bench.train(ready)
    bench.change_spec(lambda spec: spec["training"]["features"].pop("support_agg_90d"))
    second = bench.train(bench.build(bench.snapshot(small, JANUARY)))
    assert second.decision == "champion_not_comparable"
    assert "support_agg_90d.support_tickets_90d" in second.reason
    assert bench.registry.holder(bench.model, "champion").version == first.model_version
    promote(bench.engine, bench.registry, bench.model, second.model_version, by="a person")
    assert bench.registry.holder(bench.model, "champion").version == second.model_version


def test_a_champion_that_knows_fewer_features_is_compared(bench, small):
    kept = {}
    bench.change_spec(
        lambda spec: kept.update(gone=spec["training"]["features"].pop("support_agg_90d"))
    )
    bench.train(bench.build(bench.snapshot(small, JANUARY)))
    bench.change_spec(
        lambda spec: spec["training"]["features"].update(support_agg_90d=kept["gone"])
    )
    second = bench.train(bench.build(bench.snapshot(small, JANUARY)))
    assert second.decision in {"beats_champion", "not_better"}


def test_a_champion_that_may_have_seen_the_test_rows_is_not_compared(bench, small, ready):
    bench.train(ready)
    bench.change_spec(lambda spec: spec["training"]["split"].update(salt="another"))
    second = bench.train(bench.build(bench.snapshot(small, JANUARY)))
    assert second.decision == "champion_not_comparable"
    assert "the split has changed" in second.reason


def test_a_rollback_is_recorded_published_and_not_undone_by_a_replay(bench, client, ready):
    of_model(bench, C=0.00001)
    first = bench.train(ready)
    of_model(bench, C=1.0)
    second = bench.train(ready)
    assert second.decision == "beats_champion"
    published = roll_back(bench.engine, bench.registry, bench.model, by="a person", reason="odd")
    assert published.model_version == first.model_version
    assert published.decision == "rolled_back"
    assert published == bench.emitted(ModelPublished)[-1]
    assert bench.registry.holder(bench.model, "champion").version == first.model_version
    replayed = bench.train(ready)
    assert replayed.model_version == second.model_version
    assert (replayed.decision, replayed.alias) == ("withdrawn", None)
    with pytest.raises(InconsistentState, match="no champion before"):
        roll_back(bench.engine, bench.registry, bench.model, by="a person")
    promote(bench.engine, bench.registry, bench.model, second.model_version, by="a person")
    assert bench.train(ready).decision == "already_champion"
    with bench.engine.connect() as connection:
        sources = set(connection.execute(select(outbox.c.source)).scalars())
    assert sources == {"trainer"}


def test_a_rollback_that_failed_half_way_is_completed_by_calling_it_again(bench, ready):
    of_model(bench, C=0.00001)
    bench.train(ready)
    of_model(bench, C=1.0)
    bench.train(ready)
    original = Registry.assign

    def crash(*args):
        original(*args)
        raise Crash

    with patch.object(Registry, "assign", crash), pytest.raises(Crash):
        roll_back(bench.engine, bench.registry, bench.model, by="a person")
    before = bench.count(promotions)
    published = roll_back(bench.engine, bench.registry, bench.model, by="a person")
    assert published.model_version == "1"
    assert bench.registry.holder(bench.model, "champion").version == "1"
    assert bench.count(promotions) == before + 1


def test_the_registered_model_answers_by_its_signature(bench, client, ready, mlflow_uri):
    published = bench.train(ready)
    version = client.get_model_version_by_alias(bench.model, "champion")
    assert version.run_id == published.run_id
    location = client.get_logged_model(version.source.removeprefix("models:/")).artifact_location
    path = mlflow.artifacts.download_artifacts(artifact_uri=location, tracking_uri=mlflow_uri)
    model = mlflow.pyfunc.load_model(path)
    assert model.metadata.get_input_schema().input_names()[0] == "users.signup_date"
    example = model.input_example
    assert example.shape == (3, len(example.columns))
    manifest = DatasetManifest.from_bytes(
        bench.store.get_bytes(ObjectUri.parse(ready.manifest_uri)), uri=ready.manifest_uri
    )
    rows = model_inputs(read_part(bench.store, manifest.test), manifest.features)
    rows.columns = rows.columns.astype(object)
    assert set(model.predict(rows.head(50)).tolist()) <= {True, False}


def test_a_run_shows_its_data_by_address_and_digest_and_its_pictures(bench, client, ready):
    bench.train(ready)
    [built], [trained] = runs(client, bench, "datasets"), runs(client, bench, "training")
    manifest = DatasetManifest.from_bytes(
        bench.store.get_bytes(ObjectUri.parse(ready.manifest_uri)), uri=ready.manifest_uri
    )
    for run in (built, trained):
        sources = {use.dataset.name: use.dataset for use in run.inputs.dataset_inputs}
        train = sources[f"{bench.spec.dataset}.train"]
        assert ready.train_uri in train.source
        assert manifest.train.sha256.startswith(train.digest)
        assert run.data.tags["headrace.load_id"] == ready.load_id
    plots = {item.path for item in client.list_artifacts(built.info.run_id, "plots")}
    assert plots == {f"plots/class_distribution_{name}.png" for name in ("before", "after", "test")}
    assert {item.path for item in client.list_artifacts(trained.info.run_id)} >= {
        "plots",
        "feature_importances.json",
    }
    assert len(client.list_artifacts(trained.info.run_id, "plots")) == 4


def test_an_mlflow_that_is_away_is_worth_another_try(bench, small):
    event = bench.event(bench.snapshot(small, JANUARY))
    away = Trainer(
        bench.directory, bench.store, Tracking("http://127.0.0.1:9"), Registry("http://127.0.0.1:9")
    )
    with pytest.raises(ServerUnavailable, match="MLflow"):
        away.on_snapshotted(event, bench.unit(event))
    assert bench.deliver(event)


def test_nothing_is_built_or_fitted_while_mlflow_is_away(bench, small, ready):
    bench.trainer = replace(
        bench.trainer, tracking=Tracking("http://127.0.0.1:9"), computing=Mock(spec=InProcess)
    )
    for payload in (bench.snapshot(small, JANUARY), ready):
        with pytest.raises(ServerUnavailable, match="MLflow"):
            bench.deliver(bench.event(payload))
    assert bench.trainer.computing.mock_calls == []


def test_unknown_parameters_are_named_before_anything_is_written(bench, client, ready):
    of_model(bench, trees=5)
    with pytest.raises(InvalidSpec, match="trees"):
        bench.deliver(bench.event(ready))
    assert versions(client, bench) == []


def test_a_dataset_without_training_is_done_without_an_event(bench, small):
    payload = bench.snapshot(small, JANUARY)
    bench.change_spec(lambda spec: spec.update(training=None, drift=None))
    event = bench.event(payload)
    assert bench.deliver(event)
    assert not bench.deliver(event)
    assert bench.count(outbox) == 0


def test_a_champion_whose_file_is_gone_waits_for_a_person(bench, client, ready):
    of_model(bench, C=0.00001)
    bench.train(ready)
    champion = client.get_model_version_by_alias(bench.model, "champion")
    client.delete_logged_model(champion.source.removeprefix("models:/"))
    of_model(bench, C=1.0)
    second = bench.train(ready)
    assert (second.decision, second.alias) == ("champion_not_comparable", "challenger")
    assert "deleted" in second.reason


def test_a_store_that_fails_while_the_champion_is_read_is_no_verdict_on_it(bench, ready):
    of_model(bench, C=0.00001)
    bench.train(ready)
    of_model(bench, C=1.0)
    event = bench.event(ready)
    failing = MlflowException("the following failures occurred")
    with (
        patch("mlflow.artifacts.download_artifacts", side_effect=failing),
        pytest.raises(ServerUnavailable),
    ):
        bench.deliver(event)
    assert bench.deliver(event)
    assert bench.emitted(ModelPublished)[-1].decision == "beats_champion"


def test_files_that_are_not_those_of_the_event_are_refused(bench, small, ready):
    payload = bench.snapshot(small, JANUARY)
    with pytest.raises(InconsistentState, match="its event says"):
        bench.deliver(bench.event(payload.model_copy(update={"manifest_sha256": "0" * 64})))
    with pytest.raises(InconsistentState, match="the event says"):
        bench.deliver(bench.event(ready.model_copy(update={"dataset_version": "0" * 64})))
    bench.overwrite(ready.test_uri, b"PAR1")
    with pytest.raises(InconsistentState, match="its manifest says"):
        bench.deliver(bench.event(ready))
