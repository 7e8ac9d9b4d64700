"""A staged slice is validated or rejected, with everything that says why."""

import json

import pytest

from services.validator.app import build
from shared.contracts.events import SliceLoaded, SliceRejected, Validated, WithdrawalQueued
from shared.errors import InconsistentState, InvalidSpec, UnknownDataset
from shared.messaging.unit_of_work import AlreadyDone
from shared.object_store import ObjectUri
from shared.service import Resources


def expecting(*expectations, table="orders"):
    def change(spec):
        spec["tables"][table]["expectations"] = [
            {"type": name, "kwargs": kwargs} for name, kwargs in expectations
        ]

    return change


def test_a_slice_that_meets_its_expectations_is_validated(shop, customers, orders):
    event = shop.staged("day_00", customers=customers, orders=orders)
    shop.validate(event)
    [emitted] = shop.emitted()
    payload = emitted.payload
    assert isinstance(payload, Validated)
    assert (payload.load_id, payload.expectations) == (event.payload.load_id, 2)
    assert payload.tables == event.payload.tables
    assert emitted.causation_id == event.id
    assert emitted.correlation_id == event.correlation_id
    [load] = shop.sql("SELECT status, report_uri, reasons, finished_at FROM headrace.loads")
    assert load == {
        "status": "validated",
        "report_uri": payload.report_uri,
        "reasons": None,
        "finished_at": None,
    }
    assert [(r["expectation"], r["success"]) for r in shop.results()] == [
        ("expect_column_values_to_be_between", True),
        ("headrace_foreign_key", True),
    ]
    assert [(r["element_count"], r["unexpected_count"]) for r in shop.results()] == [(20, 0)] * 2


def test_profiles_are_kept_with_the_share_of_nulls_of_each_column(shop, customers, orders):
    customers = [*customers[:8], {"customer_id": "X1"}, {"customer_id": "X2", "email": "x@y"}]
    event = shop.staged("day_00", customers=customers, orders=orders)
    shop.validate(event)
    profiles = shop.sql("SELECT * FROM headrace.table_profiles ORDER BY table_name")
    assert [(p["table_name"], p["rows"]) for p in profiles] == [("customers", 10), ("orders", 20)]
    assert {p["load_id"] for p in profiles} == {event.payload.load_id}
    shares = profiles[0]["null_shares"]
    assert shares == pytest.approx({"customer_id": 0, "email": 0.1, "joined": 0.2})


def test_a_negative_amount_rejects_the_slice_and_names_the_row(shop, customers, orders):
    orders[6]["amount"] = -5.0
    orders[9]["amount"] = -1.5
    event = shop.staged("day_00", customers=customers, orders=orders)
    shop.validate(event)
    [emitted] = shop.emitted()
    payload = emitted.payload
    assert isinstance(payload, SliceRejected)
    assert payload.stage == "validate"
    [reason] = payload.reasons
    assert (reason.code, reason.table, reason.column, reason.count, reason.sample) == (
        "expect_column_values_to_be_between",
        "orders",
        "amount",
        2,
        ("7", "10"),
    )
    assert reason.message == (
        "orders.amount: 2 of 20 values are not at least 0: -5 at 7; -1.5 at 10"
    )
    failed = [result for result in shop.results() if not result["success"]]
    assert [r["failing_keys"] for r in failed] == [
        [{"order_id": 7, "amount": -5.0}, {"order_id": 10, "amount": -1.5}]
    ]
    assert failed[0]["message"] == reason.message
    [load] = shop.sql("SELECT status, reasons, finished_at FROM headrace.loads")
    assert load["status"] == "rejected"
    assert load["reasons"] == [reason.model_dump(mode="json")]
    assert load["finished_at"] is not None


def test_a_rejected_slice_stays_in_staging(shop, customers, orders):
    orders[0]["amount"] = -5.0
    event = shop.staged("day_00", customers=customers, orders=orders)
    shop.validate(event)
    for part in event.payload.tables:
        rows = shop.sql(f'SELECT count(*) AS n FROM shop_staging."{part.staging_table}"')
        assert rows == [{"n": part.rows_loaded}]


def test_only_as_many_failing_keys_are_kept_as_the_setting_says(shop, customers, orders):
    for order in orders:
        order["amount"] = -1.0
    orders += [{"order_id": 100 + n, "customer_id": "C1", "amount": -2.0} for n in range(30)]
    shop.validate(shop.staged("day_00", customers=customers, orders=orders))
    [failed] = [result for result in shop.results() if not result["success"]]
    assert failed["unexpected_count"] == 50
    assert len(failed["failing_keys"]) == shop.settings.failing_keys_kept == 20


