"""Models fitted on a cluster: the same as elsewhere, also when a worker is killed in mid-fit."""

import hashlib
import io
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dask_processes import DaskProcesses

from services.trainer.cluster.on_cluster import OnCluster
from services.trainer.cluster.session import Cluster
from services.trainer.cluster.versions import OtherVersion, running
from services.trainer.computing import Computing, Fitted
from services.trainer.in_process import InProcess
from services.trainer.modelling.fit import UnfitModel
from services.trainer.prediction.answers import rows_of
from services.trainer.prediction.serving import champion
from shared.contracts.manifest import DatasetManifest, FeatureField, FilePart
from shared.contracts.table_spec import ColumnType
from shared.contracts.training_spec import Balance, Split, Training
from shared.database.tables import promotions, training_datasets
from shared.errors import InconsistentState, ServerUnavailable
from shared.messaging.retry import Route, route_of
from shared.object_store import Bucket, ObjectStore
from shared.readiness import Readiness
from shared.settings import Settings
from tests.waiting import wait_until

JANUARY = date(2024, 1, 31)
GROUP_ROWS = 500


@pytest.fixture(scope="module")
def shared_store(servers: Settings) -> ObjectStore:
    found = ObjectStore(servers.model_copy(update={"bucket_prefix": "dask-models-"}))
    found.create_buckets()
    return found


