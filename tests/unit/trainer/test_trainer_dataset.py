from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.trainer.training_dataset.classes import NotTrainable
from services.trainer.training_dataset.contents import build, describe
from services.trainer.training_dataset.side_file import write_side
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


@pytest.fixture
def made(spec, tmp_path):
    """Builds a dataset; gives it, its manifest and its files' contents by URI."""

    def make(read):
        built = build(spec, spec.training, AS_OF, read)
        place = "s3://datasets/club"
        manifest, files = describe(spec, spec.training, AS_OF, built, place, tmp_path)
        return built, manifest, {uri: path.read_bytes() for uri, path in files.items()}

    return make


def test_the_same_rows_in_another_order_give_the_same_bytes(made, reader):
    tables = club()
    shuffled = {name: rows[::-1][7:] + rows[::-1][:7] for name, rows in tables.items()}
    assert shuffled != tables
    _, one, files = made(reader(tables))
    _, other, other_files = made(reader(shuffled))
    assert one == other
    assert one.to_bytes() == other.to_bytes()
    assert files == other_files


def test_a_changed_value_gives_another_version(made, reader):
    tables = club()
    _, before, _ = made(reader(tables))
    tables["habits"][3]["hours"] += 0.5
    _, after, _ = made(reader(tables))
    assert before.dataset_version != after.dataset_version


def test_the_place_of_the_files_is_no_part_of_the_version(spec, reader, tmp_path):
    built = build(spec, spec.training, AS_OF, reader(club()))
    here, _ = describe(spec, spec.training, AS_OF, built, "s3://here/club", tmp_path)
    there, _ = describe(spec, spec.training, AS_OF, built, "s3://there/club", tmp_path)
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


def test_every_feature_and_the_target_stand_in_the_files_as_declared(made, reader):
    built, manifest, files = made(reader(club()))
    read = pq.read_table(pa.BufferReader(files[manifest.train.uri]))
    assert read.equals(built.train)
    assert read.column_names == [
        "id",
        *(field.name for field in manifest.features),
        "labels.left",
    ]
    assert manifest.classes == ("false", "true")
    assert DatasetManifest.from_bytes(manifest.to_bytes(), uri="x") == manifest


def test_a_file_does_not_depend_on_how_its_table_is_chunked(tmp_path):
    whole = pa.table({"a": list(range(100)), "b": ["x"] * 100})
    pieces = pa.concat_tables([whole.slice(0, 33), whole.slice(33)])
    one, other = tmp_path / "one.parquet", tmp_path / "other.parquet"
    written = write_side([whole], whole.schema, one)
    assert written.sha256 == write_side([pieces], whole.schema, other).sha256
    assert one.read_bytes() == other.read_bytes()


def test_a_side_without_a_class_is_named(spec, reader):
    tables = club()
    for row in tables["labels"]:
        row["left"] = row["id"] == "p000"
    with pytest.raises(NotTrainable, match="side has no row of the class true"):
        build(spec, spec.training, AS_OF, reader(tables))


def targeting(spec, table, column):
    target = spec.training.target.model_copy(update={"table": table, "column": column})
    return spec.training.model_copy(update={"target": target})


def test_a_rare_class_on_one_side_only_is_told_and_stops_nothing(spec, reader, caplog):
    tables = club()
    tables["people"][0]["town"] = "Atlantis"
    built = build(spec, targeting(spec, "people", "town"), AS_OF, reader(tables))
    counts = {side: of_side["Atlantis"] for side, of_side in built.class_counts.items()}
    assert counts["train_before"] + counts["test"] == 1
    assert (counts["train"] == 0) == (counts["test"] == 1)
    assert "side has no row of the class Atlantis" in caplog.text
    assert set(built.class_counts["train"]) == {"Atlantis", "Bonn", "Ulm"}


def test_classes_that_are_all_on_one_side_only_can_not_be_learned(spec, reader):
    with pytest.raises(NotTrainable, match="fewer than two classes have rows on both sides"):
        build(spec, targeting(spec, "habits", "visits"), AS_OF, reader(club()))


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
