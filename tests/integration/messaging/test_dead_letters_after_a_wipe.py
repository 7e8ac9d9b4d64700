"""A broker that was wiped counts from offset 0 again: no record may be taken for an old one."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine, select

from shared.clock import utc_now
from shared.contracts.envelope import Record
from shared.database.tables import dead_letters
from shared.errors import UndecodableEvent
from shared.messaging.dead_letters import bury, redrive

POISON = Record("load-requested", 0, 5, b"d", {"ce_id": "first"}, b"{")


@pytest.fixture
def buried(engine: Engine):
    def bury_one(record: Record, reason: str = "no event") -> bool:
        with engine.begin() as connection:
            return bury(
                connection,
                service="ingestor",
                record=record,
                event=None,
                stage=None,
                error=UndecodableEvent(reason),
                attempts=1,
                clock=utc_now,
            )

    return bury_one


def letters(engine: Engine) -> list[tuple[str | None, str, bool]]:
    query = select(dead_letters).order_by(dead_letters.c.dead_letter_id)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return [(row.event_id, row.reason, row.redriven_at is None) for row in rows]


def test_a_record_delivered_twice_is_one_dead_letter(engine: Engine, buried) -> None:
    assert buried(POISON)
    assert not buried(POISON)
    assert letters(engine) == [("first", "no event", True)]


@pytest.mark.parametrize(
    "other", [{"headers": {"ce_id": "second"}}, {"value": b"["}, {"key": b"e"}]
)
def test_another_record_at_the_place_of_an_old_one_is_kept_too(
    engine: Engine, buried, other: dict
) -> None:
    assert buried(POISON)
    assert buried(replace(POISON, **other))
    assert len(letters(engine)) == 2


def test_a_redriven_record_that_fails_at_its_old_place_is_a_dead_letter_again(
    engine: Engine, buried
) -> None:
    buried(POISON)
    redrive(engine, 1, lambda record: None)
    assert letters(engine) == [("first", "no event", False)]

    assert buried(POISON, "still none")
    assert letters(engine) == [("first", "still none", True)]
