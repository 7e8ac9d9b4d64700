"""A file of rows in, a file of answers out: the same answers as at training, or a clear refusal."""

import csv
import json
import tracemalloc
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.evaluation.measures import evaluate
from services.trainer.modelling.fit import fit
from services.trainer.modelling.frame import model_inputs, model_target
from services.trainer.prediction import csv_file
from services.trainer.prediction.answers import Predictor, Unanswerable
from services.trainer.prediction.csv_file import predict_file
from services.trainer.training_dataset.contents import build, describe
from shared.contracts.dataset_spec import DatasetSpec
from shared.reading.casting import typed_column

AS_OF = date(2024, 3, 31)
SIZE = 120
HEADER = ["id", "joined", "seen", "town", "pays", "visits", "hours"]


def club_rows() -> list[dict]:
    return [
        {
            "id": f"p{number:03d}",
            "joined": date(2024, 1, 1 + number % 28),
            "seen": datetime(2024, 3, 30, 12, number % 60, tzinfo=UTC),
            "town": ["Ulm", "Bonn", None, 'Halle, "Saale"\nOst'][number % 4],
            "pays": [True, False, None][number % 3],
            "visits": number % 17 if number % 11 else None,
            "hours": number / 7,
        }
        for number in range(SIZE)
    ]


def as_text(row: dict) -> list[str]:
    return [
        "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)
        for value in (row[name] for name in HEADER)
    ]


@pytest.fixture
def trained(spec, reader, tmp_path):
    """The predictor, the test side as it was trained with, and the answers then."""
    rows = club_rows()
    people, habits = HEADER[:5], ["id", *HEADER[5:]]
    tables = {
        "people": [{name: row[name] for name in people} for row in rows],
        "habits": [{name: row[name] for name in habits} for row in rows],
        "labels": [{"id": row["id"], "left": n % 17 > 9} for n, row in enumerate(rows)],
    }
    built = build(spec, spec.training, AS_OF, reader(tables))
    (tmp_path / "built").mkdir()
    manifest, _ = describe(
        spec, spec.training, AS_OF, built, "s3://datasets/club", tmp_path / "built"
    )
    inputs = model_inputs(built.train, manifest.features)
    model = fit(
        spec.training.model, manifest.features, inputs, model_target(built.train[manifest.target])
    )
    target = model_target(built.test[manifest.target])
    then = evaluate(model, model_inputs(built.test, manifest.features), target)
    return Predictor("club_left", "7", model, spec, manifest), built.test["id"].to_pylist(), then


@pytest.fixture
def ask(trained, tmp_path):
    """Predicts the rows of a CSV text; gives the answers as rows."""

    def run(
        text: str | bytes, predictor: Predictor | None = None, as_of: date = AS_OF
    ) -> list[dict[str, str]]:
        source, target = tmp_path / "in.csv", tmp_path / "out.csv"
        source.write_bytes(text if isinstance(text, bytes) else text.encode())
        count = predict_file(
            predictor or trained[0],
            source,
            target,
            as_of=as_of,
            type_texts=partial(typed_column, may_have_nul=False),
            longest_field=1 << 16,
        )
        with target.open(encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file))
        assert len(found) == count
        return found

    return run


def csv_text(rows: list[list[str]], header: list[str] = HEADER, delimiter: str = ",") -> str:
    class Lines(list):
        write = list.append

    lines = Lines()
    writer = csv.writer(lines, delimiter=delimiter, lineterminator="\n")
    writer.writerows([header, *rows])
    return "".join(lines)


def all_rows() -> list[list[str]]:
    return [as_text(row) for row in club_rows()]


def test_the_test_sides_raw_rows_get_the_answers_of_training(trained, ask):
    _, keys, then = trained
    wanted = {
        key: (str(label).lower(), f"{probability:.6f}")
        for key, label, probability in zip(
            keys, then.predicted.tolist(), then.scores.max(axis=1), strict=True
        )
    }
    found = ask(csv_text([row for row in all_rows() if row[0] in wanted]))
    assert {row["id"]: (row["predicted"], row["confidence"]) for row in found} == wanted
    assert {row["model_version"] for row in found} == {"7"}
    assert {answer for answer, _ in wanted.values()} == {"true", "false"}