def test_mostly_lets_some_values_pass_and_still_counts_them(shop, customers, orders):
    shop.declare(
        expecting(
            (
                "expect_column_values_to_be_between",
                {"column": "amount", "min_value": 0, "mostly": 0.9},
            )
        )
    )
    orders[0]["amount"] = -1.0
    shop.validate(shop.staged("day_00", customers=customers, orders=orders))
    result = shop.results()[0]
    assert (result["success"], result["unexpected_count"]) == (True, 1)
    assert result["failing_keys"] == [{"order_id": 1, "amount": -1.0}]


def test_every_kind_of_expectation_keeps_its_place_and_its_observation(shop, customers, orders):
    shop.declare(
        expecting(
            ("expect_table_row_count_to_be_between", {"min_value": 30}),
            ("expect_column_values_to_be_unique", {"column": "customer_id"}),
            ("expect_column_mean_to_be_between", {"column": "amount", "max_value": 100}),
            ("expect_column_values_to_not_be_null", {"column": "amount"}),
            ("expect_compound_columns_to_be_unique", {"column_list": ["customer_id", "order_id"]}),
            (
                "expect_column_distinct_values_to_be_in_set",
                {"column": "order_id", "value_set": [1]},
            ),
        )
    )
    shop.validate(shop.staged("day_00", customers=customers, orders=orders))
    results = shop.results()
    assert [(r["expectation"].removeprefix("expect_"), r["success"]) for r in results] == [
        ("table_row_count_to_be_between", False),
        ("column_values_to_be_unique", False),
        ("column_mean_to_be_between", False),
        ("column_values_to_not_be_null", True),
        ("compound_columns_to_be_unique", True),
        ("column_distinct_values_to_be_in_set", False),
        ("headrace_foreign_key", True),
    ]
    assert results[0]["observed_value"] == 20
    assert results[1]["unexpected_count"] == 20
    assert results[2]["observed_value"] == pytest.approx(110.25)
    assert all(r["message"] for r in results if not r["success"])


def test_columns_and_tables_may_have_capitals_and_reserved_names(shop, customers, orders):
    def change(spec):
        spec["tables"]["order"] = {
            "key": ["Select"],
            "columns": {"Select": "string", "user": "integer", "from": "timestamp"},
            "expectations": [
                {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "from"}},
                {
                    "type": "expect_column_values_to_be_between",
                    "kwargs": {"column": "user", "max_value": 5},
                },
                {
                    "type": "expect_column_values_to_match_regex",
                    "kwargs": {"column": "Select", "regex": "^100%:s"},
                },
            ],
        }

    shop.declare(change)
    rows = [{"Select": "100%:s", "user": 1}, {"Select": "b", "user": 9}]
    shop.validate(shop.staged("day_00", customers=customers, orders=orders, order=rows))
    failed = [r for r in shop.results() if not r["success"]]
    assert [(r["unexpected_count"], r["failing_keys"]) for r in failed] == [
        (2, [{"Select": "100%:s", "from": None}, {"Select": "b", "from": None}]),
        (1, [{"Select": "b", "user": 9}]),
        (1, [{"Select": "b"}]),
    ]


def test_an_absent_optional_table_is_not_looked_at(shop, customers):
    shop.validate(shop.staged("day_00", customers=customers))
    assert isinstance(shop.emitted()[0].payload, Validated)
    assert shop.results() == []


def test_an_empty_table_meets_expectations_about_values(shop):
    shop.validate(shop.staged("day_00", customers=[], orders=[]))
    assert isinstance(shop.emitted()[0].payload, Validated)


def test_the_report_is_written_as_json_and_html_under_the_loads_name(shop, customers, orders):
    orders[0]["amount"] = -5.0
    event = shop.staged("day_00", customers=customers, orders=orders)
    shop.validate(event)
    uri = shop.emitted()[0].payload.report_uri
    assert uri.endswith(f"/shop/day_00/{event.payload.load_id}/report.html")
    page = shop.store.get_bytes(ObjectUri.parse(uri)).decode()
    assert "orders.amount: 1 of 20 values is not at least 0" in page
    content = json.loads(shop.store.get_bytes(ObjectUri.parse(uri.removesuffix("html") + "json")))
    assert (content["success"], content["evaluated"], content["failed"]) == (False, 2, 1)
    assert content["tables"]["customers"]["rows"] == 10
    [amount, _] = content["tables"]["orders"]["results"]
    assert amount["failing_keys"] == [{"order_id": 1, "amount": -5.0}]


