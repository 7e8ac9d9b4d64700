"""`headrace demo --dataset rakuten`, and a person's look at what it left."""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.environment import Broker
from infra.embedded.stack import Stack
from tests.conftest import REPOSITORY
from tests.waiting import wait_until

SCALE = 0.1
PRODUCTS = 8492
"""84,916 at that scale."""
SHARES = (40, 43, 46)
CLASSES = 27
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("demo") / "stack"
    yield folder
    Stack(folder).stop()


@pytest.fixture(scope="module")
def headrace(root: Path) -> Command:
    """Runs `headrace` on the demo's stack."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-c",
                "from cli.main import main; main()",
                *words,
                "--root",
                str(root),
            ],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def demo(headrace: Command, root: Path, broker: Broker) -> tuple[dict[str, Any], str]:
    """The facts and the output of the demo, whose stack is still up."""
    file = root.parent / "facts.json"
    words = ("--dataset", "rakuten", "--scale", str(SCALE), "--keep", "--json", str(file))
    done = headrace("demo", "--broker", broker, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text()), done.stdout


def rows_at(share: int) -> int:
    return PRODUCTS * share // 100


def test_each_week_brings_its_share_dated_a_week_apart_up_to_the_last_monday(demo: Any) -> None:
    slices = demo[0]["slices"]
    assert [each["slice_key"] for each in slices] == ["40%", "43%", "46%"]
    dates = [date.fromisoformat(each["as_of"]) for each in slices]
    today = datetime.now(UTC).date()
    assert dates[-1].weekday() == 0
    assert timedelta(0) <= today - dates[-1] <= timedelta(days=7)
    assert {after - before for before, after in itertools.pairwise(dates)} == {timedelta(weeks=1)}


def test_current_data_state_grows_by_the_new_rows_alone(demo: Any) -> None:
    slices = demo[0]["slices"]
    for share, each in zip(SHARES, slices, strict=True):
        assert each["current_data_state"]["percentage"] == share
        assert each["current_data_state"]["total_products"] == rows_at(share)
        assert each["current_data_state"]["total_classes"] == CLASSES
        assert each["tables"] == {"products": rows_at(share), "labels": rows_at(share)}
    for before, share, each in zip(SHARES, SHARES[1:], slices[1:], strict=False):
        brought = rows_at(share) - rows_at(before)
        assert each["changes"]["products"]["inserted"] == brought
        assert each["rows_in"] == 2 * brought


def test_each_week_has_a_model_its_metrics_its_reason_and_its_time(demo: Any) -> None:
    slices = demo[0]["slices"]
    for week, each in enumerate(slices, start=1):
        model, seconds = each["model"], each["seconds"]
        assert (model["name"], model["version"]) == ("rakuten_classifier", str(week))
        assert {"weighted_f1", "macro_f1", "accuracy"} <= set(model["metrics"])
        assert 0.3 < model["metrics"]["weighted_f1"] <= 1
        assert model["score"] == model["metrics"]["weighted_f1"]
        assert model["reason"]
        stages = sum(value for name, value in seconds.items() if name != "event_to_model")
        assert seconds["event_to_model"] > stages, "the hops come on top"
        assert "plots/confusion_matrix.png" in model["plots"]
        assert model["run_url"].startswith("http://127.0.0.1:")


def test_the_training_side_is_balanced_and_the_plots_show_it(demo: Any) -> None:
    built = demo[0]["slices"][-1]["training_dataset"]
    counts = built["class_counts"]
    assert len(counts["train_before"]) == CLASSES
    assert len(set(counts["train"].values())) == 1
    assert max(counts["train_before"].values()) == max(counts["train"].values())
    assert {"plots/class_distribution_before.png", "plots/class_distribution_after.png"} <= set(
        built["plots"]
    )


def test_the_closing_tables_show_all_of_it(demo: Any) -> None:
    facts, said = demo
    for words in (
        "current_data_state after each slice",
        "27 classes in the dataset of 46%",
        "largest over smallest",
        "weighted f1",
        "event to model",
        "confusion_matrix.png",
        facts["slices"][2]["model"]["reason"],
    ):
        assert words in said


def test_status_says_where_the_catalogue_stands(demo: Any, headrace: Command) -> None:
    said = headrace("status").stdout
    lines = said[said.index("rakuten") : said.index("streamflow")].splitlines()
    assert lines[0].endswith("46 %")
    text = "\n".join(lines)
    products = f"{rows_at(46):,}"
    assert f"rows       products {products} · labels {products}" in text
    assert "last load  46% published" in text
    assert "next run   Mon " in text
    assert "classes    27: 2583 " in text
    assert "waiting    nothing" in text
    assert "pictures   " in text

    facts = json.loads(headrace("status", "--json").stdout)
    (rakuten,) = [each for each in facts["datasets"] if each["dataset"] == "rakuten"]
    promoted = [each["model"] for each in demo[0]["slices"] if each["model"]["promoted"]]
    if promoted:
        assert rakuten["champion"]["model_version"] == promoted[-1]["version"]
    else:
        assert rakuten["champion"] is None
    assert facts["stack"]["processes"] == facts["stack"]["ready"]


def test_history_and_sql_agree_with_the_demo(demo: Any, headrace: Command) -> None:
    history = json.loads(headrace("history", "rakuten", "--json").stdout)
    assert [each["slice_key"] for each in history] == ["40%", "43%", "46%"]
    assert [each["rows"] for each in history] == [rows_at(share) for share in SHARES]
    assert [each["model_version"] for each in history] == ["1", "2", "3"]
    assert history[1]["score"] == demo[0]["slices"][1]["model"]["score"]
    sql = "SELECT total_products FROM rakuten.current_data_state"
    done = headrace("psql", "--csv", "-t", "-c", sql)
    assert (done.returncode, done.stdout) == (0, f"{rows_at(46)}\n"), done.stderr
    wrong = headrace("psql", "-c", "SELECT nonsense")
    assert wrong.returncode == 1
    assert "nonsense" in wrong.stderr


def test_health_names_the_service_and_the_server_that_do_not_answer(
    demo: Any, headrace: Command, root: Path
) -> None:
    well = headrace("health", "--json")
    assert well.returncode == 0, well.stdout
    names = {each["name"] for each in json.loads(well.stdout)}
    assert {"postgres", "ingestor", "validator", "snapshotter", "trainer"} <= names

    stack = Stack(root)
    (store,) = [each for each in stack.status() if each.name == "seaweedfs"]
    assert store.pid is not None
    os.kill(store.pid, signal.SIGKILL)
    wait_until(lambda: bool(stack.dead()))

    def without_the_store() -> dict[str, Any] | None:
        done = headrace("health", "--json")
        assert done.returncode == 1
        found = {each["name"]: each["faults"] for each in json.loads(done.stdout)}
        # A service's own answer may be some seconds old.
        return found if "store" in found["snapshotter"] else None

    faults = wait_until(without_the_store, what="the snapshotter to miss the store")
    assert "dead" in faults["seaweedfs"]["process"]
    assert faults["postgres"] == {}
    (validator,) = [each for each in stack.status() if each.name == "validator"]
    at = headrace("health", "--at", validator.address)
    assert at.returncode == 1
    assert "store" in at.stdout
