"""What `headrace status` writes about a dataset."""

import dataclasses
import io
from datetime import UTC, date, datetime, timedelta

import pytest
from rich.console import Console

from cli.glance import ago, print_overview
from shared.database.overview import (
    ChampionNow,
    DatasetOverview,
    LastLoad,
    RejectedSlice,
    WaitingLoad,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NOTHING_YET = DatasetOverview(
    dataset="rakuten",
    fault=None,
    slices=0,
    slice_key=None,
    as_of=None,
    percentage=0.0,
    rows={},
    classes={},
    last_load=None,
    is_scheduled=True,
    is_paused=False,
    next_run=datetime(2026, 11, 22, 23, 0, tzinfo=UTC),
    time_zone="Europe/Paris",
    trains=True,
    champion=None,
    waiting=[],
    unpublished_events=0,
    oldest_unpublished=None,
    rejected=[],
    dead_letters=0,
    missing_images=0,
)
WELL_ON = dataclasses.replace(
    NOTHING_YET,
    slices=2,
    slice_key="43%",
    as_of=date(2026, 11, 16),
    percentage=43.0,
    rows={"products": 36_513, "labels": 36_513},
    classes={str(code): 100 * code for code in range(1, 28)},
    last_load=LastLoad("l1", "43%", "published", NOW - timedelta(hours=3)),
    champion=ChampionNow("rakuten_classifier", "2", "weighted_f1", 0.81, date(2026, 11, 16), NOW),
    waiting=[WaitingLoad("l2", "46%", "validate", True, 3, NOW - timedelta(seconds=90))],
    unpublished_events=2,
    oldest_unpublished=NOW - timedelta(minutes=5),
    rejected=[RejectedSlice("abcdef1234", "49%", "no labels", 3)],
    dead_letters=1,
    missing_images=36_213,
)


def said(each: DatasetOverview, *, columns: int | None = None) -> list[str]:
    """The lines printed on a terminal of so many columns, or to a file."""
    file = io.StringIO()
    console = Console(
        file=file,
        width=columns,
        force_terminal=columns is not None,
        color_system=None,
        highlight=False,
    )
    print_overview(console, each, NOW)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_dataset_without_loads_says_how_to_begin() -> None:
    lines = said(NOTHING_YET)
    assert lines[0].endswith("0 %")
    assert "█" not in lines[0]
    assert "  slice      none yet: `headrace load rakuten --from <folder>`" in lines
    assert "  next run   Mon 2026-11-23 00:00 Europe/Paris, in 11 h" in lines


def test_everything_that_a_person_asks_is_there() -> None:
    lines = said(WELL_ON)
    assert lines[0].count("█") == int(0.43 * (lines[0].count("█") + lines[0].count("░")))
    assert lines[1:] == [
        "  slice      43% as of 2026-11-16, 2 slices in all",
        "  rows       products 36,513 · labels 36,513",
        "  classes    27: 27 2,700 · 26 2,600 · … · 2 200 · 1 100",
        "  pictures   36,213 missing",
        "  last load  43% published 3 h ago",
        "  next run   Mon 2026-11-23 00:00 Europe/Paris, in 11 h",
        "  champion   rakuten_classifier 2, weighted_f1 0.8100, data of 2026-11-16",
        "  waiting    46% validate running, try 3 (90 s); 2 events to publish, oldest 5 min",
        "  rejected   49%: no labels (and 2 more): `headrace rejects abcdef12`",
        "  dead       1 dead letter: see `headrace dead list`",
    ]


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_nothing_is_cut_off_or_wider_than_it(columns: int) -> None:
    lines = said(WELL_ON, columns=columns)
    assert max(map(len, lines)) <= columns
    words = " ".join(" ".join(lines).split())
    for line in said(WELL_ON)[1:]:
        assert " ".join(line.split()) in words


def test_many_rejected_slices_are_counted_after_the_first_three() -> None:
    rejected = [RejectedSlice(f"load{n}", f"{n}%", "bad", 1) for n in range(5)]
    lines = said(dataclasses.replace(WELL_ON, rejected=rejected))
    assert sum(line.startswith("  rejected") for line in lines) == 4
    assert "  rejected   2 more slices: `headrace rejects`" in lines


def test_a_faulty_spec_is_all_that_is_said() -> None:
    assert said(dataclasses.replace(WELL_ON, fault="line 3: tables: is missing"))[1:] == [
        "  spec       line 3: tables: is missing"
    ]


def test_a_paused_schedule_says_how_to_go_on() -> None:
    lines = said(dataclasses.replace(NOTHING_YET, is_paused=True, next_run=None))
    assert "  next run   paused: `headrace schedule resume rakuten`" in lines


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (timedelta(0), "0 s ago"),
        (timedelta(seconds=119), "119 s ago"),
        (timedelta(seconds=120), "2 min ago"),
        (timedelta(hours=47), "47 h ago"),
        (timedelta(days=3), "3 d ago"),
        (timedelta(seconds=-5), "0 s ago"),
    ],
)
def test_how_long_ago_is_told_in_its_largest_unit(length: timedelta, expected: str) -> None:
    assert ago(NOW - length, NOW) == expected
