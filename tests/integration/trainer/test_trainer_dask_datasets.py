"""A dataset built on a cluster is, byte for byte, the one that is built in process."""

import itertools
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from dask_processes import DaskProcesses
from frozen_tables import freeze
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.cluster.on_cluster import OnCluster
from services.trainer.in_process import InProcess
from services.trainer.training_dataset.classes import NotTrainable
from services.trainer.training_dataset.contents import describe
from shared.arrow_types import arrow_schema
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.manifest import FilePart, SnapshotManifest
from shared.errors import InconsistentState, PermanentError
from shared.object_store import ObjectStore, ObjectUri
from shared.settings import Settings

AS_OF = date(2024, 3, 31)
KEYS = {
    "string": lambda n: f"p{n * 7919 % 10_007:05d}é",
    "integer": lambda n: n * 7919 % 10_007 - 5_000,
    "date": lambda n: date(2000, 1, 1) + timedelta(days=n * 7919 % 10_007),
    "timestamp": lambda n: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=n * 7919 % 10_007),
}
SPLIT = {"test_share": 0.3, "salt": "club"}


def club_spec(key: str, target: tuple[str, str], strategy: str) -> DatasetSpec:
    return DatasetSpec.model_validate(
        {
            "dataset": "club",
            "slices": {"naming": {"pattern": "{date:%Y-%m-%d}"}},
            "tables": {
                "people": {
                    "key": ["id"],
                    "columns": {
                        "id": key,
                        "joined": "date",
                        "seen": "timestamp",
                        "town": "string",
                        "pays": "boolean",
                    },
                },
                "habits": {
                    "key": ["id"],
                    "columns": {"id": key, "visits": "integer", "hours": "number"},
                },
                "labels": {
                    "key": ["id"],
                    "columns": {"id": key, "left": "boolean", "why": "string", "level": "integer"},
                },
            },
            "training": {
                "entity": "id",
                "target": {"table": target[0], "column": target[1]},
                "features": {
                    "people": ["joined", "seen", "town", "pays"],
                    "habits": ["visits", "hours"],
                },
                "split": SPLIT,
                "balance": {"strategy": strategy, "seed": 7},
                "model": {"name": "club_left", "kind": "logistic_regression"},
            },
        }
    )


def club(spec: DatasetSpec, key: str, size: int, seed: int) -> dict[str, pa.Table]:
    """Tables that have not quite the same entities, with something missing everywhere."""
    random = np.random.default_rng(seed)
    entities = [KEYS[key](number) for number in range(size)]

    def some(share: float) -> list[Any]:
        return [entity for entity in entities if random.random() < share]

    def maybe(value: Any) -> Any:
        return None if random.random() < 0.15 else value

    rows = {
        "people": [
            {
                "id": entity,
                "joined": maybe(date(2024, 1, 1 + int(random.integers(28)))),
                "seen": maybe(
                    datetime(2024, 3, 1, tzinfo=UTC) + timedelta(hours=int(random.integers(700)))
                ),
                "town": maybe(str(random.choice(["Ulm", "Bonn", "Köln", ""]))),
                "pays": maybe(bool(random.random() < 0.4)),
            }
            for entity in some(0.9)
        ],
        "habits": [
            {
                "id": entity,
                "visits": maybe(int(random.integers(5))),
                "hours": maybe(random.normal()),
            }
            for entity in some(0.8)
        ],
        "labels": [
            {
                "id": entity,
                "left": maybe(bool(random.random() < 0.25)),
                "why": maybe(str(random.choice(["a", "b", "c", "d"], p=[0.6, 0.2, 0.15, 0.05]))),
                "level": maybe(int(random.integers(-1, 4))),
            }
            for entity in some(0.95)
        ],
    }
    return {
        name: pa.Table.from_pylist(of, schema=arrow_schema(spec.tables[name]))
        for name, of in rows.items()
    }


@pytest.fixture(scope="module")
def store(servers: Settings) -> ObjectStore:
    found = ObjectStore(servers.model_copy(update={"bucket_prefix": "dask-datasets-"}))
    found.create_buckets()
    return found


@pytest.fixture(scope="module")
def dasks(
    servers: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[int, DaskProcesses]]:
    """A cluster of one worker and one of two, by their number."""
    found = {number: DaskProcesses(tmp_path_factory.mktemp("dask"), servers) for number in (1, 2)}
    try:
        for number, processes in found.items():
            processes.start_scheduler()
            for _ in range(number):
                processes.start_worker()
        yield found
    finally:
        for processes in found.values():
            processes.stop()


@pytest.fixture
def dask(dasks: dict[int, DaskProcesses]) -> DaskProcesses:
    return dasks[2]


@pytest.fixture
def on_cluster(dask: DaskProcesses, store: ObjectStore) -> OnCluster:
    return OnCluster(store, dask.cluster(), partition_rows=40, rank_rows=1000)


_folders = itertools.count()


def made(computing: Any, spec: DatasetSpec, snapshot: SnapshotManifest, folder: Path) -> Any:
    """Manifest and bytes, or the error: whatever comes of building it."""
    assert spec.training is not None
    place = folder / str(next(_folders))
    place.mkdir()
    try:
        with computing.dataset(spec, spec.training, AS_OF, snapshot) as built:
            manifest, files = describe(spec, spec.training, AS_OF, built, "s3://d/club", place)
            return manifest, built.unlabelled, [path.read_bytes() for path in files.values()]
    except PermanentError as error:
        return type(error), str(error)


