"""Headrace's own checks: foreign keys, and change against the slice before."""

from shared.contracts.events import SliceRejected, Validated


def failing(shop, expectation):
    return [r for r in shop.results() if r["expectation"] == expectation and not r["success"]]


def stability(table, **limits):
    def change(spec):
        spec["tables"][table]["stability"] = limits

    return change


def test_a_customer_who_exists_nowhere_rejects_the_slice(shop, customers, orders):
    orders[3]["customer_id"] = "ZZZZ-NOONE"
    shop.validate(shop.staged("day_00", customers=customers, orders=orders))
    payload = shop.emitted()[0].payload
    assert isinstance(payload, SliceRejected)
    [reason] = payload.reasons
    assert (reason.code, reason.table, reason.column) == (
        "headrace_foreign_key",
        "orders",
        "customer_id",
    )
    assert (reason.count, reason.sample) == (1, ("4",))
    assert reason.message == (
        "orders.customer_id: 1 value is no key of customers: 'ZZZZ-NOONE' at 4"
    )
    [failed] = failing(shop, "headrace_foreign_key")
    assert failed["failing_keys"] == [{"order_id": 4, "customer_id": "ZZZZ-NOONE"}]
    assert failed["element_count"] == 20


def test_where_the_foreign_key_is_the_key_its_value_is_the_sample(shop, customers):
    def change(spec):
        spec["tables"]["cards"] = {
            "key": ["customer_id"],
            "columns": {"customer_id": "string"},
            "foreign_keys": [{"columns": ["customer_id"], "table": "customers"}],
        }

    shop.declare(change)
    rows = [{"customer_id": "C1"}, {"customer_id": "ZZZZ-NOONE"}]
    shop.validate(shop.staged("day_00", customers=customers, cards=rows))
    [reason] = shop.emitted()[0].payload.reasons
    assert reason.sample == ("ZZZZ-NOONE",)
    assert reason.message == "cards.customer_id: 1 value is no key of customers: 'ZZZZ-NOONE'"


def test_a_current_parent_is_enough(shop, customers, orders):
    event = shop.staged("day_00", customers=customers[:5], orders=orders)
    for customer in customers[5:]:
        shop.current_customer(customer["customer_id"])
    shop.validate(event)
    assert isinstance(shop.emitted()[0].payload, Validated)


def test_a_current_parent_is_enough_where_the_slice_has_none(shop, orders):
    event = shop.staged("day_00", orders=orders[:10])
    for n in range(1, 10):
        shop.current_customer(f"C{n}")
    shop.validate(event)
    [failed] = failing(shop, "headrace_foreign_key")
    assert [row["customer_id"] for row in failed["failing_keys"]] == ["C10"]


def test_a_current_parent_that_the_slice_deletes_is_not_enough(shop, customers, orders):
    def change(spec):
        spec["tables"]["customers"]["absence"] = "delete"

    shop.declare(change)
    event = shop.staged("day_00", customers=customers[:9], orders=orders[:10])
    shop.current_customer("C10")
    shop.validate(event)
    [failed] = failing(shop, "headrace_foreign_key")
    assert [row["customer_id"] for row in failed["failing_keys"]] == ["C10"]


def test_a_current_parent_counts_where_a_deleting_table_is_not_in_the_slice(shop, orders):
    def change(spec):
        spec["tables"]["customers"]["absence"] = "delete"

    shop.declare(change)
    event = shop.staged("day_00", orders=orders[8:9])
    shop.current_customer("C10")
    shop.validate(event)
    assert failing(shop, "headrace_foreign_key") == []


def test_a_null_in_a_foreign_key_leads_nowhere_and_need_not(shop, customers, orders):
    orders[0]["customer_id"] = None
    shop.validate(shop.staged("day_00", customers=customers, orders=orders))
    assert isinstance(shop.emitted()[0].payload, Validated)


