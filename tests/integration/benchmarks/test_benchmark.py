"""The load benchmark from beginning to end, on a small drop."""

import json

import pytest

from benchmarks.load import main


def test_every_contender_loads_the_drop_twice_and_the_results_are_written(
    servers, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("DATABASE_URL", servers.database_url.get_secret_value())
    file = tmp_path / "result.json"
    assert main(["--rows", "2000", "--runs", "1", "--json", str(file)]) == 0

    [size] = json.loads(file.read_text())["sizes"]
    assert size["rows"] == 2000
    for contender in ("Headrace", "Headrace, with landing and export", "dlt", "pandas"):
        for load in ("first", "unchanged"):
            measured = size["medians"][contender][load]
            assert measured["seconds"] > 0
            assert measured["rows_per_second"] == pytest.approx(2000 / measured["seconds"])
            assert measured["times_raw_copy"] > 0
    [headrace] = [r for r in size["runs"][0]["results"] if r["contender"] == "Headrace"]
    assert headrace["details"]["first"]["changes"]["inserted"] == 2000
    assert headrace["details"]["unchanged"]["changes"] == {
        "inserted": 0,
        "updated": 0,
        "unchanged": 2000,
        "deleted": 0,
    }
    whole = size["medians"]["Headrace, with landing and export"]["first"]["seconds"]
    assert whole > size["medians"]["Headrace"]["first"]["seconds"]
    assert set(headrace["peak_bytes"]) == {"ingestor", "snapshotter"}
    assert all(peak > 50_000_000 for peak in headrace["peak_bytes"].values())
    assert len(size["targets"]) == 4
    assert "2,000 rows of six columns" in capsys.readouterr().out


def test_a_peer_that_is_not_asked_for_is_not_run(servers, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DATABASE_URL", servers.database_url.get_secret_value())
    file = tmp_path / "result.json"
    assert main(["--rows", "2000", "--runs", "1", "--peers", "--json", str(file)]) == 0

    printed = capsys.readouterr().out
    for peer in ("dlt", "pandas"):
        [line] = [line for line in printed.splitlines() if line.startswith(peer)]
        assert line.split() == [peer, "not", "run", "not", "run"]
    [size] = json.loads(file.read_text())["sizes"]
    assert size["medians"]["pandas"]["first"]["seconds"] is None