@pytest.fixture(scope="module")
def dask(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    """A scheduler and two workers that nobody harms."""
    processes = DaskProcesses(tmp_path_factory.mktemp("dask"), servers)
    try:
        processes.start_scheduler()
        processes.start_worker()
        processes.start_worker()
        yield processes
    finally:
        processes.stop()


@pytest.fixture
def fragile(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    """A scheduler and two workers of which the test may kill some."""
    processes = DaskProcesses(tmp_path_factory.mktemp("dask"), servers)
    try:
        processes.start_scheduler()
        processes.start_worker()
        processes.start_worker()
        yield processes
    finally:
        processes.stop()


def training(kind: str, **parameters: Any) -> Training:
    return Training.model_validate(
        {
            "entity": "id",
            "target": {"table": "t", "column": "class"},
            "features": {"t": ["size", "width", "town", "pays"]},
            "model": {"name": "m", "kind": kind, "parameters": parameters, "seed": 5},
        }
    )


@pytest.fixture(scope="module")
def stored(shared_store: ObjectStore) -> DatasetManifest:
    """A dataset of small row groups, with classes that are texts and values missing."""
    random = np.random.default_rng(4)
    size = 6 * GROUP_ROWS + 77
    number, width = random.normal(size=size), random.normal(size=size)
    town = random.integers(0, 5, size)
    places = ((number > 0).astype(int) + (town % 2)) % 3
    rows = pa.table(
        {
            "id": [f"e{place:06d}" for place in range(size)],
            "t.size": pa.array(number, mask=random.random(size) < 0.05),
            "t.width": pa.array(width),
            "t.town": pa.array(np.array(["Ulm", "Bonn", "Köln", "", "Aachen"])[town].tolist()),
            "t.pays": pa.array(random.random(size) < 0.5, mask=random.random(size) < 0.1),
            "t.class": pa.array(np.array(["a", "b", "c"])[places].tolist()),
        }
    )
    parts = {}
    for side, of in (
        ("train", rows.slice(0, 5 * GROUP_ROWS)),
        ("test", rows.slice(5 * GROUP_ROWS)),
    ):
        sink = io.BytesIO()
        pq.write_table(of, sink, row_group_size=GROUP_ROWS)
        data, uri = sink.getvalue(), shared_store.uri(Bucket.DATASETS, f"made/{side}.parquet")
        shared_store.put_bytes(uri, data, content_type="application/vnd.apache.parquet")
        sha256 = hashlib.sha256(data).hexdigest()
        parts[side] = FilePart(uri=str(uri), rows=of.num_rows, bytes=len(data), sha256=sha256)
    kinds = {
        "size": ColumnType.NUMBER,
        "width": ColumnType.NUMBER,
        "town": ColumnType.STRING,
        "pays": ColumnType.BOOLEAN,
    }
    counts = {name: int((places[: 5 * GROUP_ROWS] == n).sum()) for n, name in enumerate("abc")}
    return DatasetManifest(
        dataset="made",
        dataset_version="1" * 64,
        as_of=JANUARY,
        entity="id",
        target="t.class",
        classes=("a", "b", "c"),
        features=tuple(
            FeatureField(name=f"t.{name}", table="t", column=name, kind=kind)
            for name, kind in kinds.items()
        ),
        split=Split(),
        balance=Balance(),
        class_counts={"train": counts, "train_before": counts, "test": counts},
        **parts,
    )


def on(processes: DaskProcesses, store: ObjectStore, rank_rows: int = 10**6) -> OnCluster:
    return OnCluster(store, processes.cluster(), partition_rows=400, rank_rows=rank_rows)


def asked(computing: Computing, what: Training, manifest: DatasetManifest) -> tuple[Any, ...]:
    """What comes of a fit: the trees, the scores of the test rows, the metrics."""
    with computing.fit(what, manifest) as fitted:
        return outcome(fitted)


def outcome(fitted: Fitted) -> tuple[Any, ...]:
    measured = fitted.test.measure(fitted.model)
    trees = fitted.model[-1].raw() if hasattr(fitted.model[-1], "raw") else None
    return trees, measured.scores.tolist(), measured.metrics, measured.truth.tolist()


@pytest.mark.parametrize(
    "what",
    [
        training("random_forest", n_estimators=12),
        training("logistic_regression"),
        training("xgboost", n_estimators=8),
    ],
    ids=lambda what: what.model.kind,
)
def test_a_model_of_the_cluster_is_that_of_the_process(dask, shared_store, stored, what):
    here = asked(InProcess(shared_store), what, stored)
    there = asked(on(dask, shared_store), what, stored)
    assert there == here
    assert here[2]["accuracy"] > 0.8


def test_ranks_give_the_same_trees_on_any_number_of_workers(dask, shared_store, stored, servers):
    what = training("xgboost", n_estimators=8)
    on_two = asked(on(dask, shared_store, rank_rows=800), what, stored)
    with on(dask, shared_store, rank_rows=800).fit(what, stored) as fitted:
        assert fitted.facts == {"ranks": 4}
        assert outcome(fitted) == on_two
    lonely = DaskProcesses(dask.folder.parent / "lonely", servers)
    lonely.folder.mkdir()
    try:
        lonely.start_scheduler()
        lonely.start_worker()
        assert asked(on(lonely, shared_store, rank_rows=800), what, stored) == on_two
    finally:
        lonely.stop()
    assert on_two[2]["accuracy"] > 0.8


def test_the_signature_says_what_may_be_missing_anywhere(dask, shared_store, stored):
    what = training("xgboost", n_estimators=2)
    with on(dask, shared_store).fit(what, stored) as there:
        missing = there.inputs.isna().any()
    with InProcess(shared_store).fit(what, stored) as here:
        assert missing.to_dict() == here.inputs.isna().any().to_dict()
        assert there.inputs.dtypes.to_dict() == here.inputs.dtypes.to_dict()
        assert there.schema.equals(here.schema)


def test_a_value_that_xgboost_refuses_is_the_specs_fault_there_too(dask, shared_store, stored):
    with pytest.raises(UnfitModel, match="max_depth"):
        asked(on(dask, shared_store), training("xgboost", max_depth=-2), stored)


def test_a_training_side_that_was_changed_is_not_fitted_on(dask, shared_store, stored):
    wrong = stored.model_copy(
        update={"train": stored.train.model_copy(update={"sha256": "0" * 64})}
    )
    with pytest.raises(InconsistentState, match="its manifest says 000"):
        asked(on(dask, shared_store), training("xgboost"), wrong)


class _Beside(threading.Thread):
    """Work in a thread of its own, with its outcome or error."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work, self.found, self.error = work, None, None
        self.start()

    def run(self) -> None:
        try:
            self.found = self._work()
        except BaseException as error:
            self.error = error

    def outcome(self, seconds: float = 240) -> Any:
        self.join(seconds)
        assert not self.is_alive(), "it hangs"
        if self.error:
            raise self.error
        return self.found


def in_mid_fit(processes: DaskProcesses, store: ObjectStore, what: str) -> None:
    """Return when each of the workers is at a task of that name."""
    from distributed import Client

    with Client(processes.address, set_as_default=False, timeout=60) as client:

        def busy() -> bool:
            running = client.processing()
            return all(any(what in str(key) for key in of) for of in running.values())

        wait_until(busy, seconds=120, what=f"the workers are at {what}")


def test_a_worker_killed_in_mid_fit_of_xgboost_costs_time_and_nothing_else(
    fragile, shared_store, stored, caplog
):
    what = training("xgboost", n_estimators=150)
    computing = on(fragile, shared_store, rank_rows=800)
    expected = asked(computing, what, stored)
    fit = _Beside(lambda: asked(computing, what, stored))
    in_mid_fit(fragile, shared_store, "fit_ranks")
    with caplog.at_level(logging.WARNING):
        fragile.kill(fragile.workers[0])
        assert fit.outcome() == expected
    assert "the fit begins again" in caplog.text


def test_a_worker_killed_in_mid_fit_of_a_forest_costs_time_and_nothing_else(
    fragile, shared_store, stored
):
    what = training("random_forest", n_estimators=400, min_samples_leaf=5)
    expected = asked(InProcess(shared_store), what, stored)
    fit = _Beside(lambda: asked(on(fragile, shared_store), what, stored))
    in_mid_fit(fragile, shared_store, "_parallel_build_trees")
    fragile.kill(fragile.workers[1])
    assert fit.outcome() == expected


def of_kind(bench: Any, kind: str, parameters: dict[str, Any]) -> None:
    def change(declared: dict[str, Any]) -> None:
        declared["training"]["model"] |= {"kind": kind, "parameters": parameters}
        declared["training"]["minimum"] = 0.5

    bench.change_spec(change)


def test_an_event_whose_worker_is_killed_has_one_dataset_one_version_and_one_champion(
    fragile, bench, small
):
    """From the snapshot to the champion: a worker dies in building, the other one goes on."""
    of_kind(bench, "xgboost", {"n_estimators": 300})
    snapshot = bench.snapshot(small, JANUARY)
    expected = bench.build(snapshot)
    here = bench.trainer
    bench.trainer = replace(here, computing=on(fragile, bench.store))

    build = _Beside(lambda: bench.build(snapshot))
    in_mid_fit(fragile, bench.store, "join_range")
    fragile.kill(fragile.workers[0])
    ready = build.outcome()
    assert ready.dataset_version == expected.dataset_version
    assert bench.count(training_datasets) == 1

    fragile.start_worker()
    fit = _Beside(lambda: bench.train(ready))
    # Few rows are one rank: it is on one of the workers, and that one dies.
    from distributed import Client

    with Client(fragile.address, set_as_default=False, timeout=60) as client:

        def at_work() -> list[str]:
            found = client.processing()
            return [at for at, of in found.items() if any("fit_ranks" in str(key) for key in of)]

        [place] = wait_until(at_work, seconds=120, what="a worker fits")
        [pid] = [info for at, info in client.run(os.getpid).items() if at == place]
    [process] = [worker for worker in fragile.workers if worker.pid == pid]
    fragile.kill(process)
    published = fit.outcome()
    assert (published.model_version, published.decision) == ("1", "first_champion")
    assert bench.count(promotions) == 1
    again = replace(bench.event(ready))
    bench.trainer = here
    assert bench.deliver(again)
    version = bench.registry.holder(bench.model, "champion")
    assert version.version == "1", "the same training in process is the same version"
    asked = champion(bench.engine, bench.store, bench.registry, bench.directory, snapshot.dataset)
    answers = asked.answer(rows_of(asked.features, {}, 3), JANUARY)
    assert len(answers.predicted) == len(answers.confidence) == 3


def test_a_cluster_that_is_away_is_waited_for_and_named(fragile, shared_store, stored):
    computing = on(fragile, shared_store)
    readiness = {"dask": fragile.cluster().check}
    assert Readiness(readiness).faults() == {}
    for worker in fragile.workers:
        fragile.kill(worker)
    faults = wait_until(lambda: Readiness(readiness).faults(), what="the loss is seen")
    assert "has no worker" in faults["dask"]
    fragile.kill(fragile.scheduler)
    quick = Cluster(fragile.address, timeout_seconds=3)
    assert "the Dask cluster does not answer" in Readiness({"dask": quick.check}).faults()["dask"]
    with pytest.raises(ServerUnavailable) as raised:
        asked(replace(computing, cluster=quick), training("logistic_regression"), stored)
    assert route_of(raised.value) is Route.TRANSIENT
    fragile.start_scheduler()
    fragile.start_worker()
    assert Readiness(readiness).faults() == {}
    assert asked(computing, training("logistic_regression"), stored)[2]["accuracy"] > 0.7


def test_a_worker_of_another_commit_is_not_worked_with(fragile, shared_store, stored, monkeypatch):
    fragile.start_worker(GIT_COMMIT="b" * 40)
    monkeypatch.setenv("GIT_COMMIT", "a" * 40)
    running.cache_clear()
    try:
        with pytest.raises(OtherVersion, match=f"runs commit {'b' * 40} in place of {'a' * 40}"):
            asked(on(fragile, shared_store), training("xgboost"), stored)
        assert route_of(OtherVersion("…")) is Route.TRANSIENT
    finally:
        running.cache_clear()
