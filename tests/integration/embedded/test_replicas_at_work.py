"""Several replicas of every service at several datasets, some killed and some joining meanwhile."""

import csv
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from cli.migrate import migrate
from cli.sample.streamflow import write_streamflow
from infra.embedded.stack import Stack
from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.spec_file import find_spec
from shared.database.engine import make_engine
from shared.load_requests import load_request
from shared.messaging import outbox
from tests.conftest import REPOSITORY
from tests.waiting import wait_until

DATASETS = ("alpha", "beta", "gamma")
USERS = 300
EVENTS_OF_A_LOAD = {
    "load-requested": 1,
    "slice-loaded": 1,
    "validated": 1,
    "snapshotted": 1,
    "dataset-ready": 1,
    "model-published": 1,
}
STAGES = (
    ("ingestor", "ingest"),
    ("validator", "validate"),
    ("snapshotter", "snapshot"),
    ("trainer", "dataset"),
    ("trainer", "train"),
)
MONTHS = len(STAGES)


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    folder = tmp_path / "specs"
    folder.mkdir()
    said = (REPOSITORY / "datasets" / "streamflow.yaml").read_text()
    for name in DATASETS:
        own = said.replace("dataset: streamflow\n", f"dataset: {name}\n")
        own = own.replace("name: streamflow_churn", f"name: {name}_churn")
        (folder / f"{name}.yaml").write_text(own)
    return folder


@pytest.fixture
def stack(root: Path, specs: Path) -> Iterator[Stack]:
    stack = Stack(root, given={"DATASETS_DIR": str(specs)}, inherited=dict(os.environ))
    stack.start(migrate=migrate, scale={name: 2 for name, _ in STAGES} | {"notifier": 0})
    yield stack
    stack.stop()


@pytest.fixture
def engine(stack: Stack) -> Iterator[Engine]:
    engine = make_engine(stack.settings(), application="test")
    yield engine
    engine.dispose()


@pytest.fixture
def drops(tmp_path: Path) -> Path:
    write_streamflow(tmp_path / "drops", months=MONTHS, users=USERS, seed=5)
    return tmp_path / "drops"


def rows(engine: Engine, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement), parameters)]


def ask_for(month: int, stack: Stack, engine: Engine, drops: Path) -> None:
    """A slice of every dataset, in the outbox at once."""
    with engine.begin() as connection:
        for dataset in DATASETS:
            payload = load_request(
                connection,
                stack.settings(),
                dataset=dataset,
                slice_key=f"month_{month:03d}",
                source=str(drops),
                requested_by="test",
            )
            outbox.put(connection, Event(payload=payload, source="ingestor", time=utc_now()))


def kill(stack: Stack, name: str) -> None:
    (status,) = [each for each in stack.status() if each.name == name]
    os.kill(status.pid or 0, signal.SIGKILL)
    wait_until(lambda: name in {death.name for death in stack.dead()})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_replicas_that_die_and_join_in_mid_work_lose_nothing_and_double_nothing(
    stack: Stack, engine: Engine, drops: Path, specs: Path
) -> None:
    for month, (service, stage) in enumerate(STAGES):
        ask_for(month, stack, engine, drops)
        wait_until(
            lambda stage=stage: rows(
                engine,
                "SELECT FROM headrace.stage_runs WHERE stage = :stage AND state = 'running'",
                stage=stage,
            ),
            seconds=120,
            what=f"a {stage} under way",
        )
        # The one or the other; and the second time the trainer is met, it is made fewer in mid-fit.
        kill(stack, (service, f"{service}-2")[month % 2])
        stack.start(migrate=migrate, scale={service: 3 if stage != "train" else 1})
    done = "SELECT count(*) FROM headrace.promotions"
    wanted = [(MONTHS * len(DATASETS),)]
    wait_until(
        lambda: rows(engine, done) == wanted,
        seconds=180,
        what=f"all models; {whereabouts(engine)}",
    )
    unpublished = "SELECT FROM headrace.outbox WHERE published_at IS NULL"
    wait_until(lambda: not rows(engine, unpublished))

    assert rows(engine, "SELECT FROM headrace.dead_letters") == []
    assert rows(engine, "SELECT status, revision, count(*) FROM headrace.loads GROUP BY 1, 2") == [
        ("published", 1, MONTHS * len(DATASETS))
    ]
    per_load = rows(
        engine,
        """
        SELECT headers ->> 'ce_correlationid', jsonb_object_agg(topic, events)
        FROM (SELECT headers, topic, count(*) OVER (PARTITION BY headers ->> 'ce_correlationid',
              topic) AS events FROM headrace.outbox WHERE topic <> 'drift-detected') AS o
        GROUP BY 1
        """,
    )
    assert len(per_load) == MONTHS * len(DATASETS)
    assert all(events == EVENTS_OF_A_LOAD for _, events in per_load)
    last = (drops / f"month_{MONTHS - 1:03d}" / "users.csv").open(newline="")
    with last:
        users = [row["user_id"] for row in csv.DictReader(last)]
    states = [state_of(engine, dataset, specs) for dataset in DATASETS]
    assert states[0]["users"][0] == len(users) == states[0]["users_history"][1]
    assert states == [states[0]] * len(DATASETS), "the datasets have the same drops"


def whereabouts(engine: Engine) -> list[tuple[Any, ...]]:
    """For the message of a failure."""
    return rows(engine, "SELECT stage, state, count(*) FROM headrace.stage_runs GROUP BY 1, 2")


def state_of(engine: Engine, dataset: str, specs: Path) -> dict[str, Any]:
    """What a dataset came to: of each table the rows, distinct keys and a digest of its content."""
    state: dict[str, Any] = {}
    for table in find_spec(specs, dataset).tables:
        for name in (table, f"{table}_history"):
            state[name] = rows(
                engine,
                f"""
                SELECT count(*), count(DISTINCT user_id), bit_xor(hashtextextended(
                    (to_jsonb(t) - 'load_id' - 'recorded_at' - 'history_id')::text, 0))
                FROM "{dataset}"."{name}" AS t
                """,
            )[0]
    state["models"] = rows(
        engine,
        """
        SELECT slice_key, model_version, score, decision, train_rows, test_rows
        FROM headrace.promotions AS p
        JOIN headrace.training_datasets USING (dataset, dataset_version)
        JOIN headrace.loads USING (dataset, load_id)
        WHERE dataset = :dataset
        ORDER BY slice_key
        """,
        dataset=dataset,
    )
    named = [(f"month_{month:03d}", str(month + 1)) for month in range(MONTHS)]
    assert [row[:2] for row in state["models"]] == named
    return state
