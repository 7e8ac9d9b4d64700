"""Files of every kind: what is loaded is what an independent reading says, the rest is named."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from sqlalchemy import Engine

from shared.object_store import ObjectStore
from shared.reading.quarantine import Quarantine, SliceFault
from shared.reading.records import RecordReader
from shared.reading.typed_rows import typed_rows
from shared.settings import Settings
from tests.chaos.auditing import assert_well
from tests.chaos.csv_files import CsvFile, csv_files
from tests.chaos.csv_oracle import Expected, Refused, expected, without_duplicates
from tests.chaos.size import size
from tests.integration.ingestor.conftest import Shop

READ = 20_000 if size().is_full else 500
LOADED = 1_500 if size().is_full else 40
BLOCK_BYTES = 4096
"""Of the reader, so that files of some kilobytes have several."""
TOO_LONG = ("unreadable_file", "broken_quoting")
"""Why a record larger than a block is refused: the latter where the file has quotes."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("read")


def read(folder: Path, file: CsvFile) -> Expected:
    """What the ingestor makes of the file, without a database. Raises `SliceFault`."""
    path = folder / "spooled"
    path.write_bytes(file.content)
    quarantine = Quarantine("things", 1000)
    reader = RecordReader(file.name, path, file.table, quarantine, BLOCK_BYTES)
    found = Expected()
    for batch in reader.batches():
        for row in typed_rows(batch, file.table, quarantine, 0).to_pylist():
            found.rows[row.pop("record_number")] = row
    found.bad.update({row.record_number: (row.column, row.code) for row in quarantine.rows})
    assert len(found.rows) + quarantine.count == reader.records
    return found


class Tally:
    """What became of the files that were tried."""

    def __init__(self) -> None:
        self.tried = self.refused = self.loaded = self.rows = self.bad = 0

    def note(self, found: Expected | None) -> None:
        self.tried += 1
        self.refused += found is None
        self.loaded += found is not None
        if found is not None:
            self.rows += len(found.rows)
            self.bad += len(found.bad)


def is_long(said: Expected | str) -> bool:
    """Whether the file may be refused for a record's length."""
    return isinstance(said, Expected) and said.longest > BLOCK_BYTES


def said_by_the_oracle(file: CsvFile) -> Expected | str:
    """What must come of the file, or the code under which it must be refused."""
    try:
        return expected(file.plain, file.table)
    except Refused as refused:
        return refused.code


def test_what_is_read_is_what_an_independent_reading_says(
    folder: Path, figures: Callable[..., None]
) -> None:
    tally = Tally()

    @settings(max_examples=READ)
    @given(csv_files())
    def check(file: CsvFile) -> None:
        said = said_by_the_oracle(file)
        try:
            found: Expected | str = read(folder, file)
        except SliceFault as fault:
            found = fault.reason.code
        if is_long(said) and found in TOO_LONG:
            tally.note(None)
            return
        assert found == said
        tally.note(said if isinstance(said, Expected) else None)

    check()
    figures(
        "inputs: files read and read again by Python's csv",
        tried=tally.tried,
        refused=tally.refused,
        rows=tally.rows,
        quarantined=tally.bad,
    )


@pytest.fixture
def shop(
    settings: Settings,
    engine: Engine,
    store: ObjectStore,
    tmp_path: Path,
    clock: Callable[[], Any],
) -> Shop:
    (tmp_path / "datasets").mkdir()
    own = settings.model_copy(
        update={"datasets_dir": tmp_path / "datasets", "csv_block_bytes": BLOCK_BYTES}
    )
    return Shop(own, engine, store, tmp_path, clock)


def control(shop: Shop) -> dict[str, Any]:
    """How many rows the control tables have that a load changes."""
    with shop.engine.connect() as connection:
        tables = ("outbox", "quarantined_rows", "slices")
        return {
            table: connection.exec_driver_sql(f"SELECT count(*) FROM headrace.{table}").scalar()
            for table in tables
        }


def test_a_load_has_every_row_or_says_why_and_again_it_changes_nothing(
    shop: Shop, figures: Callable[..., None]
) -> None:
    tally, numbers = Tally(), itertools.count()

    @settings(max_examples=LOADED)
    @given(csv_files())
    def check(file: CsvFile) -> None:
        number = next(numbers)
        shop.spec = {
            "dataset": f"things{number}",
            "slices": {"naming": {"pattern": "{date:%Y-%m-%d}"}},
            "tables": {"things": file.fields},
        }
        said = said_by_the_oracle(file)
        outcome = shop.load({file.name: file.content}, slice_key="2024-01-31")
        if is_long(said) and outcome.status == "rejected":
            assert outcome.codes in [[code] for code in TOO_LONG]
            said = outcome.codes[0]
        if isinstance(said, str):
            assert (outcome.status, outcome.codes) == ("rejected", [said])
            assert [topic for topic, _ in outcome.events] == ["slice-rejected"]
            assert outcome.load["tables"] in (None, [])
            tally.note(None)
            return
        said = without_duplicates(said, file.table)
        assert (outcome.status, outcome.load["reasons"]) == ("loaded", None)
        staged = {row.pop("record_number"): row for row in shop.staged(outcome.load_id, "things")}
        bad = {
            row["record_number"]: (row["column_name"], row["code"]) for row in outcome.quarantined
        }
        assert Expected(staged, bad) == said
        counts = [outcome.load[f"rows_{what}"] for what in ("in", "loaded", "quarantined")]
        assert counts == [len(said.rows) + len(said.bad), len(said.rows), len(said.bad)]

        before = control(shop)
        again = shop.load({file.name: file.content}, slice_key="2024-01-31")
        assert (again.status, again.events, again.quarantined) == ("unchanged", [], [])
        assert control(shop) == before
        assert_well(shop.settings, f"things{number}")
        shop.run(f"DROP SCHEMA things{number}, things{number}_staging CASCADE")
        tally.note(said)

    check()
    figures(
        "inputs: files loaded into Postgres, each twice",
        tried=tally.tried,
        refused=tally.refused,
        rows=tally.rows,
        quarantined=tally.bad,
    )