def test_a_foreign_key_of_two_columns_is_looked_up_as_a_pair(shop, customers):
    def change(spec):
        spec["tables"]["shelves"] = {
            "key": ["hall", "number"],
            "columns": {"hall": "string", "number": "integer"},
        }
        spec["tables"]["boxes"] = {
            "key": ["box"],
            "columns": {"box": "integer", "in_hall": "string", "on_shelf": "integer"},
            "foreign_keys": [{"columns": ["in_hall", "on_shelf"], "table": "shelves"}],
        }

    shop.declare(change)
    shelves = [{"hall": "A", "number": 1}, {"hall": "B", "number": 2}]
    boxes = [
        {"box": 1, "in_hall": "A", "on_shelf": 1},
        {"box": 2, "in_hall": "A", "on_shelf": 2},
        {"box": 3, "in_hall": "A"},
    ]
    shop.validate(shop.staged("day_00", shelves=shelves, boxes=boxes))
    [failed] = failing(shop, "headrace_foreign_key")
    assert failed["failing_keys"] == [{"box": 2, "in_hall": "A", "on_shelf": 2}]
    assert "'A', '2' at 2" in failed["message"]


def test_a_row_count_that_changes_too_much_rejects_the_slice(shop, customers):
    shop.declare(stability("customers", max_row_change=0.3))
    first = shop.staged("day_00", customers=customers)
    shop.validate(first)
    shop.published(first)
    shop.validate(shop.staged("day_01", customers=customers[:6]))
    [reason] = shop.emitted()[-1].payload.reasons
    assert (reason.code, reason.table, reason.count) == ("headrace_row_change", "customers", 1)
    assert reason.message == (
        "customers: 6 rows after 10, a change of 40.0% where at most 30.0% is allowed"
    )
    [failed] = failing(shop, "headrace_row_change")
    assert failed["observed_value"] == {"rows_before": 10, "rows": 6, "change": 0.4}


def test_a_row_count_within_the_limit_passes(shop, customers):
    shop.declare(stability("customers", max_row_change=0.3))
    first = shop.staged("day_00", customers=customers)
    shop.validate(first)
    shop.published(first)
    shop.validate(shop.staged("day_01", customers=customers[:7]))
    assert isinstance(shop.emitted()[-1].payload, Validated)


def test_with_no_earlier_slice_there_is_nothing_to_compare_with(shop, customers):
    shop.declare(stability("customers", max_row_change=0.3, max_null_share_change=0.1))
    later = shop.staged("day_05", customers=customers)
    shop.validate(later)
    shop.published(later)
    shop.validate(shop.staged("day_00", customers=customers[:1]))
    results = shop.results()
    assert [r["success"] for r in results] == [True] * 4
    assert {r["message"] for r in results} == {"no earlier slice to compare with"}


def test_a_slice_is_compared_with_the_last_published_one_before_it(shop, customers):
    shop.declare(stability("customers", max_row_change=0.3))
    for key, rows in (("day_00", 2), ("day_01", 10), ("day_03", 2)):
        event = shop.staged(key, customers=customers[:rows])
        shop.validate(event)
        shop.published(event)
    rejected = shop.staged("day_02", customers=customers[:5])
    shop.validate(rejected)
    shop.sql("DELETE FROM headrace.validation_results")
    shop.validate(shop.staged("day_02", customers=customers[:9]))
    [result] = shop.results()
    assert result["observed_value"]["rows_before"] == 10
    assert result["success"]


def test_a_share_of_nulls_that_changes_too_much_names_its_columns(shop, customers):
    shop.declare(stability("customers", max_null_share_change=0.25))
    first = shop.staged("day_00", customers=customers)
    shop.validate(first)
    shop.published(first)
    for row in customers[:6]:
        row["email"] = None
    for row in customers[:2]:
        row["joined"] = None
    shop.validate(shop.staged("day_01", customers=customers))
    [reason] = shop.emitted()[-1].payload.reasons
    assert (reason.code, reason.column) == ("headrace_null_share_change", "email")
    assert reason.message == (
        "customers: the share of missing values changed by more than 25.0%: "
        "email from 0.0% to 60.0%"
    )
    [failed] = failing(shop, "headrace_null_share_change")
    assert failed["observed_value"] == {"email": {"share_before": 0.0, "share": 0.6}}


def test_a_column_that_the_slice_before_did_not_have_is_not_compared(shop, customers):
    first = shop.staged("day_00", customers=customers)
    shop.validate(first)
    shop.published(first)

    def change(spec):
        stability("customers", max_null_share_change=0.25)(spec)
        spec["tables"]["customers"]["columns"]["phone"] = "string"

    shop.declare(change)
    shop.validate(shop.staged("day_01", customers=customers))
    assert isinstance(shop.emitted()[-1].payload, Validated)
