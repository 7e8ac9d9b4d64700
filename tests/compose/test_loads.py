"""Slices from outside to their models, and one that is refused."""

import shutil
from pathlib import Path
from uuid import uuid4

import pytest

from tests.compose.accounts import check_dataset, mlflow
from tests.compose.drops import change_cell
from tests.compose.system import READY_SECONDS, System
from tests.waiting import wait_until

DATASET = "streamflow"
MONTHS = ("month_000", "month_001")


@pytest.fixture(scope="module")
def loads(system: System) -> dict[str, Path]:
    """Both drops, asked for by events from outside, each to its model."""
    done = {}
    for month in MONTHS:
        drop = system.drops / DATASET / month
        with system.step(f"{DATASET}/{month} from event to model"):
            load_id = system.request(DATASET, month, drop)
            system.await_model(load_id)
        done[load_id] = drop
        for stage, waited, took in system.query(
            """
            SELECT stage, extract(epoch FROM started_at - event_time),
                   extract(epoch FROM finished_at - started_at)
            FROM headrace.stage_runs WHERE load_id = :load ORDER BY started_at
            """,
            load=load_id,
        ):
            system.timings.add(f"  {stage}", float(took), f"after a hop of {float(waited):.3f} s")
    return done


def test_two_drops_go_from_an_event_to_a_champion(system: System, loads: dict[str, Path]) -> None:
    check_dataset(system, DATASET, loads)


def test_a_model_knows_the_commit_of_the_image_that_trained_it(
    system: System, loads: dict[str, Path], commit: str
) -> None:
    for load_id in loads:
        ((name, version),) = system.query(
            "SELECT model_name, model_version FROM headrace.promotions WHERE load_id = :load",
            load=load_id,
        )
        found = mlflow(system, "GET", f"model-versions/get?name={name}&version={version}")
        tags = {tag["key"]: tag["value"] for tag in found["model_version"]["tags"]}
        assert tags["headrace.git_commit"] == commit


def test_a_spoiled_drop_is_refused_told_and_changes_nothing(
    system: System, loads: dict[str, Path]
) -> None:
    spoiled = system.drops / DATASET / "month_002"
    shutil.copytree(system.drops / DATASET / MONTHS[-1], spoiled)
    change_cell(spoiled, "usage_agg_30d", 6, "watch_hours_30d", "-4.5")

    with system.step(f"{DATASET}/month_002 from event to refusal"):
        load_id = system.request(DATASET, "month_002", spoiled)
        system.await_status(load_id, "rejected")

    check_dataset(system, DATASET, loads)
    ((reasons, report),) = system.query(
        "SELECT reasons, report_uri FROM headrace.loads WHERE load_id = :load", load=load_id
    )
    assert reasons[0]["column"] == "watch_hours_30d"
    assert report

    def was_told() -> bool:
        return any("month_002" in each["title"] for each in system.receiver.messages())

    wait_until(
        was_told, seconds=READY_SECONDS, what="a message about the refusal at the notifier's target"
    )


def test_a_load_over_http_needs_the_token(system: System, loads: dict[str, Path]) -> None:
    url = f"http://127.0.0.1:{system.variables['INGESTOR_PORT']}/loads"
    month = f"/drops/{DATASET}/{MONTHS[0]}"
    body = {"dataset": DATASET, "slice_key": MONTHS[0], "source_uri": month}
    token = system.variables["API_TOKEN"]
    before = system.scalar("SELECT count(*) FROM headrace.outbox")

    assert system.http("POST", url, body).status == 401
    wrong = {"Authorization": f"Bearer {token[:-1]}x"}
    assert system.http("POST", url, body, wrong).status == 401
    assert system.scalar("SELECT count(*) FROM headrace.outbox") == before

    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid4())}
    accepted = system.http("POST", url, body, headers)
    assert accepted.status == 202
    assert system.http("POST", url, body, headers).body == accepted.body
    load_id = accepted.body["load_id"]
    system.await_status(load_id, "unchanged")
    assert system.http("GET", f"{url}/{load_id}").body["status"] == "unchanged"
    check_dataset(system, DATASET, loads)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_a_request_may_come_compressed(system: System, loads: dict[str, Path], codec: str) -> None:
    drop = system.drops / DATASET / MONTHS[0]
    load_id = system.request(DATASET, drop.name, drop, codec=codec)
    system.await_status(load_id, "unchanged")
    check_dataset(system, DATASET, loads)