def test_another_date_is_another_age_and_other_answers(ask):
    later = ask(csv_text(all_rows()), as_of=date(2034, 3, 31))
    assert [row["confidence"] for row in later] != [
        row["confidence"] for row in ask(csv_text(all_rows()))
    ]


@settings(max_examples=15)
@given(order=st.permutations(HEADER), batch=st.integers(7, 150), delimiter=st.sampled_from(",;\t|"))
def test_neither_the_columns_order_nor_the_batches_nor_the_delimiter_change_an_answer(
    order, batch, delimiter, trained, ask
):
    rows = [dict(zip(HEADER, row, strict=True)) for row in all_rows()]
    text = csv_text([[row[name] for name in order] for row in rows], list(order), delimiter)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_file, "BATCH_ROWS", batch)
        found = ask(text)
    assert found == ask(csv_text(all_rows()))
    assert [row["id"] for row in found] == [row["id"] for row in rows]


def test_the_row_number_and_the_entity_are_passed_on_and_other_columns_are_not(ask):
    header = ["", *HEADER, "note"]
    found = ask(csv_text([[str(900 + n), *row, "x"] for n, row in enumerate(all_rows())], header))
    assert list(found[0]) == ["", "id", "predicted", "confidence", "model_version"]
    assert [(row[""], row["id"]) for row in found[:2]] == [("900", "p000"), ("901", "p001")]


def test_a_byte_order_mark_blank_lines_and_a_missing_last_line_end_do_no_harm(ask):
    plain = csv_text(all_rows())
    untidy = plain.replace("p001", "\n\np001", 1).rstrip("\n")
    assert ask(b"\xef\xbb\xbf" + untidy.encode()) == ask(plain)


def test_a_header_alone_gives_a_header_alone(ask, tmp_path):
    assert ask(csv_text([])) == []
    said = (tmp_path / "out.csv").read_text()
    assert said == "id,predicted,confidence,model_version\n"


def with_value(number: int, column: str, value: str) -> str:
    rows = all_rows()
    rows[number][HEADER.index(column)] = value
    return csv_text(rows)


