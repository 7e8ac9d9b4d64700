"""The benchmarks behind docs/scaling.md from beginning to end, small."""

import json

import pytest

from benchmarks import control_tables, history, many_datasets, replicas
from benchmarks.stages import STAGES


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_stage_is_measured_with_every_number_of_replicas(tmp_path, capsys):
    file = tmp_path / "result.json"
    options = ["--replicas", "1", "2", "--datasets", "2", "--users", "100", "--slices", "1"]
    assert replicas.main([*options, "--partitions", "3", "--json", str(file)]) == 0

    [found] = json.loads(file.read_text())["runs"]
    assert [(each["stage"], each["replicas"]) for each in found["stages"]] == [
        (stage, count) for stage in STAGES for count in (1, 2)
    ]
    for each in found["stages"]:
        assert each["slices"] == 2 == sum(each["shares"])
        assert len(each["shares"]) == each["replicas"]
        assert each["seconds"] > 0
        assert each["cores"]["service"] > 0
        assert each["bound"]
    assert sum(len(there) for there in found["placement"].values()) == 2
    assert "2 datasets on 3 partitions" in capsys.readouterr().out


def test_what_is_asked_of_the_control_tables_is_timed_at_each_size(
    servers, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("DATABASE_URL", servers.database_url.get_secret_value())
    file = tmp_path / "result.json"
    options = ["--slices", "50", "500", "--datasets", "5", "--json", str(file)]
    assert control_tables.main(options) == 0

    small, large = json.loads(file.read_text())["sizes"]
    assert (small["slices"], large["slices"]) == (50, 500)
    assert small["milliseconds"].keys() == large["milliseconds"].keys()
    assert all(taken > 0 for taken in large["milliseconds"].values())
    assert large["bytes"] > small["bytes"]
    assert "headrace status" in capsys.readouterr().out


def test_what_many_specs_cost_is_measured_at_each_number(servers, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DATABASE_URL", servers.database_url.get_secret_value())
    file = tmp_path / "result.json"
    assert many_datasets.main(["--datasets", "2", "4", "--json", str(file)]) == 0

    small, large = json.loads(file.read_text())["sizes"]
    grown = large["relations"] - small["relations"]
    assert grown > 2 * 6 * 3, "two datasets more, of six tables each with a history and coverage"
    assert all(taken > 0 for taken in large["seconds"].values())
    assert "tables, indexes and views" in capsys.readouterr().out


def test_merges_are_timed_over_a_growing_history_and_for_a_late_slice(
    servers, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("DATABASE_URL", servers.database_url.get_secret_value())
    file = tmp_path / "result.json"
    options = ["--rows", "1000", "--slices", "3", "--changed", "0.5", "--json", str(file)]
    assert history.main(options) == 0

    slices = json.loads(file.read_text())["slices"]
    assert [each["is_late"] for each in slices] == [False, False, False, True]
    before = [each["history_rows_before"] for each in slices]
    assert before[:2] == [0, 1000]
    assert 1400 < before[2] < 1600
    assert 100 < slices[-1]["history_bytes_a_row"] < 1000
    assert all(each["merge_seconds"] > 0 < each["export_seconds"] for each in slices)
    assert "(late)" in capsys.readouterr().out