def test_a_slice_key_with_a_percent_sign_has_its_report(shop, customers):
    def change(spec):
        spec["slices"]["naming"]["pattern"] = "{index}%"

    shop.declare(change)
    shop.validate(shop.staged("3%", customers=customers))
    uri = ObjectUri.parse(shop.emitted()[0].payload.report_uri)
    assert "/3%/" in str(uri)
    assert b"shop / 3%" in shop.store.get_bytes(uri)


def test_second_delivery_of_an_event_changes_nothing(shop, customers, orders):
    event = shop.staged("day_00", customers=customers, orders=orders)
    shop.validate(event)
    state = "SELECT *, xmin::text FROM headrace.{}"
    tables = ("loads", "validation_results", "table_profiles", "outbox", "inbox")
    before = [shop.sql(state.format(table)) for table in tables]
    with pytest.raises(AlreadyDone):
        shop.validate(event)
    assert [shop.sql(state.format(table)) for table in tables] == before


def test_a_second_try_after_a_crash_replaces_what_the_first_left(shop, customers, orders, event_of):
    event = shop.staged("day_00", customers=customers, orders=orders)
    shop.validate(event)
    shop.sql("UPDATE headrace.loads SET status = 'failed', finished_at = now()")
    shop.validate(event_of(event.payload))
    assert len(shop.results()) == 2
    assert len(shop.sql("SELECT * FROM headrace.table_profiles")) == 2
    [load] = shop.sql("SELECT status, finished_at FROM headrace.loads")
    assert load == {"status": "validated", "finished_at": None}


@pytest.mark.parametrize("status", ["superseded", "published", "rejected", "validated"])
def test_a_load_that_is_past_validation_is_left_as_it_is(shop, customers, orders, status):
    orders[0]["amount"] = -5.0
    event = shop.staged("day_00", customers=customers, orders=orders)
    shop.sql("UPDATE headrace.loads SET status = :s", s=status)
    shop.validate(event)
    assert shop.emitted() == []
    assert shop.results() == []
    assert shop.sql("SELECT status FROM headrace.loads") == [{"status": status}]
    assert len(shop.sql("SELECT * FROM headrace.inbox")) == 1


def test_an_unknown_expectation_is_an_invalid_spec_that_names_it(shop, customers, orders):
    event = shop.staged("day_00", customers=customers, orders=orders)
    shop.declare(expecting(("expect_column_values_to_be_betwen", {"column": "amount"})))
    with pytest.raises(InvalidSpec, match=r"tables.orders.*_to_be_betwen.*_to_be_between"):
        shop.validate(event)
    assert shop.emitted() == []
    assert shop.sql("SELECT * FROM headrace.inbox") == []


@pytest.mark.parametrize(
    ("name", "kwargs", "told"),
    [
        (
            "expect_column_values_to_match_regex",
            {"column": "customer_id", "regex": "["},
            "brackets",
        ),
        ("expect_column_values_to_be_between", {"column": "customer_id", "min_value": 1}, "TEXT"),
    ],
)
def test_what_shows_on_data_only_is_an_invalid_spec_too(
    shop, customers, orders, name, kwargs, told
):
    shop.declare(
        expecting(("expect_column_values_to_not_be_null", {"column": "amount"}), (name, kwargs))
    )
    event = shop.staged("day_00", customers=customers, orders=orders)
    with pytest.raises(InvalidSpec, match=rf"tables.orders.expectations.1: {name}.*{told}"):
        shop.validate(event)


def test_a_staging_table_that_is_gone_is_an_inconsistent_state(shop, customers, orders):
    event = shop.staged("day_00", customers=customers, orders=orders)
    shop.sql(f'DROP TABLE shop_staging."{event.payload.tables[1].staging_table}"')
    with pytest.raises(InconsistentState, match="orders"):
        shop.validate(event)


def test_a_load_or_a_dataset_that_does_not_exist_is_a_permanent_error(shop, customers, event_of):
    event = shop.staged("day_00", customers=customers)
    unknown = event.payload.model_copy(update={"load_id": "nobody"})
    with pytest.raises(InconsistentState, match="nobody"):
        shop.validate(event_of(unknown))
    (shop.settings.datasets_dir / "shop.yaml").unlink()
    with pytest.raises(UnknownDataset, match="shop"):
        shop.validate(event)


def test_the_service_is_built_of_its_resources(shop, clock):
    service = build(Resources(shop.settings, shop.engine, shop.store, clock, lambda: None))
    assert (service.name, set(service.handlers)) == ("validator", {SliceLoaded, WithdrawalQueued})
