"""What is asked for every event must not read whole control tables: they grow with every slice."""

from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text

from benchmarks.control_tables import SPEC, fill
from services.trainer.records import decisions, kept_digest, latest_promotion
from services.validator.profiles import previous_profiles
from services.validator.turn import _earlier
from shared.contracts.spec_file import read_spec
from shared.database.overview_queries import (
    CHAMPION,
    CLASSES,
    COUNTS,
    HISTORY,
    LAST_LOAD,
    ROWS,
    WITHDRAWN,
)
from shared.load_requests import next_slice

SLICES, DATASETS = 10_000, 20
OF_ONE_DATASET = SLICES // DATASETS
DATASET, LAST = "d00019", f"load-{SLICES - 1}"
READ = text("SELECT relname, seq_tup_read FROM pg_stat_xact_user_tables WHERE seq_tup_read > 0")


@pytest.fixture
def filled(engine: Engine) -> Engine:
    fill(engine, SLICES, DATASETS)
    return engine


def asked_for(spec_folder: Path) -> dict[str, Callable[[Connection], object]]:
    path = spec_folder / f"{DATASET}.yaml"
    path.write_text(SPEC.format(name=DATASET))
    spec, model = read_spec(path), f"{DATASET}_model"
    day = date(2001, 5, 14)
    many = {"datasets": [f"d{number:05d}" for number in range(DATASETS)]}
    return {
        "next slice": lambda c: next_slice(c, spec),
        "turn": lambda c: _earlier(c, LAST),
        "profiles": lambda c: previous_profiles(c, ["t1", "t2"], DATASET, "2001-05-14", day),
        "decisions": lambda c: decisions(c, model),
        "promotion": lambda c: latest_promotion(c, model, "500"),
        "digest": lambda c: kept_digest(c, model, "500"),
        "history": lambda c: c.execute(text(HISTORY), {"dataset": DATASET}).all(),
        "rows": lambda c: c.execute(text(ROWS), many).all(),
        "classes": lambda c: c.execute(text(CLASSES), many).all(),
        "last load": lambda c: c.execute(text(LAST_LOAD), many).all(),
        "champion": lambda c: c.execute(text(CHAMPION), many).all(),
        "counts": lambda c: c.execute(text(COUNTS), many).all(),
        "withdrawn": lambda c: c.execute(text(WITHDRAWN), many).all(),
    }


def test_no_question_of_an_event_or_about_one_dataset_reads_a_whole_table(
    filled: Engine, tmp_path: Path
) -> None:
    read = {}
    with filled.connect() as connection:
        for name, ask in asked_for(tmp_path).items():
            before = rows_scanned(connection)
            ask(connection)
            read[name] = rows_scanned(connection) - before
    assert {name: +tables for name, tables in read.items() if +tables} == {}


def rows_scanned(connection: Connection) -> Counter[str]:
    """How many rows this transaction has read by going through whole tables."""
    return Counter({row.relname: row.seq_tup_read for row in connection.execute(READ)})


def test_each_question_still_has_its_answer(filled: Engine, tmp_path: Path) -> None:
    asked = asked_for(tmp_path)
    with filled.connect() as connection:
        assert asked["next slice"](connection) == "2001-05-15", "500 days after the first"
        assert asked["turn"](connection) is None
        profiles = asked["profiles"](connection)
        assert {name: profile.rows for name, profile in profiles.items()} == {
            "t1": 6000,
            "t2": 6000,
        }
        assert len(asked["decisions"](connection)) == OF_ONE_DATASET
        assert len(asked["history"](connection)) == OF_ONE_DATASET
        assert asked["promotion"](connection)["load_id"] == LAST
        (champion,) = [row for row in asked["champion"](connection) if row.dataset == DATASET]
        assert champion.model_version == "496", "every fifth was promoted"
        (load,) = [row for row in asked["last load"](connection) if row.dataset == DATASET]
        assert load.load_id == LAST
        for name in ("rows", "classes", "counts"):
            assert len(asked[name](connection)) == DATASETS
