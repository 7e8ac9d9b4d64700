"""The catalogue benchmark from beginning to end, small."""

import json

from benchmarks.catalogue import main


def test_steps_are_measured_and_a_catalogue_ten_times_as_large_needs_no_more_memory(
    servers, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("DATABASE_URL", servers.database_url.get_secret_value())
    file = tmp_path / "result.json"
    assert main(["--times", "1", "10", "--rows", "10000", "--json", str(file)]) == 0

    small, large = json.loads(file.read_text())["sizes"]
    assert (small["rows"], large["rows"]) == (10_000, 100_000)
    for size in (small, large):
        assert [step["rows"] for step in size["steps"].values()] == [size["rows"] * 3 // 100] * 2
        assert all(step["seconds"] > 0 for step in size["steps"].values())
        assert size["peak_bytes"] > 50_000_000
    assert large["peak_bytes"] < small["peak_bytes"] + 40_000_000
    printed = capsys.readouterr().out
    assert "100,000 rows" in printed
    assert printed.count("peak memory of the ingestor under 300 MB") == 2
