"""Promises 1 to 3 and 7: whichever service dies, wherever it dies, the end is as if it had not.

Each kill has a dataset of its own, and what that has left in the end is compared with what one has
left that no kill was meant for. `tests/chaos/kill_datasets.py` says what a dataset goes through.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text

from cli.migrate import migrate
from infra.embedded.environment import Broker
from infra.embedded.stack import Stack
from shared.database.engine import make_engine
from tests.chaos.auditing import assert_well
from tests.chaos.end_state import EndState, differences
from tests.chaos.kill_datasets import PATIENCE_SECONDS
from tests.chaos.kill_drops import Drops
from tests.chaos.kill_points import MATRIX, Kill, Kind, kind_of
from tests.chaos.kill_services import Services
from tests.chaos.kill_stage import KillStage, Run
from tests.chaos.size import size
from tests.integration.notifier.receiver import Receiver
from tests.waiting import wait_until

QUICK = {
    "SESSION_TIMEOUT_SECONDS": "3",
    "HEARTBEAT_INTERVAL_SECONDS": "1",
    "RETRY_CEILING_SECONDS": "2",
    "NOTIFY_UNKNOWN_AFTER_SECONDS": "20",
    "HANDLER_THREADS": "4",
}
SEED = int(os.environ.get("SEED") or date.today().toordinal())
"""Of what is drawn from the matrix: another selection every day, and the same again if named."""
SELECTED = {"ingestor": 3, "validator": 2, "snapshotter": 2, "trainer": 3, "notifier": 2}
ROUNDS, PAIRS_A_ROUND = (5, 12) if size().is_full else (1, 2)
Figures = Callable[..., None]
pytestmark = pytest.mark.timeout(7200)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[KillStage]:
    root = tmp_path_factory.mktemp("kills")
    (root / "specs").mkdir()
    receiver = Receiver()
    receiver.up()
    given = {"DATASETS_DIR": str(root / "specs"), "NOTIFY_URLS": receiver.url("/people"), **QUICK}
    stack = Stack(root / ".headrace", given=given, inherited=dict(os.environ), broker=broker)
    services = None
    try:
        environment = stack.start((), migrate=migrate)
        engine = make_engine(stack.settings(), application="test")
        services = Services(root, environment, stack.settings(), engine)
        yield KillStage(services, Drops.write(root / "drops"), receiver)
        engine.dispose()
    finally:
        if services is not None:
            services.stop()
        stack.stop()
        receiver.down()


def test_a_service_killed_at_any_point_ends_as_if_nothing_had_happened(
    stage: KillStage, figures: Figures
) -> None:
    kills = _kills()
    survived, hurt, missed = _survived(stage, [[kill] for kill in kills])
    figures("kill points", survived=survived, of=len(kills), in_all=len(MATRIX), seed=SEED)
    assert (hurt, missed) == ({}, [])


def test_two_kills_in_one_run_end_as_if_nothing_had_happened(
    stage: KillStage, figures: Figures
) -> None:
    kill = st.sampled_from([kill for kill in MATRIX if not kill.is_of_shares])
    tried: Counter[str] = Counter()

    # A failing round takes minutes: it is told as it is, and not made smaller.
    @hypothesis_settings(max_examples=ROUNDS, phases=[Phase.generate], database=None)
    @given(
        st.lists(st.tuples(kill, kill), min_size=PAIRS_A_ROUND, max_size=PAIRS_A_ROUND, unique=True)
    )
    def die(pairs: list[tuple[Kill, Kill]]) -> None:
        survived, hurt, missed = _survived(stage, pairs)
        assert hurt == {}
        tried.update(pairs=len(pairs), survived=survived, kills=2 * len(pairs) - len(missed))

    die()
    figures("pairs of kills", survived=tried["survived"], of=tried["pairs"], kills=tried["kills"])
    assert tried["kills"] > 1.4 * tried["pairs"], "too many second kills never came about"


def _kills() -> list[Kill]:
    """The whole matrix, or some of each service; or those named in KILLS, as `trainer:run.made`."""
    if named := os.environ.get("KILLS"):
        return [kill for kill in MATRIX if str(kill) in named.split(",")]
    if size().is_full:
        return list(MATRIX)
    draw = random.Random(SEED)  # noqa: S311
    return [
        kill
        for service, number in SELECTED.items()
        for kill in draw.sample([kill for kill in MATRIX if kill.service == service], number)
    ]


def _survived(
    stage: KillStage, kills: Sequence[Sequence[Kill]]
) -> tuple[int, dict[str, Any], list[Kill]]:
    """How many of the datasets with these kills came to the same end, the others' differences, and
    the kills that didn't come about.

    Nothing else may be amiss: all services run, and an audit of everything finds nothing.
    """
    is_full = size().is_full
    runs = [Run(stage.scenario(kind_of(each, is_full=is_full)), each) for each in kills]
    missed = stage.endure(runs)
    states = EndState(stage.services.settings, stage.services.engine)
    undisturbed = {kind: states.of(calm.name) for kind, calm in stage.calm.items()}
    hurt: dict[str, Any] = {}
    for run in runs:
        name = run.scenario.name
        wait_until(run.scenario.is_over, seconds=PATIENCE_SECONDS, what=f"the end of {name}: {run}")
        found = differences(states.of(name), undisturbed[run.scenario.kind])
        if twice := _told_twice(stage, name):
            found["told twice"] = twice
        if found:
            hurt[f"{name} after {run}"] = found
    assert stage.services.dead() == {}
    has_model = any(run.scenario.kind is Kind.MODEL for run in runs)
    assert_well(stage.services.settings, has_model=has_model)
    return len(runs) - len(hurt), hurt, missed


def _told_twice(stage: KillStage, dataset: str) -> dict[str, int]:
    """The messages that reached people more often than they were composed, by title."""
    with stage.services.engine.connect() as connection:
        rows = connection.execute(
            text("SELECT title, body FROM headrace.notifications WHERE dataset = :dataset"),
            {"dataset": dataset},
        ).all()
    composed = Counter((row.title, row.body) for row in rows)
    told = Counter((post["title"], post["message"]) for post in stage.receiver.at("/people"))
    return {what[0]: told[what] for what, number in composed.items() if told[what] > number}
