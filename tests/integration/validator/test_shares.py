"""Shares of values and of pictures, against their limits and against the slice before."""

from datetime import date

import pytest

from services.validator import profiles
from shared.contracts.events import SliceRejected, Validated
from shared.database.image_rows import create_staged_images, staged_images
from shared.errors import InconsistentState, InvalidSpec

DAY = date(2024, 3, 4)


@pytest.fixture
def labelled(shop):
    """The shop with labels whose classes may move by a tenth, in slices that are shares."""

    def change(spec):
        spec["slices"] = {"increment": {"initial": 40, "step": 20}}
        spec["tables"] = {
            "labels": {
                "key": ["productid"],
                "columns": {"productid": "integer", "code": "integer"},
                "stability": {"max_value_share_change": {"code": 0.1}},
            }
        }

    shop.declare(change)
    return shop


def classes(**counts):
    """So many hundred rows of each class."""
    codes = [int(code[1:]) for code, count in counts.items() for _ in range(100 * count)]
    return [{"productid": n, "code": code} for n, code in enumerate(codes)]


def run(shop, slice_key, rows, as_of=DAY):
    event = shop.staged(slice_key, as_of=as_of, labels=rows)
    shop.validate(event)
    return event, shop.emitted()[-1].payload


def test_class_shares_are_kept_and_a_class_that_moved_too_far_rejects_the_next_slice(labelled):
    event, payload = run(labelled, "40%", classes(c10=50, c40=30, c50=20))
    assert isinstance(payload, Validated)
    [result] = labelled.results()
    assert result["message"] == "no earlier slice to compare with"
    [profile] = labelled.sql("SELECT value_shares FROM headrace.table_profiles")
    assert profile["value_shares"] == {"code": {"10": 0.5, "40": 0.3, "50": 0.2}}
    labelled.published(event)
    _, payload = run(labelled, "60%", classes(c10=30, c40=35, c50=20, c60=15), date(2024, 3, 11))
    assert isinstance(payload, SliceRejected)
    [reason] = payload.reasons
    assert (reason.code, reason.table, reason.column, reason.count) == (
        "headrace_value_share_change",
        "labels",
        "code",
        2,
    )
    assert reason.message == (
        "labels.code: the shares of 2 values changed by more than 10.0% and chance: "
        "10 from 50.0% to 30.0%; 60 from 0.0% to 15.0%"
    )
    failed = labelled.results()[-1]
    assert failed["observed_value"]["60"] == {"share_before": 0.0, "share": 0.15}


def test_rows_without_a_value_have_no_class_and_lower_the_shares_of_the_others(labelled):
    rows = classes(c10=60, c40=20) + [{"productid": 90_000 + n, "code": None} for n in range(2_000)]
    run(labelled, "40%", rows)
    [profile] = labelled.sql("SELECT value_shares FROM headrace.table_profiles")
    assert profile["value_shares"] == {"code": {"10": 0.6, "40": 0.2}}


def test_of_two_slices_of_one_day_the_one_published_first_is_the_one_before(labelled):
    event, _ = run(labelled, "40%", classes(c10=10))
    labelled.published(event)
    event, payload = run(labelled, "60%", classes(c10=1, c40=1))
    assert isinstance(payload, SliceRejected), "compared with the other slice of its day"
    _, payload = run(labelled, "60%", classes(c10=19, c40=1))
    assert isinstance(payload, Validated)


def test_a_slice_is_not_compared_with_itself_nor_with_a_later_one(labelled):
    for key, day, rows in (
        ("40%", 4, classes(c10=10)),
        ("60%", 11, classes(c10=9, c40=1)),
        ("80%", 18, classes(c10=10)),
    ):
        event, payload = run(labelled, key, rows, date(2024, 3, day))
        assert isinstance(payload, Validated)
        labelled.published(event)
    _, payload = run(labelled, "60%", classes(c40=10), date(2024, 3, 11))
    [reason] = payload.reasons
    assert "10 from 100.0% to 0.0%" in reason.message, "compared with 40% and with neither other"


