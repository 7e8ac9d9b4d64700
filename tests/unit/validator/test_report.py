"""The report says everything, loads nothing, and lets no value become markup."""

import json
import re
from datetime import date
from html.parser import HTMLParser

from services.validator.profiles import Profile
from services.validator.report import Report
from services.validator.results import ValidationResult
from shared.contracts.table_spec import Severity

NASTY = "<script>alert('x')</script>\"&amp;{{ 7*7 }}"


def report(*results, slice_key="month_000"):
    return Report(
        dataset="streamflow",
        slice_key=slice_key,
        as_of=date(2024, 1, 31),
        load_id="6b1f",
        revision=2,
        keys={"labels": ("user_id",), "users": ("user_id",)},
        profiles={"labels": Profile(7043, {"churn": 0.25}), "users": Profile(0, {})},
        results=results,
    )


def bad(**changes):
    facts = {
        "table": "labels",
        "expectation": "headrace_foreign_key",
        "success": False,
        "kwargs": {"table": "users"},
        "element_count": 7043,
        "unexpected_count": 1,
        "failing_keys": ({"user_id": "ZZZZ-NOONE"},),
        "message": "labels.user_id: 1 value is no key of users: 'ZZZZ-NOONE'",
    }
    return ValidationResult(**{**facts, **changes})


class _Text(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.attributes = set(), "", []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def read(page):
    parser = _Text()
    parser.feed(page.decode())
    return parser


GOOD = ValidationResult("labels", "expect_table_row_count_to_equal", True, observed_value=7043)


def test_the_page_names_the_slice_and_what_failed_with_its_keys():
    text = re.sub(r"\s+", " ", read(report(GOOD, bad()).as_html()).text)
    for part in (
        "streamflow / month_000",
        "2024-01-31",
        "6b1f",
        "1 of 2 expectations do not hold",
        "labels.user_id: 1 value is no key of users: 'ZZZZ-NOONE'",
        "user_id: ZZZZ-NOONE",
        "7,043 rows, 1 of 2 failed",
        "No expectation is declared",
    ):
        assert part in text


def test_a_page_of_a_good_slice_says_so():
    assert "All 1 expectations hold" in read(report(GOOD).as_html()).text


def test_what_only_warns_is_flagged_apart_from_what_failed():
    flag = bad(severity=Severity.WARNING, message="labels: 1 value is worth a look")
    found = report(GOOD, flag)
    assert (found.is_met, found.failed, found.flagged) == (True, [], [flag])
    text = re.sub(r"\s+", " ", read(found.as_html()).text)
    assert "All expectations hold but 1 of 2 that only flag rows" in text
    assert "Flagged. Worth a look, and no cause of a rejection: labels: 1 value" in text
    assert "0 of 2 failed, 1 flagged" in text
    assert "user_id: ZZZZ-NOONE" in text
    content = json.loads(found.as_json())
    assert (content["success"], content["failed"], content["flagged"]) == (True, 0, 1)
    assert content["tables"]["labels"]["results"][1]["severity"] == "warning"
    both = report(flag, bad())
    text = re.sub(r"\s+", " ", read(both.as_html()).text)
    assert "Failed. 1 of 2 expectations do not hold" in text
    assert (both.failed, both.flagged, both.is_met) == ([bad()], [flag], False)


def test_no_value_becomes_markup():
    nasty = bad(
        kwargs={"regex": NASTY},
        observed_value={NASTY: NASTY},
        failing_keys=({NASTY: NASTY},),
        message=NASTY,
        expectation=NASTY,
    )
    page = read(report(nasty, slice_key=NASTY).as_html())
    assert "script" not in page.tags
    assert page.text.count(NASTY) >= 7


def test_the_page_loads_nothing_from_elsewhere():
    page = report(GOOD, bad()).as_html()
    parsed = read(page)
    assert not parsed.tags & {"script", "link", "img", "iframe", "object"}
    assert not {name for name, _ in parsed.attributes} & {"src", "href", "style", "onclick"}
    assert b"http" not in page
    assert b"url(" not in page
    assert b"@import" not in page


def test_the_json_says_the_same_for_programs():
    content = json.loads(report(GOOD, bad()).as_json())
    assert {k: v for k, v in content.items() if k != "tables"} == {
        "dataset": "streamflow",
        "slice_key": "month_000",
        "as_of": "2024-01-31",
        "load_id": "6b1f",
        "revision": 2,
        "success": False,
        "evaluated": 2,
        "failed": 1,
        "flagged": 0,
    }
    labels = content["tables"]["labels"]
    assert (labels["rows"], labels["null_shares"]) == (7043, {"churn": 0.25})
    assert [result["success"] for result in labels["results"]] == [True, False]
    assert labels["results"][1]["failing_keys"] == [{"user_id": "ZZZZ-NOONE"}]


def test_the_same_load_gives_the_same_report():
    assert report(GOOD, bad()).as_html() == report(GOOD, bad()).as_html()
    assert report(GOOD, bad()).as_json() == report(GOOD, bad()).as_json()
