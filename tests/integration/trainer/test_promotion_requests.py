"""Promotions and rollbacks that are asked for by an event: once each, or refused in plain words."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import select

from infra.embedded.environment import given_variables
from services.trainer.promotion.requests import PromotionRequests
from services.trainer.registry import Registry
from shared.contracts.envelope import Event
from shared.contracts.events import ModelPublished, PromotionRequested
from shared.database.tables import dead_letters, outbox, promotions
from shared.errors import InconsistentState
from shared.messaging.kafka import Producer
from shared.messaging.unit_of_work import AlreadyDone
from shared.settings import Settings
from tests.conftest import REPOSITORY
from tests.waiting import wait_until

JANUARY = date(2024, 1, 31)


class Crash(BaseException):
    """The process is gone: nothing of ours can catch it."""


@pytest.fixture
def trained(bench, small):
    """Two versions, of which the second is the champion and beat the first."""
    ready = bench.build(bench.snapshot(small, JANUARY))
    for strength in (0.00001, 1.0):
        bench.change_spec(
            lambda spec, c=strength: spec["training"]["model"].update(parameters={"C": c})
        )
        bench.train(ready)
    assert bench.emitted(ModelPublished)[-1].decision == "beats_champion"
    return bench


def asked(bench, version: str, action: str = "promote", **more: Any) -> Event[PromotionRequested]:
    said = {"slice_key": "slice_1", "requested_by": "admin", "reason": "it serves better", **more}
    return bench.event(
        PromotionRequested(
            **{"dataset": bench.spec.dataset, **said},
            action=action,
            model_name=bench.model,
            model_version=version,
        )
    )


def handle(bench, event: Event[PromotionRequested]) -> bool:
    try:
        PromotionRequests(bench.registry).on_promotion_requested(event, bench.unit(event))
    except AlreadyDone:
        return False
    return True


def champion(bench) -> str:
    return bench.registry.holder(bench.model, "champion").version


def instead_of(bench) -> str:
    newest = select(promotions.c.champion_version).order_by(promotions.c.decided_at.desc())
    with bench.engine.connect() as connection:
        return connection.execute(newest.limit(1)).scalar_one()


def test_a_promotion_that_is_delivered_twice_is_one_decision_and_one_event(trained):
    before = trained.count(promotions)
    event = asked(trained, "1", champion_version="2")
    assert handle(trained, event)
    assert not handle(trained, event)
    assert champion(trained) == "1"
    assert trained.count(promotions) == before + 1
    published = trained.emitted(ModelPublished)[-1]
    assert (published.model_version, published.decision) == ("1", "promoted_by_hand")
    assert published.reason == "promoted by admin: it serves better"
    with trained.engine.connect() as connection:
        caused = connection.execute(
            select(outbox.c.event_id).where(outbox.c.headers["ce_causationid"].astext == event.id)
        ).scalars()
        assert len(caused.all()) == 1, "the answer names the request as its cause"


def test_a_rollback_makes_the_champion_before_champion_and_withdraws_the_present_one(trained):
    event = asked(trained, "1", "roll_back", champion_version="2")
    assert handle(trained, event)
    assert not handle(trained, event)
    assert champion(trained) == "1"
    published = trained.emitted(ModelPublished)[-1]
    assert (published.decision, published.promoted) == ("rolled_back", True)
    assert published.reason == "rolled back from version 2 by admin: it serves better"
    again = asked(trained, "1", "roll_back")
    with pytest.raises(InconsistentState, match="no champion before"):
        handle(trained, again)


@pytest.mark.parametrize("action", ["promote", "roll_back"])
def test_a_crash_before_the_commit_leaves_the_request_to_be_done_again_once(trained, action):
    event = asked(trained, "1", action, champion_version="2")
    before = trained.count(promotions)
    original = Registry.assign

    def crash(*args: Any) -> None:
        original(*args)
        raise Crash

    with patch.object(Registry, "assign", crash), pytest.raises(Crash):
        handle(trained, event)
    assert trained.count(promotions) == before
    assert champion(trained) == "1", "in MLflow, though nothing of it is committed"
    assert handle(trained, event)
    assert champion(trained) == "1"
    assert instead_of(trained) == "2"
    assert trained.count(promotions) == before + 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"version": "7"}, "has no version 7"),
        ({"version": "1", "champion_version": "1"}, "is version 2 by now, and was version 1"),
        ({"version": "2", "action": "roll_back"}, "before version 2 is version 1, not 2"),
        ({"version": "1", "dataset": "another"}, "not of another"),
    ],
)
def test_what_is_not_as_the_person_saw_it_is_refused_and_changes_nothing(trained, more, said):
    before = trained.count(promotions)
    with pytest.raises(InconsistentState, match=said):
        handle(trained, asked(trained, **more))
    assert champion(trained) == "2"
    assert trained.count(promotions) == before


@pytest.fixture
def process(
    trained, topics: Settings, mlflow_uri: str, tmp_path: Path
) -> Iterator[Callable[[], str]]:
    """A trainer of its own process; gives its log."""
    given = topics.model_copy(
        update={"mlflow_tracking_uri": mlflow_uri, "datasets_dir": tmp_path, "http_port": 0}
    )
    log = tmp_path / "trainer.log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            [sys.executable, "-m", "services.trainer.app"],
            cwd=REPOSITORY,
            env={**os.environ, **given_variables(Settings.model_validate(given.model_dump()))},
            stderr=output,
        )
    try:
        wait_until(lambda: "is up on port" in log.read_text(), seconds=90, what="it is up")
        yield log.read_text
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(timeout=60)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            raise


def test_requests_on_the_topic_are_done_once_each_in_their_order_and_refusals_can_be_read(
    trained, topics: Settings, process: Callable[[], str]
) -> None:
    promote = asked(trained, "1", champion_version="2")
    refused = asked(trained, "9")
    back = asked(trained, "2", "roll_back", champion_version="1")
    producer = Producer(topics)
    for event in (promote, promote, refused, back, promote):
        producer.publish(event.payload.topic, event.key.encode(), event.headers(), event.value())
    producer.close()

    def decisions() -> list[tuple[str, str]]:
        made = [(each.model_version, each.decision) for each in trained.emitted(ModelPublished)]
        return made[2:]

    expected = [("1", "promoted_by_hand"), ("2", "rolled_back")]
    wait_until(lambda: decisions() == expected, seconds=60, what=process())
    assert champion(trained) == "2"
    with trained.engine.connect() as connection:
        dead = connection.execute(select(dead_letters)).one()
    assert dead.event_id == refused.id
    assert (dead.service, dead.reason) == ("trainer", f"{trained.model} has no version 9")
