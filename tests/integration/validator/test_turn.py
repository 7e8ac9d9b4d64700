"""A slice is judged after the dataset's slices before it have come to their end."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, insert

from services.validator import turn
from services.validator.turn import EarlierSliceUnderWay, wait_for_turn
from shared.database.loads import set_status
from shared.database.statuses import LoadStatus
from shared.database.tables import loads
from shared.messaging.retry import Route, route_of

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)


def add_load(
    engine: Engine, name: str, status: LoadStatus, minute: int, dataset: str = "d"
) -> None:
    with engine.begin() as connection:
        connection.execute(
            insert(loads).values(
                load_id=name,
                dataset=dataset,
                slice_key=f"slice {name}",
                status=status.value,
                source_uri="/nowhere",
                requested_by="test",
                requested_at=NOON,
                started_at=NOON + timedelta(minutes=minute),
            )
        )


@pytest.mark.parametrize("status", [LoadStatus.LOADED, LoadStatus.VALIDATED])
def test_a_slice_waits_for_one_under_way_before_it_and_the_wait_is_transient(
    engine: Engine, status: LoadStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "PATIENCE_SECONDS", 0.0)
    add_load(engine, "first", status, 0)
    add_load(engine, "second", LoadStatus.LOADED, 1)

    with pytest.raises(EarlierSliceUnderWay, match=f"slice first .* still {status}") as caught:
        wait_for_turn(engine, "second")
    assert route_of(caught.value) is Route.TRANSIENT
    wait_for_turn(engine, "first")


def test_the_wait_ends_as_soon_as_the_slice_before_is_published(engine: Engine) -> None:
    add_load(engine, "first", LoadStatus.VALIDATED, 0)
    add_load(engine, "second", LoadStatus.LOADED, 1)
    waiting = threading.Thread(target=wait_for_turn, args=(engine, "second"))
    waiting.start()
    with engine.begin() as connection:
        set_status(connection, "first", LoadStatus.PUBLISHED)
    waiting.join(timeout=turn.PATIENCE_SECONDS - 1)
    assert not waiting.is_alive()


@pytest.mark.parametrize(
    "status",
    [
        LoadStatus.REJECTED,
        LoadStatus.FAILED,
        LoadStatus.UNCHANGED,
        LoadStatus.SUPERSEDED,
        LoadStatus.PUBLISHED,
    ],
)
def test_a_slice_that_came_to_its_end_holds_up_nobody(engine: Engine, status: LoadStatus) -> None:
    add_load(engine, "first", status, 0)
    add_load(engine, "other dataset", LoadStatus.LOADED, 0, dataset="other")
    add_load(engine, "later", LoadStatus.LOADED, 2)
    add_load(engine, "second", LoadStatus.LOADED, 1)
    wait_for_turn(engine, "second")
