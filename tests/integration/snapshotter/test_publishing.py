"""A slice is published once, whole or not at all, one at a time for a dataset."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from published_dataset import Dataset, MakeDataset
from sqlalchemy import text

from services.snapshotter import handlers
from shared.contracts.events import Snapshotted
from shared.errors import InconsistentState
from shared.messaging.unit_of_work import AlreadyDone

JANUARY, FEBRUARY, MARCH = date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31)
TABLES = {
    "orders": {
        "key": ["id"],
        "foreign_keys": [{"columns": ["customer"], "table": "customers"}],
        "columns": {"id": "integer", "customer": "string"},
    },
    "customers": {"key": ["name"], "columns": {"name": "string", "city": "string"}},
}
FIRST = {"orders": [(1, "ann"), (2, "bob")], "customers": [("ann", "Oslo"), ("bob", None)]}


@pytest.fixture
def dataset(make_dataset: MakeDataset) -> Dataset:
    return make_dataset("shop", TABLES)


def everything(dataset: Dataset) -> dict[str, list[Any]]:
    """All that publishing may write, with the transaction that wrote each row."""
    relations = [
        dataset.name(name + suffix) for name in TABLES for suffix in ("", "_history", "_coverage")
    ]
    control = ("loads", "slices", "snapshots", "coverage", "inbox", "outbox")
    relations += [f"headrace.{name}" for name in control]
    return {
        relation: sorted(
            map(str, dataset.query(f"SELECT r.xmin, CAST(r AS text) FROM {relation} AS r"))
        )
        for relation in relations
    }


def events(dataset: Dataset) -> list[Any]:
    return dataset.query("SELECT value FROM headrace.outbox ORDER BY outbox_id")


def staging_tables(dataset: Dataset) -> list[Any]:
    return dataset.query(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop_staging'"
    )


def test_a_slice_is_merged_recorded_and_announced(dataset: Dataset) -> None:
    event = dataset.stage(JANUARY, FIRST)
    dataset.handle(event)

    published = dataset.published(event.payload.load_id)
    assert published.status == "published"
    assert dataset.current("orders") == FIRST["orders"]
    assert dataset.current("customers") == FIRST["customers"]
    counts = {"inserted": 2, "updated": 0, "unchanged": 0, "deleted": 0}
    assert published.changes == {"customers": counts, "orders": counts}
    assert staging_tables(dataset) == []
    [(value,)] = events(dataset)
    said = Snapshotted.model_validate_json(bytes(value))
    assert said.snapshot_id == f"shop-20240131-{event.payload.load_id[:8]}"
    assert (said.as_of, said.known_at) == (JANUARY, published.known_at)
    assert (said.manifest_uri, said.manifest_sha256) == (
        published.manifest_uri,
        published.manifest_sha256,
    )
    assert said.changes["orders"].inserted == 2
    [row] = dataset.query("SELECT slice_key, as_of, revision, load_id FROM headrace.slices")
    assert tuple(row) == ("2024-01-31", JANUARY, 1, event.payload.load_id)


def test_an_unchanged_slice_writes_no_row(dataset: Dataset) -> None:
    dataset.publish(JANUARY, FIRST)
    before = everything(dataset)
    published = dataset.publish(FEBRUARY, FIRST)
    after = everything(dataset)
    for name in TABLES:
        for relation in (dataset.name(name), dataset.name(f"{name}_history")):
            assert after[relation] == before[relation]
        assert published.changes[name] == {
            "inserted": 0, "updated": 0, "unchanged": 2, "deleted": 0
        }  # fmt: skip


def test_only_the_changed_row_is_written(dataset: Dataset) -> None:
    dataset.publish(JANUARY, FIRST)
    before = everything(dataset)
    dataset.publish(FEBRUARY, {**FIRST, "customers": [("ann", "Oslo"), ("bob", "Rome")]})
    after = everything(dataset)
    customers = dataset.name("customers")
    assert len(set(after[customers]) & set(before[customers])) == 1
    history = dataset.query(
        f"SELECT name, city, as_of, operation FROM {dataset.name('customers_history')} "
        "ORDER BY history_id DESC LIMIT 1"
    )
    assert list(map(tuple, history)) == [("bob", "Rome", FEBRUARY, "update")]
    assert after[dataset.name("orders")] == before[dataset.name("orders")]


def test_a_second_delivery_changes_nothing(dataset: Dataset) -> None:
    event = dataset.stage(JANUARY, FIRST)
    dataset.handle(event)
    before = everything(dataset)
    with pytest.raises(AlreadyDone):
        dataset.handle(event)
    assert everything(dataset) == before


def test_two_deliveries_at_once_have_one_effect(dataset: Dataset) -> None:
    dataset.publish(JANUARY, FIRST)
    event = dataset.stage(FEBRUARY, {**FIRST, "orders": [(1, "bob"), (3, "ann")]})
    together = threading.Barrier(2)

    def deliver() -> str:
        together.wait()
        try:
            dataset.handle(event)
        except AlreadyDone:
            return "done before"
        return "done"

    with ThreadPoolExecutor(2) as pool:
        outcomes = [pool.submit(deliver) for _ in range(2)]
        assert sorted(outcome.result() for outcome in outcomes) == ["done", "done before"]
    assert dataset.current("orders") == [(1, "bob"), (2, "bob"), (3, "ann")]
    assert dataset.scalar(f"SELECT count(*) FROM {dataset.name('orders_history')}") == 4
    assert len(events(dataset)) == 2


@pytest.mark.parametrize("step", ["merge", "export", "record"])
def test_a_failure_at_any_step_leaves_nothing_and_can_be_tried_again(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    dataset.publish(JANUARY, FIRST)
    event = dataset.stage(FEBRUARY, {**FIRST, "orders": [(1, "bob"), (2, "bob")]})
    before = everything(dataset)
    module = handlers.publications if step == "record" else handlers

    with monkeypatch.context() as patch:
        patch.setattr(module, step, failing_after(getattr(module, step)))
        with pytest.raises(ConnectionAbortedError):
            dataset.handle(event)
    assert everything(dataset) == before
    assert len(staging_tables(dataset)) == 2

    dataset.handle(event)
    assert dataset.current("orders") == [(1, "bob"), (2, "bob")]
    assert len(events(dataset)) == 2


def failing_after(function: Callable[..., Any]) -> Callable[..., Any]:
    def fail(*arguments: Any, **named: Any) -> None:
        function(*arguments, **named)
        raise ConnectionAbortedError

    return fail


def test_an_export_that_breaks_off_leaves_nothing_in_the_tables(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = dataset.stage(JANUARY, FIRST)
    before = everything(dataset)

    def refuse(*_: Any) -> None:
        raise ConnectionAbortedError

    with monkeypatch.context() as patch:
        patch.setattr(dataset.store, "put_file", refuse)
        with pytest.raises(ConnectionAbortedError):
            dataset.handle(event)
    assert everything(dataset) == before
    dataset.handle(event)
    assert dataset.current("orders") == FIRST["orders"]


def test_slices_of_one_dataset_are_published_one_after_another(dataset: Dataset) -> None:
    first, second = dataset.stage(JANUARY, FIRST), dataset.stage(FEBRUARY, FIRST)
    with dataset.engine.begin() as connection:
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtext('headrace merge'), hashtext('shop'))")
        )
        with ThreadPoolExecutor(2) as pool:
            outcomes = [pool.submit(dataset.handle, event) for event in (first, second)]
            wait_for_waiters(dataset, 2)
            assert not any(outcome.done() for outcome in outcomes)
            connection.commit()
            for outcome in outcomes:
                outcome.result(timeout=60)
    known = dataset.query("SELECT known_at FROM headrace.snapshots ORDER BY known_at")
    assert len(set(known)) == 2


def wait_for_waiters(dataset: Dataset, number: int) -> None:
    deadline = datetime.now(UTC).timestamp() + 30
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    while dataset.scalar(waiting) < number:
        assert datetime.now(UTC).timestamp() < deadline


def test_another_dataset_does_not_wait(dataset: Dataset, make_dataset: MakeDataset) -> None:
    other = make_dataset("other", TABLES)
    with dataset.engine.begin() as connection:
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtext('headrace merge'), hashtext('shop'))")
        )
        assert other.publish(JANUARY, FIRST).status == "published"


def test_known_at_grows_even_where_the_clock_stands_still(dataset: Dataset) -> None:
    dataset.publish(JANUARY, FIRST)
    with dataset.engine.begin() as connection:
        connection.execute(text("UPDATE headrace.snapshots SET known_at = '2999-01-01 00:00Z'"))
    assert dataset.publish(FEBRUARY, FIRST).known_at == datetime(2999, 1, 1, 0, 0, 0, 1, tzinfo=UTC)


def test_an_older_revision_is_superseded_by_a_published_newer_one(dataset: Dataset) -> None:
    older = dataset.stage(JANUARY, FIRST)
    newer = dataset.stage(JANUARY, {**FIRST, "orders": [(1, "bob")]})
    dataset.handle(newer)
    before = everything(dataset)
    dataset.handle(older)

    after = everything(dataset)
    assert dataset.current("orders") == [(1, "bob")]
    for relation in set(after) - {"headrace.loads", "headrace.inbox"}:
        assert after[relation] == before[relation]
    status = "SELECT status FROM headrace.loads WHERE load_id = :load_id"
    assert dataset.scalar(status, load_id=older.payload.load_id) == "superseded"
    assert staging_tables(dataset) == []
    with pytest.raises(AlreadyDone):
        dataset.handle(older)


def test_of_two_loads_with_one_revision_the_one_that_began_later_stays(dataset: Dataset) -> None:
    older = dataset.stage(JANUARY, FIRST)
    newer = dataset.stage(JANUARY, {**FIRST, "orders": [(1, "bob")]})
    with dataset.engine.begin() as connection:
        connection.execute(text("UPDATE headrace.loads SET revision = 1"))
    dataset.handle(older)
    dataset.handle(newer)
    assert dataset.current("orders") == [(1, "bob"), (2, "bob")]
    assert dataset.scalar("SELECT load_id FROM headrace.slices") == newer.payload.load_id


def test_a_load_whose_dead_letter_is_redriven_is_published(dataset: Dataset) -> None:
    event = dataset.stage(JANUARY, FIRST)
    with dataset.engine.begin() as connection:
        connection.execute(text("UPDATE headrace.loads SET status = 'failed'"))
    dataset.handle(event)
    assert dataset.published(event.payload.load_id).status == "published"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("DELETE FROM headrace.loads", "there is no load"),
        ("UPDATE headrace.loads SET status = 'rejected'", "is rejected"),
        ("UPDATE headrace.loads SET status = 'published'", "is published"),
        ("UPDATE headrace.loads SET slice_key = 'other'", "its event says"),
        ("UPDATE headrace.loads SET as_of = '2020-01-01'", "its event says"),
        ('DROP TABLE shop_staging."{orders}"', "is gone: load the slice again"),
        (
            'ALTER TABLE shop_staging."{orders}" DROP COLUMN customer',
            "before the spec had customer",
        ),
        ('DELETE FROM shop_staging."{orders}" WHERE id = 1', "its event says 2"),
    ],
)
def test_what_contradicts_the_event_is_a_permanent_error(
    dataset: Dataset, damage: str, message: str
) -> None:
    event = dataset.stage(JANUARY, FIRST)
    [orders] = [p.staging_table for p in event.payload.tables if p.table == "orders"]
    with dataset.engine.begin() as connection:
        connection.execute(text(damage.format(orders=orders)))
    with pytest.raises(InconsistentState, match=message):
        dataset.handle(event)
    assert dataset.current("customers") == []
    assert events(dataset) == []


def test_a_key_staged_twice_is_found_before_it_doubles_history(dataset: Dataset) -> None:
    dataset.publish(JANUARY, FIRST)
    event = dataset.stage(FEBRUARY, {**FIRST, "customers": [("ann", "Rome"), ("ann", "Bonn")]})
    with pytest.raises(InconsistentState, match="is a key twice"):
        dataset.handle(event)
    assert dataset.scalar(f"SELECT count(*) FROM {dataset.name('customers_history')}") == 2


def test_a_table_the_spec_does_not_have_is_refused(dataset: Dataset) -> None:
    event = dataset.stage(JANUARY, FIRST)
    [first, *others] = event.payload.tables
    tables = (first.model_copy(update={"table": "strangers"}), *others)
    payload = event.payload.model_copy(update={"tables": tables})
    with pytest.raises(InconsistentState, match="strangers"):
        dataset.handle(replace(event, payload=payload))


def test_parents_are_merged_before_their_children(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    merge = handlers.merge

    def noting(*arguments: Any, **named: Any) -> Any:
        order.append(arguments[2].name)
        return merge(*arguments, **named)

    monkeypatch.setattr(handlers, "merge", noting)
    dataset.publish(JANUARY, FIRST)
    assert order == ["customers", "orders"]


def test_a_late_slice_leaves_the_present_as_later_slices_said(dataset: Dataset) -> None:
    dataset.publish(JANUARY, FIRST)
    march = dataset.publish(MARCH, FIRST)
    late = dataset.publish(
        FEBRUARY, {"orders": [(1, "bob"), (9, "ann")], "customers": FIRST["customers"]}
    )
    assert late.changes["orders"] == {"inserted": 1, "updated": 1, "unchanged": 0, "deleted": 0}
    assert dataset.exported_rows(late, "orders") == [(1, "bob"), (2, "bob"), (9, "ann")]
    assert dataset.current("orders") == [(1, "ann"), (2, "bob"), (9, "ann")]
    assert dataset.snapshot_rows("orders", FEBRUARY) == [(1, "bob"), (2, "bob"), (9, "ann")]
    assert dataset.snapshot_rows("orders", MARCH) == FIRST["orders"]
    assert dataset.state("orders", MARCH, march.known_at) == FIRST["orders"]
    assert dataset.state("orders", MARCH, late.known_at) == dataset.current("orders")
