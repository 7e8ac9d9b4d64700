"""A slice is judged after the dataset's slices before it have come to their end."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, insert, select

from services.validator import turn
from services.validator.turn import EarlierSliceUnderWay, wait_for_turn
from shared.clock import utc_now
from shared.contracts.envelope import Event, Record
from shared.contracts.events import Payload, SliceLoaded, Stage
from shared.database.loads import set_status, status_of
from shared.database.statuses import LoadStatus
from shared.database.tables import dead_letters, loads
from shared.messaging.dead_letters import drop
from shared.messaging.processor import Processor
from shared.messaging.retry import Route, route_of
from shared.observability.metrics import Metrics
from tests.integration.validator.conftest import Rows, Shop

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


def test_the_wait_ends_as_soon_as_the_slice_before_is_published(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "PATIENCE_SECONDS", 20.0)
    add_load(engine, "first", LoadStatus.VALIDATED, 0)
    add_load(engine, "second", LoadStatus.LOADED, 1)
    waiting = threading.Thread(target=wait_for_turn, args=(engine, "second"))
    waiting.start()
    with engine.begin() as connection:
        set_status(connection, "first", LoadStatus.PUBLISHED)
    waiting.join(timeout=10)
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


def incomplete(event: Event[Payload]) -> Record:
    """The event's record without a field that it must have."""
    value = json.loads(event.value())
    del value["revision"]
    return Record(
        "slice-loaded", 0, 7, event.key.encode(), event.headers(), json.dumps(value).encode()
    )


def consume(shop: Shop, record: Record, service: str = "validator") -> None:
    """Process the record as the service does."""
    Processor(
        service=service,
        handlers={SliceLoaded: shop.validator.on_slice_loaded},
        stage_of={SliceLoaded: Stage.VALIDATE},
        engine=shop.engine,
        clock=utc_now,
        settings=shop.settings,
        metrics=Metrics(),
        wake_relay=lambda: None,
    ).process(record, threading.Event())


def statuses(shop: Shop, *events: Event[Payload]) -> list[LoadStatus | None]:
    with shop.engine.connect() as connection:
        return [status_of(connection, event.correlation_id) for event in events]


def test_a_slice_whose_event_can_not_be_read_holds_up_nobody_and_may_be_redriven(
    shop: Shop, customers: Rows, orders: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "PATIENCE_SECONDS", 0.0)
    first, second = (
        shop.staged(day, customers=customers, orders=orders) for day in ("day_00", "day_01")
    )
    consume(shop, incomplete(first))
    consume(shop, incomplete(first))
    with shop.engine.connect() as connection:
        dead = connection.execute(select(dead_letters)).one()
    assert (dead.error_class, dead.correlation_id) == ("UndecodableEvent", first.correlation_id)
    shop.validate(second)
    assert statuses(shop, first, second) == [LoadStatus.FAILED, LoadStatus.VALIDATED]

    shop.validate(first)  # as a validator that knows such events
    assert statuses(shop, first) == [LoadStatus.VALIDATED]


def test_dropping_what_could_not_be_read_lets_the_later_slices_go_on(
    shop: Shop, customers: Rows, orders: Rows
) -> None:
    """Also where it was buried before that failed its load."""
    event = shop.staged("day_00", customers=customers, orders=orders)
    consume(shop, incomplete(event))
    shop.sql("UPDATE headrace.loads SET status = 'loaded', finished_at = NULL")
    drop(shop.engine, 1, by="a person", reason="it is loaded again")
    assert statuses(shop, event) == [LoadStatus.FAILED]


@pytest.mark.parametrize(
    ("service", "key", "status"),
    [
        ("validator", b"another", LoadStatus.LOADED),
        ("snapshotter", b"shop", LoadStatus.LOADED),
        ("validator", b"shop", LoadStatus.VALIDATED),
        ("trainer", b"shop", LoadStatus.LOADED),
        ("validator", b"shop", LoadStatus.PUBLISHED),
    ],
)
def test_a_record_that_can_not_be_read_fails_no_load_that_does_not_wait_for_it(
    shop: Shop, service: str, key: bytes, status: LoadStatus
) -> None:
    event = shop.staged("day_00")
    shop.sql("UPDATE headrace.loads SET status = :status", status=status)
    consume(shop, replace(incomplete(event), key=key), service)
    assert statuses(shop, event) == [status]
