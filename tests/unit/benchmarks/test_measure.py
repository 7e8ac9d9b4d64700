"""The arithmetic of a comparison."""

import pytest

from benchmarks.load import arguments, peers_at
from benchmarks.measure import FIRST, HEADRACE, LIMIT, UNCHANGED, Comparison, Result, Run


def run(copy, first, unchanged, *others, peak=200_000_000):
    headrace = Result(
        HEADRACE,
        {FIRST: first, UNCHANGED: unchanged},
        peak_bytes={"ingestor": peak, "snapshotter": peak // 2},
        import_bytes={"ingestor": peak // 4, "snapshotter": peak // 4},
    )
    return Run([Result(LIMIT, {FIRST: copy}), headrace, *others], load_average=0.5)


def pandas(first):
    return Result("pandas", {FIRST: first, UNCHANGED: first}, peak_bytes={"pandas": 10**9})


def verdicts(comparison):
    return [target.is_met for target in comparison.targets()]


def test_a_ratio_is_the_median_of_ratios_within_runs_not_the_ratio_of_medians():
    comparison = Comparison(100, [run(1, 2, 1), run(10, 40, 1), run(100, 300, 1)])
    assert comparison.over_limit(HEADRACE, FIRST) == 3  # of 2, 4 and 3; of medians it were 4
    assert comparison.seconds(HEADRACE, FIRST) == 40
    assert comparison.rows_per_second(HEADRACE, FIRST) == 2.5


def test_a_run_without_a_contender_does_not_count_for_it():
    comparison = Comparison(100, [run(1, 2, 1, pandas(30)), run(1, 2, 1)])
    assert comparison.seconds("pandas", FIRST) == 30
    assert comparison.ratio(HEADRACE, FIRST, "pandas", FIRST) == pytest.approx(2 / 30)


def test_targets_are_met_at_their_limits_and_missed_above():
    at_limit = Comparison(100, [run(1, 6, 3.5, pandas(48), peak=300_000_000)])
    assert verdicts(at_limit) == [True, True, True, True]
    above = Comparison(100, [run(1, 6.1, 3.6, pandas(48), peak=300_000_001)])
    assert verdicts(above) == [False, False, False, False]


def test_what_was_not_run_has_no_verdict_and_no_number():
    comparison = Comparison(100, [run(1, 2, 1)])
    assert verdicts(comparison) == [True, True, None, True]
    assert str(comparison.targets()[2]) == "not run: first load, at most 1/8 of pandas"
    assert comparison.table([LIMIT, HEADRACE, "pandas"]).splitlines()[3].split() == [
        "pandas",
        "not",
        "run",
        "not",
        "run",
    ]


def test_memory_is_the_largest_of_any_run_by_process():
    comparison = Comparison(100, [run(1, 2, 1, peak=100), run(1, 2, 1, peak=80)])
    assert comparison.peak_bytes(HEADRACE) == {"ingestor": 100, "snapshotter": 50}
    assert comparison.import_bytes(HEADRACE) == {"ingestor": 25, "snapshotter": 25}


def test_the_table_has_seconds_rows_per_second_and_the_ratio_to_raw_copy():
    lines = Comparison(1_000_000, [run(0.5, 2, 1)]).table([LIMIT, HEADRACE]).splitlines()
    assert lines[1].split("  ")[0] == "raw COPY"
    assert lines[1].split() == ["raw", "COPY", "0.50", "s", "2,000,000", "1.00", "-"]
    words = "Headrace 2.00 s 500,000 4.00 1.00 s 1,000,000 2.00 200 MB / 100 MB"
    assert lines[2].split() == words.split()
    assert max(map(len, lines)) <= 100


def test_pandas_runs_at_ten_million_rows_only_if_it_is_named():
    assert "pandas" in peers_at(1_000_000, None)
    assert "pandas" not in peers_at(10_000_000, None)
    assert peers_at(10_000_000, arguments(["--peers", "pandas"]).peers) == ["pandas"]
    assert peers_at(1_000_000, arguments(["--peers"]).peers) == []