@pytest.mark.timeout(600)
@settings(max_examples=20)
@given(
    key=st.sampled_from(sorted(KEYS)),
    target=st.sampled_from([("labels", "left"), ("labels", "why"), ("labels", "level")]),
    strategy=st.sampled_from(["none", "random_oversample"]),
    size=st.integers(0, 90),
    seed=st.integers(0, 2**16),
    partition_rows=st.integers(1, 100),
    part_rows=st.integers(5, 120),
    group_rows=st.integers(2, 120),
    is_sorted=st.booleans(),
    workers=st.sampled_from([1, 2]),
)
def test_any_dataset_in_any_partitions_on_any_workers_has_the_same_bytes_and_errors(
    dasks, store, tmp_path_factory, key, target, strategy, size, seed, partition_rows, part_rows,
    group_rows, is_sorted, workers,
):  # fmt: skip
    spec = club_spec(key, target, strategy)
    tables = club(spec, key, size, seed)
    if is_sorted:
        tables = {name: rows.sort_by("id") for name, rows in tables.items()}
    snapshot = freeze(store, spec, tables, AS_OF, part_rows=part_rows, group_rows=group_rows)
    folder = tmp_path_factory.mktemp("built")
    cluster = dasks[workers].cluster()
    on_cluster = OnCluster(store, cluster, partition_rows=partition_rows, rank_rows=1)
    here = made(InProcess(store), spec, snapshot, folder)
    there = made(on_cluster, spec, snapshot, folder)
    assert there == here


def ordinary(store: ObjectStore, size: int = 200) -> tuple[DatasetSpec, SnapshotManifest]:
    spec = club_spec("string", ("labels", "left"), "random_oversample")
    tables = {name: of.sort_by("id") for name, of in club(spec, "string", size, 1).items()}
    return spec, freeze(store, spec, tables, AS_OF, part_rows=70, group_rows=20)


def test_an_entity_that_stands_twice_is_refused_as_in_process(store, on_cluster, tmp_path):
    spec = club_spec("string", ("labels", "left"), "none")
    tables = club(spec, "string", 100, 3)
    tables["habits"] = pa.concat_tables([tables["habits"], tables["habits"].slice(7, 1)])
    snapshot = freeze(store, spec, tables, AS_OF, part_rows=30, group_rows=10)
    here = made(InProcess(store), spec, snapshot, tmp_path)
    assert here == (InconsistentState, "the snapshot has a id twice in habits")
    assert made(on_cluster, spec, snapshot, tmp_path) == here


def test_a_part_that_was_changed_in_the_store_is_refused(store, on_cluster, tmp_path):
    spec, snapshot = ordinary(store)
    part = snapshot.tables["people"].parts[1]
    uri = ObjectUri.parse(part.uri)
    data = store.get_bytes(ObjectUri.parse(snapshot.tables["people"].parts[0].uri))
    store.put_bytes(uri, data, content_type="application/octet-stream")
    found, said = made(on_cluster, spec, snapshot, tmp_path)
    assert found is InconsistentState
    assert f"{part.uri} has the SHA-256" in said


def test_a_manifest_that_promises_more_rows_is_refused(store, on_cluster, tmp_path):
    spec, snapshot = ordinary(store)
    tables = dict(snapshot.tables)
    tables["habits"] = tables["habits"].model_copy(update={"rows": tables["habits"].rows + 1})
    wrong = snapshot.model_copy(update={"tables": tables})
    here = made(InProcess(store), spec, wrong, tmp_path)
    assert made(on_cluster, spec, wrong, tmp_path) == here
    assert here[0] is InconsistentState
    assert "says that habits has" in here[1]


def test_a_snapshot_without_a_column_or_a_table_is_refused(store, on_cluster, tmp_path):
    spec, snapshot = ordinary(store)
    people = snapshot.tables["people"]
    fewer = tuple(field for field in people.fields if field.name != "town")
    for changed, said in (
        ({"people": people.model_copy(update={"fields": fewer})}, "the columns town"),
        ({"people": None}, "no table 'people'"),
    ):
        tables = {**snapshot.tables, **changed}
        tables = {name: of for name, of in tables.items() if of is not None}
        wrong = snapshot.model_copy(update={"tables": tables})
        here = made(InProcess(store), spec, wrong, tmp_path)
        assert made(on_cluster, spec, wrong, tmp_path) == here
        assert said in here[1]


def test_too_little_to_learn_from_is_told_as_in_process(store, on_cluster, tmp_path):
    spec = club_spec("string", ("labels", "left"), "none")
    tables = club(spec, "string", 60, 2)
    position = tables["labels"].schema.get_field_index("left")
    all_left = pa.array([True] * tables["labels"].num_rows)
    tables["labels"] = tables["labels"].set_column(position, "left", all_left)
    snapshot = freeze(store, spec, tables, AS_OF, part_rows=30, group_rows=10)
    assert made(on_cluster, spec, snapshot, tmp_path) == (
        NotTrainable,
        "every labelled row has the class 'true'",
    )


def test_what_a_part_needs_is_not_where_the_data_or_the_credentials_can_be_read(
    store, dask, servers, tmp_path
):
    """Graphs and logs name tasks, parts and places: no key of the store, and nobody's entity."""
    spec, snapshot = ordinary(store)
    gone = snapshot.tables["habits"].parts[0]
    tables = dict(snapshot.tables)
    lost = FilePart(**{**gone.model_dump(), "uri": gone.uri + ".gone"})
    tables["habits"] = tables["habits"].model_copy(
        update={"parts": (lost, *tables["habits"].parts[1:])}
    )
    wrong = snapshot.model_copy(update={"tables": tables})
    made(OnCluster(store, dask.cluster(), partition_rows=40, rank_rows=1), spec, wrong, tmp_path)
    said = dask.said()
    assert "survey" in said, "the failed task is in the worker's log"
    assert servers.aws_secret_access_key.get_secret_value() not in said
    assert servers.aws_access_key_id.get_secret_value() not in said
    assert "é" not in said