def test_a_column_of_too_many_values_is_an_invalid_spec_that_names_it(labelled, monkeypatch):
    monkeypatch.setattr(profiles, "MOST_VALUES", 20)
    rows = [{"productid": n, "code": n} for n in range(21)]
    with pytest.raises(InvalidSpec, match=r"labels\.stability.*'code' has more than 20 distinct"):
        run(labelled, "40%", rows)
    labelled.sql("UPDATE headrace.loads SET status = 'failed'")  # it is in the dead letters
    _, payload = run(labelled, "40%", rows[:20])
    assert isinstance(payload, Validated)


def pictured(shop, **images):
    def change(spec):
        spec["tables"]["customers"]["images"] = {"file": "{customer_id}.jpg", **images}

    shop.declare(change)


def counts(present, rows=10):
    return {"customers": {"rows": rows, "present": present, "missing": rows - present, "bytes": 9}}


def with_images(shop, slice_key, customers, present):
    event = shop.staged(slice_key, customers=customers, images=counts(present))
    shop.validate(event)
    return event, shop.emitted()[-1].payload


def test_too_few_pictures_reject_the_slice(shop, customers):
    pictured(shop, min_share=0.4)
    _, payload = with_images(shop, "day_00", customers, 3)
    [reason] = payload.reasons
    assert (reason.code, reason.table, reason.count) == ("headrace_image_share", "customers", 7)
    assert reason.message == (
        "customers: 7 of 10 rows have no picture {customer_id}.jpg; 30.0% have one where at least "
        "40.0% must"
    )
    _, payload = with_images(shop, "day_01", customers, 4)
    assert isinstance(payload, Validated)


def test_missing_pictures_reject_nothing_where_no_share_is_asked_for(shop, customers):
    pictured(shop)
    _, payload = with_images(shop, "day_00", customers, 0)
    assert isinstance(payload, Validated)
    assert payload.expectations == 0


def test_a_share_of_pictures_that_moved_too_far_from_the_slice_before_rejects(shop, customers):
    pictured(shop, max_share_change=0.2)
    event, payload = with_images(shop, "day_00", customers, 5)
    assert isinstance(payload, Validated)
    shop.published(event)
    _, payload = with_images(shop, "day_01", customers, 2)
    [reason] = payload.reasons
    assert reason.code == "headrace_image_share_change"
    assert reason.message == (
        "customers: 20.0% of the rows have their picture after 50.0%, where a change of at most "
        "20.0% is allowed"
    )
    _, payload = with_images(shop, "day_01", customers, 7)
    assert isinstance(payload, Validated)


def test_the_slice_before_is_the_last_one_that_has_counted_its_pictures(shop, customers):
    pictured(shop, max_share_change=0.2)
    event, _ = with_images(shop, "day_00", customers, 5)
    shop.published(event)
    for number, images in ((1, counts(0, rows=0)), (2, {})):
        event = shop.staged(f"day_0{number}", orders=[], images=images)
        shop.validate(event)
        shop.published(event)
    _, payload = with_images(shop, "day_03", customers, 0)
    assert isinstance(payload, SliceRejected)


def test_a_slice_whose_pictures_nobody_looked_for_is_to_be_loaded_again(shop, customers):
    event = shop.staged("day_00", customers=customers)
    pictured(shop, min_share=0.4)
    with pytest.raises(InconsistentState, match="'customers' were not looked for"):
        shop.validate(event)


@pytest.mark.parametrize("present", [3, 4])
def test_what_is_known_of_pictures_changes_with_a_slice_that_passes_only(shop, customers, present):
    pictured(shop, min_share=0.4)
    event = shop.staged("day_00", customers=customers, images=counts(present))
    load_id = event.payload.load_id
    for statement in create_staged_images("shop", "customers", load_id):
        shop.sql(statement)
    staged = staged_images("shop", "customers", load_id)
    shop.sql(f"INSERT INTO {staged} (row_key, file, state) VALUES ('C1', 'C1.jpg', 'missing')")
    shop.validate(event)
    known = shop.sql("SELECT dataset, table_name, row_key, state, load_id FROM headrace.images")
    left = shop.sql("SELECT to_regclass(:name) IS NOT NULL AS is_there", name=staged)
    passed = present == 4
    assert known == (
        [
            {
                "dataset": "shop",
                "table_name": "customers",
                "row_key": "C1",
                "state": "missing",
                "load_id": load_id,
            }
        ]
        if passed
        else []
    )
    assert left == [{"is_there": not passed}]
