"""An expectation that only warns flags its rows; the slice goes on."""

import json

import pytest

from shared.contracts.events import SliceRejected, Validated
from shared.contracts.spec_file import read_spec
from shared.object_store import ObjectUri
from tests.conftest import REPOSITORY

RAKUTEN = read_spec(REPOSITORY / "datasets" / "rakuten.yaml")
ONLY_MARKUP = RAKUTEN.tables["products"].expectations[2]
KNOWN_CLASSES = RAKUTEN.tables["labels"].expectations[0]

SAYS_NOTHING = [
    "",
    "   ",
    "<br />",
    "<p>&nbsp;</p>",
    "<b></b> &amp;&#233;\n<i>",
    '<a href="x">\n</a>',
]
SAYS_SOMETHING = ["Livre", "<b>Livre</b>", "&eacute;t&eacute; 2", "a < b", "5 > 3", "&", "&nbsp"]


@pytest.fixture
def catalogue(shop):
    """The shop with Rakuten's products and labels, each of which needs the other."""

    def change(spec):
        spec["tables"] = {
            "products": {
                "key": ["productid"],
                "columns": {"productid": "integer", "designation": "string"},
                "foreign_keys": [{"columns": ["productid"], "table": "labels"}],
                "expectations": [ONLY_MARKUP.model_dump(mode="json")],
            },
            "labels": {
                "key": ["productid"],
                "columns": {"productid": "integer", "prdtypecode": "integer"},
                "foreign_keys": [{"columns": ["productid"], "table": "products"}],
                "expectations": [KNOWN_CLASSES.model_dump(mode="json")],
            },
        }

    shop.declare(change)
    return shop


def products(*designations):
    return [{"productid": n, "designation": text} for n, text in enumerate(designations, 1)]


def labels(count, code=2583):
    return [{"productid": n, "prdtypecode": code} for n in range(1, count + 1)]


def outcome(shop):
    return shop.emitted()[-1].payload


def by_code(shop, code):
    return [result for result in shop.results() if result["expectation"] == code]


def test_texts_of_nothing_but_markup_are_flagged_with_their_keys_and_the_slice_goes_on(catalogue):
    rows = products(*SAYS_SOMETHING, *SAYS_NOTHING, None)
    event = catalogue.staged("day_00", products=rows, labels=labels(len(rows)))
    catalogue.validate(event)
    payload = outcome(catalogue)
    assert isinstance(payload, Validated)
    assert (payload.expectations, payload.flagged) == (4, 1)
    assert catalogue.sql("SELECT status, reasons FROM headrace.loads") == [
        {"status": "validated", "reasons": None}
    ]
    flagged = [r for r in catalogue.results() if not r["success"]]
    assert [(r["expectation"], r["severity"], r["unexpected_count"]) for r in flagged] == [
        (ONLY_MARKUP.type, "warning", len(SAYS_NOTHING))
    ]
    first = len(SAYS_SOMETHING) + 1
    keys = list(range(first, first + len(SAYS_NOTHING)))
    assert [row["productid"] for row in flagged[0]["failing_keys"]] == keys
    severities = {r["severity"] for r in catalogue.results() if r["success"]}
    assert severities == {"critical"}
    uri = payload.report_uri
    page = catalogue.store.get_bytes(ObjectUri.parse(uri)).decode()
    assert "Flagged." in page
    assert "Failed." not in page
    assert all(f"productid: {key}" in page for key in keys)
    content = json.loads(
        catalogue.store.get_bytes(ObjectUri.parse(uri.removesuffix("html") + "json"))
    )
    assert (content["success"], content["failed"], content["flagged"]) == (True, 0, 1)


def test_a_slice_is_rejected_for_what_failed_and_not_for_what_only_warns(catalogue):
    wrong = labels(3)
    wrong[1]["prdtypecode"] = 9999
    event = catalogue.staged("day_00", products=products("<br />", "b", "c"), labels=wrong)
    catalogue.validate(event)
    payload = outcome(catalogue)
    assert isinstance(payload, SliceRejected)
    [reason] = payload.reasons
    assert (reason.code, reason.count, reason.sample) == (KNOWN_CLASSES.type, 1, ("2",))
    [load] = catalogue.sql("SELECT status, reasons FROM headrace.loads")
    assert [found["code"] for found in load["reasons"]] == [KNOWN_CLASSES.type]


def test_an_unknown_class_rejects_the_slice_and_names_class_and_rows(catalogue):
    wrong = labels(30)
    wrong[4]["prdtypecode"] = wrong[6]["prdtypecode"] = 9999
    event = catalogue.staged("day_00", products=products(*"x" * 30), labels=wrong)
    catalogue.validate(event)
    [reason] = outcome(catalogue).reasons
    assert reason.message.startswith("labels.prdtypecode: 2 of 30 values are none of 10, 40,")
    assert reason.message.endswith(": 9999 at 5; 9999 at 7")
    assert reason.sample == ("5", "7")


def test_tables_that_need_each_other_are_good_from_the_first_slice_on(catalogue):
    event = catalogue.staged("day_00", products=products("a", "b"), labels=labels(2))
    catalogue.validate(event)
    assert isinstance(outcome(catalogue), Validated)
    assert [r["success"] for r in by_code(catalogue, "headrace_foreign_key")] == [True, True]


@pytest.mark.parametrize(
    ("told", "left_out"), [("products", "label"), ("labels", "product")], ids=["label", "product"]
)
def test_a_product_without_label_and_a_label_without_product_reject_the_slice(
    catalogue, told, left_out
):
    texts, classes = products("a", "b", "c"), labels(3)
    (classes if left_out == "label" else texts).pop(1)
    catalogue.validate(catalogue.staged("day_00", products=texts, labels=classes))
    [reason] = outcome(catalogue).reasons
    assert (reason.code, reason.table, reason.sample) == ("headrace_foreign_key", told, ("2",))
