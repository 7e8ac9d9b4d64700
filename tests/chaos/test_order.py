"""Promises 1, 2 and 4: however often, however late, in whatever order and by whatever clock."""

import itertools
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings, target
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from cli.prune import rules
from cli.prune.rules import prune_all
from cli.verify.audit import audit
from services.validator import turn
from services.validator.suites import Suites
from shared.clock import utc_now
from shared.object_store import ObjectStore
from shared.settings import Settings
from tests.chaos.auditing import assert_well
from tests.chaos.deliveries import Deliveries, make_deliveries
from tests.chaos.size import size

SLICES = ("2024-01-01", "2024-01-02", "2024-01-03")
_names = (f"order{number:03d}" for number in itertools.count())
Make = Callable[[], Deliveries]

loads = st.lists(
    st.tuples(st.sampled_from(SLICES), st.sampled_from([1, 2])), min_size=1, max_size=5
)
orders = st.lists(st.integers(0, 40), max_size=30)


@pytest.fixture
def make(
    engine: Engine,
    settings: Settings,
    store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Make:
    monkeypatch.setattr(turn, "PATIENCE_SECONDS", 0.0)
    suites = Suites(engine, failing_keys_kept=20)
    return lambda: make_deliveries(engine, settings, store, suites, tmp_path, next(_names))


def assert_right(delivered: Deliveries, settings: Settings) -> None:
    """Every load came to its end, each event is there once, and the tables are as they must be."""
    states = dict(
        delivered.query(
            "SELECT load_id, status FROM headrace.loads WHERE dataset = :d", d=delivered.dataset
        )
    )
    assert states.keys() == delivered.content.keys()
    assert set(states.values()) <= {"published", "unchanged", "superseded"}
    published = delivered.published()
    assert {load.load_id for load in published} == {
        load for load, status in states.items() if status == "published"
    }
    known = [load.known_at for load in published]
    assert known == sorted(set(known))
    assert delivered.current() == delivered.replayed()
    newest = delivered.query(
        """
        SELECT s.slice_key, s.revision, max(l.revision) AS newest
        FROM headrace.slices AS s JOIN headrace.loads AS l USING (dataset, slice_key)
        WHERE s.dataset = :dataset AND l.status <> 'unchanged' GROUP BY s.slice_key, s.revision
        """,
        dataset=delivered.dataset,
    )
    assert all(row.revision == row.newest for row in newest), "the last revision is in force"
    own = settings.model_copy(update={"datasets_dir": delivered.root / "specs"})
    assert_well(own, delivered.dataset)


_tried = itertools.count(1)


@settings(max_examples=60 if size().is_full else 3)
@given(asked=loads, order=orders)
# The later of two slices is validated first; a revision overtakes the one before it.
@example(asked=[(SLICES[0], 1), (SLICES[1], 1)], order=[0, 1, 3, 3, 2, 3])
@example(asked=[(SLICES[0], 1), (SLICES[0], 2)], order=[0, 1, 3, 2, 5, 4])
# Everything three times; the last slice first.
@example(asked=[(SLICES[2], 1), (SLICES[0], 1)], order=[1, 1, 1, 0, 0, 0, 3, 3, 2, 2, 2])
def test_events_in_any_order_and_any_number_have_the_effect_of_each_once(
    make: Make,
    request: pytest.FixtureRequest,
    asked: list[tuple[str, int]],
    order: list[int],
) -> None:
    delivered = make()
    for slice_key, seed in asked:
        delivered.request(slice_key, seed)
    waited = 0
    for number in order:
        events = delivered.events()
        waited += not delivered.deliver(events[number % len(events)])
    target(waited)
    delivered.drain()
    delivered.drain()  # every event once more

    assert_right(delivered, request.getfixturevalue("settings"))
    next(_tried)


def test_the_orders_that_were_tried(figures: Callable[..., None]) -> None:
    figures("orders of delivery", tried=next(_tried) - 1)


def test_one_event_at_two_consumers_at_once_has_one_effect(
    make: Make, request: pytest.FixtureRequest
) -> None:
    delivered = make()
    delivered.request(SLICES[0], 1)
    for number in range(3):
        event = delivered.events()[number]
        barrier, errors = threading.Barrier(3, timeout=30), []

        def at_once(event=event, barrier=barrier, errors=errors) -> None:
            try:
                barrier.wait()
                delivered.deliver(event)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=at_once) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert errors == []
        assert len(delivered.events()) == min(3, number + 2)
    assert_right(delivered, request.getfixturevalue("settings"))


LATE_DAYS = 95
"""Later than events stay in the outbox, and their staging and landed files."""


