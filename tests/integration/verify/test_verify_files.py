"""`headrace verify` reads every object that it speaks of: one byte more is a difference."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.verify.audit import CHECKS
from cli.verify.findings import Finding
from cli.verify.ground import Ground
from cli.verify.mlflow_rest import MlflowRest
from infra.embedded.environment import given_variables
from shared.object_store import ObjectStore, ObjectUri
from tests.integration.verify.conftest import Stored, World

Change = Callable[[pa.Table], pa.Table]


@contextmanager
def overwritten(store: ObjectStore, uri: str, data: bytes) -> Iterator[None]:
    """Another content for the time of a block."""
    place = ObjectUri.parse(uri)
    before = store.get_bytes(place)
    store.put_bytes(place, data, content_type="application/octet-stream")
    try:
        yield
    finally:
        store.put_bytes(place, before, content_type="application/octet-stream")


@contextmanager
def removed(store: ObjectStore, uri: str) -> Iterator[None]:
    """No such object for the time of a block."""
    place = ObjectUri.parse(uri)
    before = store.get_bytes(place)
    store.delete([place])
    try:
        yield
    finally:
        store.put_bytes(place, before, content_type="application/octet-stream")


def read(store: ObjectStore, uri: str) -> bytes:
    return store.get_bytes(ObjectUri.parse(uri))


def newest(stored: Stored, column: str, table: str) -> str:
    order = {"snapshots": "known_at", "training_datasets": "created_at"}[table]
    return str(
        stored.scalar(f"SELECT {column} FROM headrace.{table} ORDER BY {order} DESC LIMIT 1")
    )


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def described(part: dict[str, Any], data: bytes, rows: int) -> dict[str, Any]:
    return {
        "uri": part["uri"],
        "rows": rows,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def test_a_byte_of_a_landing_copy_is_found(stored: Stored) -> None:
    copy = stored.scalar("SELECT landing_uri FROM headrace.loads WHERE slice_key = 'day_01'")
    uri = f"{copy}/people.csv"
    with overwritten(stored.store, uri, read(stored.store, uri) + b"p901,2023-01-15,a,\n"):
        (said,) = stored.found("landing")
    assert copy in said
    assert "SHA-256 of its content" in said


def test_a_file_that_is_gone_from_a_landing_copy_is_found(stored: Stored) -> None:
    copy = stored.scalar("SELECT landing_uri FROM headrace.loads WHERE slice_key = 'day_01'")
    with removed(stored.store, f"{copy}/labels.csv"):
        (said,) = stored.found("landing")
        assert copy in said
        with removed(stored.store, f"{copy}/people.csv"):
            (said,) = stored.found("landing")
    assert "its files" in said
    stored.sql("UPDATE headrace.loads SET landing_pruned_at = now() WHERE slice_key = 'day_01'")
    assert stored.found("landing") == [], "it was removed on purpose"


def test_a_byte_of_a_picture_is_found(stored: Stored) -> None:
    uri = stored.scalar("SELECT uri FROM headrace.images WHERE row_key = 'p020'")
    with overwritten(stored.store, uri, b"another"):
        (said,) = stored.found("landing")
    assert uri in said
    assert "SHA-256" in said


def test_a_copy_of_an_earlier_spec_that_named_files_otherwise_is_told(stored: Stored) -> None:
    stored.sql("""UPDATE headrace.datasets SET spec_digest = 'another',
        spec = jsonb_set(spec, '{tables,people,file}', '"persons.csv"')""")
    finding = Finding("landing", most=20)
    CHECKS["landing"](Ground.of(stored.settings, stored.engine, None), finding)
    assert finding.differences == []
    assert len(finding.told) == finding.looked_at["landing copies"]


def test_a_byte_of_a_snapshots_file_is_found(stored: Stored) -> None:
    manifest = json.loads(read(stored.store, newest(stored, "manifest_uri", "snapshots")))
    uri = manifest["tables"]["people"]["parts"][0]["uri"]
    data = bytearray(read(stored.store, uri))
    data[100] ^= 1
    with overwritten(stored.store, uri, bytes(data)):
        (said,) = stored.found("snapshots")
    assert uri in said
    assert "SHA-256" in said


def test_a_manifest_that_says_something_else_is_found(stored: Stored) -> None:
    uri = newest(stored, "manifest_uri", "snapshots")
    data = read(stored.store, uri).replace(b'"rows": 8', b'"rows": 9')
    with overwritten(stored.store, uri, data):
        (said,) = stored.found("snapshots")
    assert uri in said


def test_rows_that_the_history_does_not_know_are_found_though_every_digest_fits(
    stored: Stored,
) -> None:
    uri = newest(stored, "manifest_uri", "snapshots")
    manifest = json.loads(read(stored.store, uri))
    (part,) = manifest["tables"]["labels"]["parts"]
    rows = pq.read_table(pa.BufferReader(read(stored.store, part["uri"])))
    watched = pc.if_else(pc.equal(rows["id"], "p020"), 1234.5, rows["watched"])
    data = parquet(rows.set_column(2, rows.schema.field("watched"), watched))
    manifest["tables"]["labels"]["parts"] = [described(part, data, rows.num_rows)]
    said = json.dumps(manifest).encode()
    digest = hashlib.sha256(said).hexdigest()
    stored.sql(
        "UPDATE headrace.snapshots SET manifest_sha256 = :s, "
        "tables = jsonb_set(tables, '{labels,bytes}', to_jsonb(:b)) WHERE manifest_uri = :u",
        s=digest,
        b=len(data),
        u=uri,
    )
    with overwritten(stored.store, part["uri"], data), overwritten(stored.store, uri, said):
        (difference,) = stored.found("snapshots")
    assert "id 'p020'" in difference
    assert "watched 1234.5" in difference


def test_an_object_that_is_gone_is_found(stored: Stored) -> None:
    uri = newest(stored, "manifest_uri", "snapshots")
    stored.sql("UPDATE headrace.snapshots SET manifest_uri = manifest_uri || 'x'")
    assert len(stored.found("snapshots")) == 3
    assert f"{uri}x" in "".join(stored.found("snapshots"))


def test_a_byte_of_a_side_is_found(stored: Stored) -> None:
    uri = newest(stored, "test_uri", "training_datasets")
    data = bytearray(read(stored.store, uri))
    data[50] ^= 1
    with overwritten(stored.store, uri, bytes(data)):
        (said,) = stored.found("datasets")
    assert uri in said


def _leak(sides: dict[str, pa.Table]) -> dict[str, pa.Table]:
    return {**sides, "test": pa.concat_tables([sides["test"], sides["train"].slice(0, 1)])}


def _balanced_test(sides: dict[str, pa.Table]) -> dict[str, pa.Table]:
    return {**sides, "test": pa.concat_tables([sides["test"], sides["test"].slice(0, 2)])}


def _lost(sides: dict[str, pa.Table]) -> dict[str, pa.Table]:
    return {**sides, "test": sides["test"].slice(1)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_leak, ("side of the key", "sides of the key")),
        (_balanced_test, ("rows of the key", "rows by class")),
        (_lost, ("label in its snapshot",)),
    ],
    ids=["a key on both sides", "a balanced test side", "a row that is lost"],
)
def test_sides_that_break_a_promise_are_found_though_every_digest_fits(
    stored: Stored, change: Callable[[dict[str, pa.Table]], dict[str, pa.Table]], said: tuple[str]
) -> None:
    uri = newest(stored, "manifest_uri", "training_datasets")
    manifest = json.loads(read(stored.store, uri))
    sides = {
        side: pq.read_table(pa.BufferReader(read(stored.store, manifest[side]["uri"])))
        for side in ("train", "test")
    }
    changed = {side: parquet(table) for side, table in change(sides).items()}
    for side, data in changed.items():
        rows = pq.read_metadata(pa.BufferReader(data)).num_rows
        manifest[side] = described(manifest[side], data, rows)
    old, new = manifest["dataset_version"], _version(manifest)
    manifest["dataset_version"] = new
    stored.sql(
        "UPDATE headrace.training_datasets SET dataset_version = :new, test_rows = :rows, "
        "train_rows = :train WHERE dataset_version = :old",
        new=new,
        old=old,
        rows=manifest["test"]["rows"],
        train=manifest["train"]["rows"],
    )
    with (
        overwritten(stored.store, manifest["train"]["uri"], changed["train"]),
        overwritten(stored.store, manifest["test"]["uri"], changed["test"]),
        overwritten(stored.store, uri, json.dumps(manifest).encode()),
    ):
        differences = stored.found("datasets")
    for words in said:
        assert any(words in each for each in differences), differences


def _version(manifest: dict[str, Any]) -> str:
    names = ("dataset", "as_of", "entity", "target", "classes", "features", "split", "balance")
    identity = {
        "format": 1,
        "files": {side: manifest[side]["sha256"] for side in ("train", "test")},
        **{name: manifest[name] for name in (*names, "class_counts")},
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize("alias", ["champion", "challenger"])
def test_an_alias_that_somebody_moved_is_found(stored: Stored, mlflow_uri: str, alias: str) -> None:
    with MlflowRest(mlflow_uri) as mlflow:
        holder = mlflow.holder("streams_model", alias)
    other = next(v for v in "123" if v != holder)
    _set_alias(mlflow_uri, alias, other)
    try:
        (said,) = stored.found("models")
    finally:
        _set_alias(mlflow_uri, alias, holder)
    assert f"alias {alias}" in said
    assert f"expected {holder or 'nothing'}, found {other}" in said


def _set_alias(mlflow_uri: str, alias: str, version: str | None) -> None:
    said = {"name": "streams_model", "alias": alias}
    httpx.request(
        "DELETE" if version is None else "POST",
        f"{mlflow_uri}/api/2.0/mlflow/registered-models/alias",
        json=said if version is None else {**said, "version": version},
        trust_env=False,
    ).raise_for_status()


def test_a_model_file_that_somebody_changed_is_found(stored: Stored, mlflow_uri: str) -> None:
    with MlflowRest(mlflow_uri) as mlflow:
        version = next(v for v in mlflow.versions("streams_model") if v.version == "1")
        place = mlflow.artifact_place(version.source.removeprefix("models:/"))
        assert place is not None
        before = b"".join(mlflow.artifact(place, "model.skops"))
    address = place.replace("mlflow-artifacts:", f"{mlflow_uri}/api/2.0/mlflow-artifacts/artifacts")
    put = {"url": f"{address}/model.skops", "trust_env": False}
    httpx.put(**put, content=before + b"x").raise_for_status()
    try:
        (said,) = stored.found("models")
    finally:
        httpx.put(**put, content=before).raise_for_status()
    assert "streams_model version 1: SHA-256 of model.skops" in said


def test_a_second_version_of_one_training_is_found(stored: Stored, mlflow_uri: str) -> None:
    with MlflowRest(mlflow_uri) as mlflow:
        version = next(v for v in mlflow.versions("streams_model") if v.version == "1")
    tags = [{"key": key, "value": value} for key, value in version.tags.items()]
    made = httpx.post(
        f"{mlflow_uri}/api/2.0/mlflow/model-versions/create",
        json={
            "name": "streams_model",
            "source": version.source,
            "model_id": version.source.removeprefix("models:/"),
            "tags": tags,
        },
        trust_env=False,
    )
    number = made.raise_for_status().json()["model_version"]["version"]
    try:
        said = " ".join(stored.found("models"))
    finally:
        httpx.request(
            "DELETE",
            f"{mlflow_uri}/api/2.0/mlflow/model-versions/delete",
            json={"name": "streams_model", "version": number},
            trust_env=False,
        ).raise_for_status()
    assert "versions of the training" in said
    assert f"version {number}: a decision" in said


def test_the_command_ends_with_what_it_found(
    stored: Stored, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given_variables(stored.settings).items():
        monkeypatch.setenv(name, value)
    root = ["--root", str(world.folder / "no stack")]
    runner = CliRunner()

    clean = runner.invoke(app, ["verify", "streams", *root])
    assert clean.exit_code == 0, clean.output
    assert "no differences" in clean.output
    assert [line.split()[0] for line in clean.output.splitlines()[:3]] == [
        "rows",
        "slices",
        "events",
    ]

    stored.sql("UPDATE streams.people SET plan = 'z' WHERE id = 'p010'")
    told = runner.invoke(app, ["verify", *root])
    assert told.exit_code == 1
    assert "streams.people, id 'p010'" in told.output
    assert "plan 'z'" in told.output
    facts = json.loads(runner.invoke(app, ["verify", "--json", *root]).output)
    assert facts["differences"] >= 1
    assert {each["check"] for each in facts["checks"]} >= {"current", "models"}

    assert runner.invoke(app, ["verify", "nothing", *root]).exit_code == 2


@pytest.mark.parametrize(
    ("variable", "address", "said"),
    [
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:9", "no differences in what could be seen"),
        ("S3_ENDPOINT_URL", "http://127.0.0.1:9", "the audit came to no end"),
        ("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/no", "the audit came to no end"),
    ],
)
def test_the_command_does_not_call_well_what_it_could_not_see(
    stored: Stored,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    address: str,
    said: str,
) -> None:
    for name, value in given_variables(stored.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(variable, address)
    words = ["verify", "streams", "--root", str(world.folder / "no stack")]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 3, found.output
    assert said in found.output
    assert "no differences\n" not in found.output
