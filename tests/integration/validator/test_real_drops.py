"""The real Streamflow drops, as far as the validator sees them."""

import time

import pytest
from sqlalchemy import text

from services.validator.integrity import foreign_keys
from services.validator.profiles import profile
from services.validator.suites import Suites
from shared.contracts.spec_file import read_spec
from shared.database.dataset_tables import (
    create_staging,
    ensure_dataset,
    quoted,
    staging_schema,
    staging_table,
)
from tests.conftest import REPOSITORY

LOAD = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def spec():
    return read_spec(REPOSITORY / "datasets" / "streamflow.yaml")


@pytest.fixture
def staged(spec, engine, drops):
    """January in staging, by plain COPY; the staging tables' names by table."""
    names = {table: staging_table(table, LOAD) for table in spec.tables}
    with engine.begin() as connection:
        ensure_dataset(connection, spec)
        for table, name in names.items():
            for statement in create_staging(spec, table, LOAD):
                connection.execute(text(statement))
            target = quoted(staging_schema("streamflow"), name)
            default = "ALTER COLUMN record_number SET DEFAULT 0"
            connection.execute(text(f"ALTER TABLE {target} {default}"))
            with (drops / "month_000" / f"{table}.csv").open() as file:
                columns = file.readline().strip()
                copy = f"COPY {target} ({columns}) FROM STDIN WITH (FORMAT csv)"
                connection.connection.cursor().copy_expert(copy, file)
    return names


def audit(engine, spec, staged):
    suites = Suites(engine, failing_keys_kept=20)
    results = []
    with engine.connect() as connection:
        for table, name in staged.items():
            rows = profile(connection, spec, table, name).rows
            results += suites.run(spec, table, name, rows)
            results += foreign_keys(connection, spec, table, staged, 20)
    return results


def test_january_meets_every_expectation_in_little_time(engine, spec, staged):
    audit(engine, spec, staged)
    begun = time.process_time()  # of ours alone: the machine may be busy
    results = audit(engine, spec, staged)
    seconds = time.process_time() - begun
    assert len(results) == 15
    assert [result for result in results if not result.success] == []
    assert {r.element_count for r in results if r.expectation.startswith("expect")} == {7043}
    assert seconds < 1


def test_a_negative_watch_time_and_an_unknown_user_are_named(engine, spec, staged):
    usage = quoted(staging_schema("streamflow"), staged["usage_agg_30d"])
    labels = quoted(staging_schema("streamflow"), staged["labels"])
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE {usage} SET watch_hours_30d = -1 WHERE user_id = '7590-VHVEG'")
        )
        connection.execute(
            text(f"INSERT INTO {labels} (user_id, churn_label) VALUES ('ZZZZ-NOONE', true)")
        )
    failed = [result for result in audit(engine, spec, staged) if not result.success]
    assert [result.message for result in failed] == [
        "usage_agg_30d.watch_hours_30d: 1 of 7,043 values is not at least 0 and at most 720: "
        "-1 at 7590-VHVEG",
        "labels.user_id: 1 value is no key of users: 'ZZZZ-NOONE'",
    ]
    assert [result.failing_keys for result in failed] == [
        ({"user_id": "7590-VHVEG", "watch_hours_30d": -1.0},),
        ({"user_id": "ZZZZ-NOONE"},),
    ]
