from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.trainer.dataset import NotTrainable, build, describe, parquet_bytes
from shared.contracts.manifest import DatasetManifest
from shared.errors import InconsistentState, PermanentError

AS_OF = date(2024, 3, 31)


def club(size: int = 60) -> dict[str, list[dict]]:
    people = [
        {
            "id": f"p{number:03d}",
            "joined": date(2024, 1, 1 + number % 28),
            "seen": datetime(2024, 3, 30, 12, number % 60, tzinfo=UTC),
            "town": ["Ulm", "Bonn", None][number % 3],
            "pays": [True, False, None, True][number % 4],
        }
        for number in range(size)
    ]
    return {
        "people": people,
        "habits": [
            {"id": p["id"], "visits": number, "hours": number / 7}
            for number, p in enumerate(people)
        ],
        "labels": [{"id": p["id"], "left": number % 5 == 0} for number, p in enumerate(people)],
    }


def made(spec, read):
    built = build(spec, spec.training, AS_OF, read)
    return built, *describe(spec, spec.training, AS_OF, built, "s3://datasets/club")


def test_the_same_rows_in_another_order_give_the_same_bytes(spec, reader):
    tables = club()
    shuffled = {name: rows[::-1][7:] + rows[::-1][:7] for name, rows in tables.items()}
    assert shuffled != tables
    _, one, files = made(spec, reader(tables))
    _, other, other_files = made(spec, reader(shuffled))
    assert one == other
    assert one.to_bytes() == other.to_bytes()
    assert files == other_files


def test_a_changed_value_gives_another_version(spec, reader):
    tables = club()
    _, before, _ = made(spec, reader(tables))
    tables["habits"][3]["hours"] += 0.5
    _, after, _ = made(spec, reader(tables))
    assert before.dataset_version != after.dataset_version


def test_the_place_of_the_files_is_no_part_of_the_version(spec, reader):
    built = build(spec, spec.training, AS_OF, reader(club()))
    here, _ = describe(spec, spec.training, AS_OF, built, "s3://here/club")
    there, _ = describe(spec, spec.training, AS_OF, built, "s3://there/club")
    assert here.dataset_version == there.dataset_version


def test_only_the_training_side_is_balanced_and_no_entity_is_on_both(spec, reader):
    built = build(spec, spec.training, AS_OF, reader(club()))
    counts = built.class_counts
    assert len(set(counts["train"].values())) == 1
    assert len(set(counts["train_before"].values())) == 2
    test_keys, train_keys = built.test["id"].to_pylist(), built.train["id"].to_pylist()
    assert len(test_keys) == len(set(test_keys))
    assert not set(test_keys) & set(train_keys)
    assert len(set(test_keys) | set(train_keys)) == 60
    assert test_keys == sorted(test_keys)
    assert train_keys == sorted(train_keys)
    for name in ("false", "true"):
        assert (
            counts["test"][name] + counts["train_before"][name] == {"false": 48, "true": 12}[name]
        )


def test_rows_without_a_label_are_left_out_and_counted(spec, reader):
    tables = club()
    tables["labels"][1]["left"] = None
    del tables["labels"][2]
    built = build(spec, spec.training, AS_OF, reader(tables))
    assert built.unlabelled == 2
    keys = {*built.test["id"].to_pylist(), *built.train["id"].to_pylist()}
    assert keys == {row["id"] for row in tables["people"]} - {"p001", "p002"}


def test_an_entity_without_features_stays_with_nulls(spec, reader):
    tables = club()
    tables["habits"] = [row for row in tables["habits"] if row["id"] != "p004"]
    built = build(spec, spec.training, AS_OF, reader(tables))
    rows = {row["id"]: row for row in pa.concat_tables([built.train, built.test]).to_pylist()}
    assert rows["p004"]["habits.visits"] is None
    assert rows["p004"]["people.town"] == "Bonn"


def test_dates_and_times_become_their_age_in_days(spec, reader):
    built = build(spec, spec.training, AS_OF, reader(club()))
    rows = {row["id"]: row for row in pa.concat_tables([built.train, built.test]).to_pylist()}
    assert rows["p000"]["people.joined"] == 90.0
    assert rows["p000"]["people.seen"] == 0.5


def test_every_feature_and_the_target_stand_in_the_files_as_declared(spec, reader):
    built, manifest, files = made(spec, reader(club()))
    read = pq.read_table(pa.BufferReader(files[manifest.train.uri]))
    assert read.equals(built.train)
    assert read.column_names == [
        "id",
        *(field.name for field in manifest.features),
        "labels.left",
    ]
    assert manifest.classes == ("false", "true")
    assert DatasetManifest.from_bytes(manifest.to_bytes(), uri="x") == manifest


def test_parquet_bytes_do_not_depend_on_how_a_table_is_chunked():
    whole = pa.table({"a": list(range(100)), "b": ["x"] * 100})
    pieces = pa.concat_tables([whole.slice(0, 33), whole.slice(33)])
    assert parquet_bytes(whole) == parquet_bytes(pieces)


def test_a_side_without_a_class_is_named(spec, reader):
    tables = club()
    for row in tables["labels"]:
        row["left"] = row["id"] == "p000"
    with pytest.raises(NotTrainable, match="side has no row of the class true"):
        build(spec, spec.training, AS_OF, reader(tables))


def test_one_class_or_no_row_is_too_little(spec, reader):
    tables = club()
    for row in tables["labels"]:
        row["left"] = False
    with pytest.raises(NotTrainable, match="every labelled row has the class 'false'"):
        build(spec, spec.training, AS_OF, reader(tables))
    tables["labels"] = []
    with pytest.raises(NotTrainable, match="no labelled rows"):
        build(spec, spec.training, AS_OF, reader(tables))


def test_an_entity_that_is_there_twice_is_refused(spec, reader):
    tables = club()
    tables["habits"].append(tables["habits"][0])
    with pytest.raises(InconsistentState, match="twice in habits"):
        build(spec, spec.training, AS_OF, reader(tables))


def test_a_number_is_no_class(spec, reader):
    training = spec.training.model_copy(
        update={
            "target": spec.training.target.model_copy(update={"table": "habits", "column": "hours"})
        }
    )
    with pytest.raises(PermanentError, match="hours is a number"):
        build(spec, training, AS_OF, reader(club()))
