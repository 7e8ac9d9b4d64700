"""Two products through the same services at once, and a catalogue whose products change."""

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.sample import write_rakuten
from shared.object_store import Bucket, ObjectStore
from tests.e2e.conftest import Headrace, copy_spec
from tests.waiting import wait_until

Row = dict[str, str]


@pytest.fixture
def catalogue(tmp_path: Path, headrace: Headrace) -> Callable[[str, float], Path]:
    """Declares a dataset like rakuten under another name, and writes it a catalogue."""

    def make(dataset: str, scale: float) -> Path:
        copy_spec("rakuten", headrace.settings.datasets_dir, as_name=dataset)
        return write_rakuten(tmp_path / dataset, scale=scale, images=10, seed=5)

    return make


def stages(headrace: Headrace, load_id: str) -> list[Any]:
    return headrace.query(
        "SELECT stage, event_time, started_at, finished_at FROM headrace.stage_runs "
        "WHERE load_id = :load ORDER BY started_at",
        load=load_id,
    )


def test_a_small_products_slice_doesnt_wait_for_a_large_ones(
    headrace: Headrace, catalogue: Callable[[str, float], Path], sample_drops: Path
) -> None:
    copy_spec("streamflow", headrace.settings.datasets_dir, as_name="brook")
    large = headrace.json("load", "rakuten_wide", "--from", str(catalogue("rakuten_wide", 0.25)))

    def is_training() -> bool:
        return any(run.stage == "train" for run in stages(headrace, large["load_id"]))

    wait_until(is_training, seconds=120, what="the large product's training")
    small = headrace.json("load", "brook", "--from", str(sample_drops), "--wait")
    assert small["status"] == "published"
    assert small["model_version"]

    def both_done() -> Any:
        return headrace.query(
            "SELECT FROM headrace.promotions WHERE load_id = :load", load=large["load_id"]
        )

    wait_until(both_done, seconds=120, what="the large product's model")
    (training,) = [run for run in stages(headrace, large["load_id"]) if run.stage == "train"]
    of_small = stages(headrace, small["load_id"])
    assert [run.stage for run in of_small] == ["ingest", "validate", "snapshot", "dataset", "train"]
    overlapping = [run for run in of_small if run.started_at < training.finished_at]
    assert len(overlapping) >= 3, "the stages of the small one ran while the large one trained"
    for run in of_small:
        waited = (run.started_at - run.event_time).total_seconds()
        assert waited < 2.0, f"{run.stage} waited {waited:.1f} s"


def read(path: Path) -> tuple[list[str], list[Row]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or ()), list(reader)


def write(path: Path, header: list[str], rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(rows)


def test_a_week_with_products_that_were_there_before_updates_them_and_no_old_snapshot(
    headrace: Headrace, catalogue: Callable[[str, float], Path]
) -> None:
    folder = catalogue("rakuten_changed", 0.03)
    header, rows = read(folder / "X_train.csv")
    label_header, labels = read(folder / "Y_train.csv")
    start = len(rows) * 40 // 100
    # The first three rows of the second slice are products of the first one, in new words.
    for place in range(3):
        rows[start + place] |= {
            "productid": rows[place]["productid"],
            "imageid": rows[place]["imageid"],
            "designation": f"again, {place}",
        }
        labels[start + place]["prdtypecode"] = labels[place]["prdtypecode"]
    write(folder / "X_train.csv", header, rows)
    write(folder / "Y_train.csv", label_header, labels)

    first = headrace.json(
        "load", "rakuten_changed", "--from", str(folder), "--as-of", "2026-11-02", "--wait"
    )
    before = _snapshot(headrace, first["load_id"])
    second = headrace.json("load", "rakuten_changed", "--as-of", "2026-11-09", "--wait")

    assert second["status"] == "published"
    added = len(rows) * 43 // 100 - start
    changed = {"inserted": added - 3, "updated": 3, "unchanged": 0, "deleted": 0}
    assert second["changes"]["products"] == changed
    assert second["changes"]["labels"] == changed | {"updated": 0, "unchanged": 3}
    key = int(rows[0]["productid"])
    history = headrace.query(
        "SELECT operation, as_of::text, designation FROM rakuten_changed.products_history "
        "WHERE productid = :key ORDER BY history_id",
        key=key,
    )
    assert [tuple(row) for row in history] == [
        ("insert", "2026-11-02", rows[0]["designation"]),
        ("update", "2026-11-09", "again, 0"),
    ]
    frozen = headrace.query(
        "SELECT as_of::text, designation FROM rakuten_changed.products_snapshots "
        "WHERE productid = :key ORDER BY as_of",
        key=key,
    )
    assert [row.designation for row in frozen] == [rows[0]["designation"], "again, 0"]
    assert _snapshot(headrace, first["load_id"]) == before
    state = headrace.query("SELECT * FROM rakuten_changed.current_data_state")[0]
    assert state.total_products == start + added - 3
    assert state.percentage == 43


def _snapshot(headrace: Headrace, load_id: str) -> dict[str, str]:
    """The digests of a snapshot's objects, by name, and of what the table says of it."""
    store = ObjectStore(headrace.settings)
    (found,) = headrace.query(
        "SELECT dataset, as_of, known_at, manifest_sha256 FROM headrace.snapshots "
        "WHERE load_id = :load",
        load=load_id,
    )
    prefix = store.uri(Bucket.SNAPSHOTS, f"{found.dataset}/products/as_of={found.as_of}/")
    digests = {
        item.uri.key: hashlib.sha256(store.get_bytes(item.uri)).hexdigest()
        for item in store.list(prefix)
    }
    assert digests
    return {**digests, "manifest": found.manifest_sha256}
