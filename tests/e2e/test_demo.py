"""`headrace demo`: from nothing to three model versions, and nothing left behind."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from infra.embedded.environment import Broker
from tests.conftest import REPOSITORY

TABLES = {
    "users",
    "subscriptions",
    "usage_agg_30d",
    "payments_agg_90d",
    "support_agg_90d",
    "labels",
}
STAGES = {"ingest", "validate", "snapshot", "dataset", "train"}
METRICS = {"roc_auc", "f1", "accuracy", "weighted_f1", "macro_f1"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`headrace`, of this code."""
    return subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.broker
def test_the_demo_ends_with_three_models_and_leaves_no_process(
    tmp_path: Path, broker: Broker
) -> None:
    root, facts_file = tmp_path / "stack", tmp_path / "facts.json"
    done = run("demo", "--broker", broker, "--root", str(root), "--json", str(facts_file))
    assert done.returncode == 0, done.stdout + done.stderr

    facts = json.loads(facts_file.read_text())
    assert [each["slice_key"] for each in facts["slices"]] == [
        "month_000",
        "month_001",
        "month_002",
    ]
    assert [each["as_of"] for each in facts["slices"]] == ["2024-01-31", "2024-02-29", "2024-03-31"]
    rows = 0
    for each in facts["slices"]:
        assert each["rows_in"] == each["rows_loaded"] + each["rows_quarantined"]
        assert set(each["changes"]) == TABLES
        for change in each["changes"].values():
            assert (
                change["inserted"] + change["updated"] + change["unchanged"] == each["rows_in"] / 6
            )
        assert set(each["seconds"]) == STAGES | {"event_to_model"}
        assert all(seconds > 0 for seconds in each["seconds"].values())
        assert set(each["model"]["metrics"]) == METRICS
        assert each["model"]["metrics"]["roc_auc"] > 0.75
        assert each["snapshot_id"]
        assert len(each["dataset_version"]) == 64
        rows = each["rows_in"]
        assert set(each["tables"]) == TABLES
    assert facts["slices"][0]["model"]["alias"] == "champion"
    assert facts["slices"][0]["rows_in"] < rows, "users come each month"
    assert facts["slices"][2]["current_data_state"]["total_users"] == rows / 6
    assert facts["total_seconds"] > 0

    for line in ("month_001  train     done in", "median hop", "versions of streamflow_churn"):
        assert line in done.stdout
    left = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if any(str(root) in argument for argument in process.info["cmdline"] or [])
    ]
    assert left == []


def test_a_demo_with_faults_ends_well_at_the_refused_slice_and_says_where_to_mend_it(
    tmp_path: Path,
) -> None:
    root, facts_file = tmp_path / "stack", tmp_path / "facts.json"
    where = ("--root", str(root))
    asked = ("--faults", "--keep", "--scale", "0.1", "--json", str(facts_file))
    try:
        done = run("demo", *asked, *where)
        assert done.returncode == 0, done.stdout + done.stderr
        slices = json.loads(facts_file.read_text())["slices"]
        assert [each["status"] for each in slices] == ["published", "published", "rejected"]
        assert "is not a number" in " ".join(slices[-1]["reasons"])
        console = json.loads(run("console", "--json", *where).stdout)
        assert f"the console's password: {console['password']}" in done.stdout
        assert console["address"].rstrip("/") in done.stdout
        assert "1 stopped" in httpx.get(console["address"], trust_env=False).text
    finally:
        assert run("down", *where).returncode == 0
