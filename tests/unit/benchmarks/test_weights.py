"""The benchmark of copies and weights from beginning to end, small."""

import json

from benchmarks.weights import main


def test_both_ways_are_measured_and_answer_alike(tmp_path, capsys):
    file = tmp_path / "result.json"
    assert main(["--scale", "0.03", "--runs", "1", "--json", str(file)]) == 0

    found = json.loads(file.read_text())
    assert found["weights"]["rows"] < found["copies"]["rows"]
    # Of so few rows a copy lifts many a word over `min_rows`, which a weight rightly doesn't.
    assert found["same_answers"] > 0.8
    assert "of the test rows are answered alike" in capsys.readouterr().out