LINES = [0]
"""Where record n begins: the header is line 1, and some towns have a line end in them."""
for _row in club_rows():
    LINES.append(LINES[-1] + 1 + str(_row["town"]).count("\n"))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("joined", "31.12.2024", "is not a date"),
        ("seen", "noon", "is not a timestamp"),
        ("pays", "perhaps", "is not a boolean"),
        ("visits", "1.5", "is not an integer"),
        ("visits", "99999999999999999999", "is out of range"),
        ("hours", "1,5", "is not a number"),
        ("hours", "inf", "is not finite"),
    ],
)
def test_a_value_of_another_type_is_named_with_record_line_and_column(ask, column, value, said):
    number = 57
    with pytest.raises(Unanswerable) as refused:
        ask(with_value(number, column, value))
    message = str(refused.value)
    assert f"record {number + 1}, line {LINES[number] + 2}: column {column!r}: {value!r}" in message
    assert said in message
    assert "correct it" in message


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: "", "without even a header"),
        (lambda text: text.replace("visits", "visit", 1), "lacks visits"),
        (lambda text: text.replace("id,", "key,", 1), "add the column 'id'"),
        (lambda text: text.replace("hours", "visits", 1), "is there 2 times"),
        (lambda text: text.replace("p002,", "p002,extra,", 1), "record 3, which ends in line 4"),
        (lambda text: text.replace(',"Halle', ',"Halle" x', 1), "record 4, which begins in line 5"),
        (lambda text: text + '"never closed', "is a quote not closed"),
        (lambda text: text + '"' + "x" * (1 << 17), "is a quote not closed"),
        (lambda text: text.replace("Bonn", "Köln").encode("cp1252"), "save the file as UTF-8"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_what_to_do(ask, spoil, said):
    with pytest.raises(Unanswerable, match=said):
        ask(spoil(csv_text(all_rows())))


def test_a_refusal_leaves_what_was_there_and_no_half_file(ask, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_file, "BATCH_ROWS", 10)
    (tmp_path / "out.csv").write_text("of yesterday\n")
    with pytest.raises(Unanswerable):
        ask(with_value(SIZE - 1, "hours", "many"))
    assert (tmp_path / "out.csv").read_text() == "of yesterday\n"
    assert {path.name for path in tmp_path.iterdir()} == {"built", "in.csv", "out.csv"}


def test_a_file_is_never_written_over_itself_and_a_missing_one_is_named(trained, tmp_path):
    source = tmp_path / "in.csv"
    asked = partial(
        predict_file, trained[0], as_of=AS_OF, type_texts=typed_column, longest_field=100
    )
    with pytest.raises(Unanswerable, match="can't be read: No such file"):
        asked(source, tmp_path / "out.csv")
    source.write_text(csv_text(all_rows()))
    with pytest.raises(Unanswerable, match="name another one"):
        asked(source, source)
    with pytest.raises(Unanswerable, match="can't be written: No such file"):
        asked(source, tmp_path / "nowhere" / "out.csv")
    assert source.read_text() == csv_text(all_rows())


def renamed(spec: DatasetSpec, change) -> DatasetSpec:
    declared = json.loads(spec.model_dump_json())
    change(declared)
    return DatasetSpec.model_validate(declared)


def test_the_specs_header_and_the_columns_own_name_are_both_understood(trained, ask):
    def change(declared):
        declared["tables"]["habits"]["columns"]["visits"]["header"] = "Number of visits"

    predictor = trained[0]
    other = Predictor(
        predictor.model,
        predictor.version,
        predictor.pipeline,
        renamed(predictor.spec, change),
        predictor.manifest,
    )
    plain = csv_text(all_rows())
    for name in ("visits", "Number of visits", "habits.visits", "habits.Number of visits"):
        assert ask(plain.replace("visits", name, 1), other) == ask(plain)
    with pytest.raises(Unanswerable, match="lacks Number of visits"):
        ask(plain.replace("visits", "calls", 1), other)


def test_a_name_that_two_tables_have_needs_its_table(spec, reader, tmp_path, ask):
    def change(declared):
        columns = declared["tables"]["habits"]["columns"]
        columns["town"] = {"type": "string"}
        declared["training"]["features"]["habits"].append("town")

    twice = renamed(spec, change)
    rows = club_rows()
    tables = {
        "people": [{name: row[name] for name in HEADER[:5]} for row in rows],
        "habits": [
            {"id": r["id"], "visits": r["visits"], "hours": r["hours"], "town": "Ulm"} for r in rows
        ],
        "labels": [{"id": row["id"], "left": n % 17 > 9} for n, row in enumerate(rows)],
    }
    built = build(twice, twice.training, AS_OF, reader_of(twice, tables))
    manifest, _ = describe(twice, twice.training, AS_OF, built, "s3://d/club", tmp_path)
    model = fit(
        twice.training.model,
        manifest.features,
        model_inputs(built.train, manifest.features),
        model_target(built.train[manifest.target]),
    )
    predictor = Predictor("club_left", "1", model, twice, manifest)
    text = csv_text([[*row, "Ulm"] for row in all_rows()], [*HEADER, "habits.town"])
    with pytest.raises(Unanswerable, match=r"lacks people\.town"):
        ask(text, predictor)
    found = ask(text.replace("town", "people.town", 1), predictor)
    assert len(found) == SIZE


def reader_of(spec, tables):
    from shared.arrow_types import ARROW_TYPES

    def read(table, columns):
        schema = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in columns.items()])
        return pa.Table.from_pylist(tables[table], schema=schema)

    return read


def test_a_text_alone_needs_a_model_that_reads_text(trained):
    with pytest.raises(Unanswerable, match="reads no text: ask it with --file"):
        trained[0].answer_text("hello", AS_OF)


def test_memory_does_not_grow_with_the_file(trained, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(csv_file, "BATCH_ROWS", 600)
    peaks = []
    for copies in (10, 40):
        source = tmp_path / f"{copies}.csv"
        source.write_text(csv_text(all_rows() * copies))
        tracemalloc.start()
        rows = predict_file(
            trained[0],
            source,
            tmp_path / "out.csv",
            as_of=AS_OF,
            type_texts=partial(typed_column, may_have_nul=False),
            longest_field=1 << 16,
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert rows == SIZE * copies
    assert peaks[1] < 1.2 * peaks[0]