def test_events_that_come_again_after_months_and_a_pruning_have_no_effect(
    make: Make,
    engine: Engine,
    store: ObjectStore,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    figures: Callable[..., None],
) -> None:
    """Their inbox marks outlast all that may bring them again."""
    monkeypatch.setattr(rules, "_retention", lambda settings: 7.0)  # as a new Kafka has it
    own = request.getfixturevalue("settings")
    delivered = make()
    for slice_key, seed in ((SLICES[0], 1), (SLICES[1], 1), (SLICES[0], 2)):
        delivered.request(slice_key, seed)
    delivered.drain()
    with engine.begin() as connection:  # no relay is here
        connection.execute(text("UPDATE headrace.outbox SET published_at = now()"))
    events = delivered.events()

    now = utc_now() + timedelta(days=LATE_DAYS)
    pruned = prune_all(own, engine, store, now=now, is_dry=False)
    gone = {each.what: each.items for each in pruned}
    assert gone["outbox rows"] == len(events), "nothing but the inbox knows of them"
    assert gone["landing copies"] > 0
    for event in (*reversed(events), *events):
        assert delivered.deliver(event)

    assert delivered.events() == [], "nothing came of it"
    assert_right(delivered, own)
    figures(f"deliveries {LATE_DAYS} days late", sent=2 * len(events), effects=0)


AHEAD = "interval '400 days'"


def put_clock_back(engine: Engine, dataset: str) -> None:
    """As it would be had the database's clock been ahead until now."""
    with engine.begin() as connection:
        for statement in (
            f"UPDATE headrace.loads SET started_at = started_at + {AHEAD} WHERE dataset = :d",
            f"UPDATE headrace.snapshots SET known_at = known_at + {AHEAD} WHERE dataset = :d",
            f"UPDATE headrace.slices SET published_at = published_at + {AHEAD} WHERE dataset = :d",
            f"UPDATE headrace.coverage SET recorded_at = recorded_at + {AHEAD} WHERE dataset = :d",
        ):
            connection.execute(text(statement), {"d": dataset})
        for table in ("guests", "stays"):
            connection.execute(
                text(f'UPDATE "{dataset}".{table}_history SET recorded_at = recorded_at + {AHEAD}')
            )


def test_a_clock_that_is_put_back_neither_wedges_two_slices_nor_lets_one_overtake(
    make: Make, engine: Engine, request: pytest.FixtureRequest
) -> None:
    """The order in which the slices of a dataset began is told by `started_at`."""
    delivered = make()
    first, second = (delivered.request(slice_key, 1) for slice_key in SLICES[:2])
    delivered.deliver(delivered.events()[0])
    put_clock_back(engine, delivered.dataset)
    delivered.deliver(delivered.events()[1])

    loaded = {e.headers["ce_correlationid"]: e for e in delivered.events()[2:]}
    assert not delivered.deliver(loaded[second]), "its turn is after the first"
    assert delivered.deliver(loaded[first])
    delivered.drain()
    assert_right(delivered, request.getfixturevalue("settings"))


def test_snapshots_stay_in_order_and_as_they_were_when_the_clock_is_put_back(
    make: Make, engine: Engine, request: pytest.FixtureRequest
) -> None:
    """`known_at` and `recorded_at` ascend; what comes after the jump is known later."""
    delivered = make()
    for slice_key in SLICES[:2]:
        delivered.request(slice_key, 1)
    delivered.drain()
    put_clock_back(engine, delivered.dataset)
    before = delivered.published()
    state = f"""
        SELECT DISTINCT ON (guest) guest, age FROM "{delivered.dataset}".guests_history
        WHERE as_of <= :as_of AND recorded_at <= :known_at
        ORDER BY guest, as_of DESC, recorded_at DESC, history_id DESC
    """
    last = before[-1]
    frozen = delivered.query(state, as_of=last.as_of, known_at=last.known_at)

    delivered.request(SLICES[0], 2)
    delivered.request(SLICES[2], 1)
    delivered.drain()

    after = delivered.published()
    assert [load.load_id for load in after[:2]] == [load.load_id for load in before]
    assert delivered.query(state, as_of=last.as_of, known_at=last.known_at) == frozen
    assert delivered.current() == delivered.replayed()
    differences = audit(request.getfixturevalue("settings"), delivered.dataset)
    assert [(each.check, each.what) for each in differences] == [("snapshots", "known_at")] * 2, (
        "nothing but the two manifests, which were not put ahead"
    )


def test_the_last_of_two_decisions_is_the_later_one_also_when_the_clock_is_put_back(
    engine: Engine,
) -> None:
    from services.trainer.records import decisions, keep_promotion

    def decide(version: str, decision: str) -> None:
        with engine.begin() as connection:
            keep_promotion(
                connection,
                event_id=f"event of {version}",
                **dict.fromkeys(("dataset", "load_id", "snapshot_id", "dataset_version"), "x"),
                **dict.fromkeys(("run_id", "reason", "metric"), "x"),
                as_of="2024-01-01",
                model_name="m",
                model_version=version,
                promoted=True,
                decision=decision,
                score=1.0,
                metrics={},
            )

    decide("1", "first_champion")
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE headrace.promotions SET decided_at = decided_at + {AHEAD}")
        )
    decide("2", "beats_champion")
    with engine.connect() as connection:
        assert [version for version, _ in decisions(connection, "m")] == ["1", "2"]
