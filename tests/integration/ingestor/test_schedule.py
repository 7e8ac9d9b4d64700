from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import Engine, event, select, text
from sqlalchemy.exc import OperationalError

from services.ingestor.schedule.schedules import Schedules
from shared.contracts.envelope import Event, Record, decode
from shared.contracts.events import LoadRequested
from shared.database.engine import make_engine
from shared.database.statuses import ScheduleOutcome
from shared.database.tables import outbox, schedule_runs
from shared.database.tables import schedules as schedule_table
from shared.errors import UnknownDataset
from shared.load_requests import BadRequest
from shared.schedule.actions import last_runs, pause, resume, run_now
from shared.schedule.deciding import ScheduleRun
from tests.integration.ingestor.conftest import Shop

PARIS = ZoneInfo("Europe/Paris")
WEEK, DAY, SECOND = timedelta(weeks=1), timedelta(days=1), timedelta(seconds=1)
MONDAY = datetime(2024, 9, 2, tzinfo=PARIS)
SHARES = [f"{share}%" for share in [*range(40, 100, 3), 100]]


def monday(number: int) -> datetime:
    """Midnight in Paris, whatever its offset from UTC."""
    return MONDAY + number * WEEK


@dataclass
class Time:
    """What the clock says."""

    now: datetime = MONDAY - 2 * DAY

    def __call__(self) -> datetime:
        return self.now.astimezone(UTC)


@dataclass
class Scheduled:
    """A shop whose slices are asked for by a schedule."""

    shop: Shop
    time: Time = field(default_factory=Time)
    woken: list[None] = field(default_factory=list)

    def write_spec(self, dataset: str = "shop", **schedule: Any) -> None:
        declared = {"cron": "0 0 * * MON", "time_zone": "Europe/Paris", **schedule}
        self.shop.spec |= {
            "dataset": dataset,
            "slices": {"increment": {"initial": 40, "step": 3}, "source": "s3://drops/shop"},
            "schedule": declared,
        }
        self.shop.write_spec()

    def schedules(self, engine: Engine | None = None, **settings: Any) -> Schedules:
        return Schedules(
            engine or self.shop.engine,
            self.shop.settings.model_copy(update=settings),
            self.time,
            wake_relay=lambda: self.woken.append(None),
        )

    def asked(self) -> list[Event[LoadRequested]]:
        """The load requests in the outbox, in order."""
        with self.shop.engine.connect() as connection:
            rows = connection.execute(select(outbox).order_by(outbox.c.outbox_id)).all()
        assert all(row.source == "ingestor" for row in rows)
        return [
            decode(Record(row.topic, 0, 0, row.key.encode(), row.headers, bytes(row.value)))
            for row in rows
        ]  # type: ignore[return-value]

    def slices(self) -> list[str]:
        return [event.payload.slice_key for event in self.asked()]

    def dates(self) -> list[date | None]:
        return [event.payload.as_of for event in self.asked()]

    def runs(self, dataset: str = "shop") -> list[Any]:
        with self.shop.engine.connect() as connection:
            return list(
                connection.execute(
                    select(schedule_runs)
                    .where(schedule_runs.c.dataset == dataset)
                    .order_by(schedule_runs.c.due_at)
                )
            )

    def outcomes(self, dataset: str = "shop") -> list[str]:
        return [run.outcome for run in self.runs(dataset)]

    def row(self) -> Any:
        with self.shop.engine.connect() as connection:
            return connection.execute(select(schedule_table)).one()

    def fail_loads(self) -> None:
        """Have all that was asked for come to nothing, so that it is to come again."""
        self.shop.run("""
            INSERT INTO headrace.dead_letters (service, event_id, topic, partition, "offset",
                headers, error_class, reason, attempts)
            SELECT 'ingestor', event_id, topic, 0, outbox_id, headers, 'Test', 'test', 1
            FROM headrace.outbox""")


@pytest.fixture
def scheduled(shop: Shop) -> Scheduled:
    found = Scheduled(shop)
    found.write_spec()
    return found


def test_twenty_weeks_ask_for_every_share_on_its_monday_and_then_for_nothing(
    scheduled: Scheduled,
) -> None:
    schedules = scheduled.schedules()
    end = monday(22)
    while scheduled.time.now < end:
        schedules.run_due()
        scheduled.time.now += timedelta(hours=12)
    schedules.settle(end)
    assert scheduled.slices() == SHARES
    assert scheduled.dates() == [monday(week).date() for week in range(21)]
    assert len(scheduled.woken) == 21
    runs = scheduled.runs()
    assert [run.due_at for run in runs] == [monday(week).astimezone(UTC) for week in range(23)]
    assert [run.outcome for run in runs] == ["requested"] * 21 + ["nothing_to_load"] * 2
    assert [run.slice_key for run in runs] == [*SHARES, None, None]
    assert "reached 100%" in runs[-1].detail
    events = scheduled.asked()
    assert [run.load_id for run in runs[:21]] == [event.id for event in events]
    assert {event.payload.requested_by for event in events} == {"schedule"}
    assert {event.payload.source_uri for event in events} == {"s3://drops/shop"}


def test_nothing_from_before_its_birth_fires(scheduled: Scheduled) -> None:
    schedules = scheduled.schedules()
    scheduled.time.now = monday(5) + SECOND
    assert schedules.run_due() == []
    scheduled.time.now = monday(6) - SECOND
    assert schedules.run_due() == []
    assert scheduled.runs() == []
    scheduled.time.now = monday(6)
    assert [run.due_at for run in schedules.run_due()] == [monday(6).astimezone(UTC)]


def test_any_number_of_ingestors_at_the_same_moment_fire_once(scheduled: Scheduled) -> None:
    scheduled.write_spec(cron="* * * * *")
    scheduled.shop.spec["slices"]["increment"] = {"initial": 1, "step": 1}
    scheduled.shop.write_spec()
    engines = [make_engine(scheduled.shop.settings, application="test") for _ in range(4)]
    replicas = [scheduled.schedules(engine) for engine in engines]
    moments = 60
    with ThreadPoolExecutor(len(replicas)) as pool:
        for minute in range(moments + 1):
            now = MONDAY + minute * timedelta(minutes=1)
            told = list(pool.map(lambda replica: replica.settle(now), replicas))  # noqa: B023
            told += [replica.settle(now) for replica in replicas]  # one may have found it taken
            assert sum(map(len, told)) == (1 if minute else 0)
    for engine in engines:
        engine.dispose()
    assert scheduled.slices() == [f"{number}%" for number in range(1, moments + 1)]
    assert scheduled.outcomes() == ["requested"] * moments


@pytest.mark.parametrize("returns", [timedelta(days=2), timedelta(minutes=2)])
@pytest.mark.parametrize(
    ("missed", "outcomes", "slices", "dates"),
    [
        ("latest", ["missed"] * 4 + ["requested"], ["40%"], [5]),
        ("all", ["requested"] * 5, ["40%", "43%", "46%", "49%", "52%"], [1, 2, 3, 4, 5]),
        ("skip", ["missed"] * 5, [], []),
    ],
)
def test_what_five_weeks_of_downtime_missed_is_done_as_the_spec_says(
    scheduled: Scheduled,
    missed: str,
    outcomes: list[str],
    slices: list[str],
    dates: list[int],
    returns: timedelta,
) -> None:
    scheduled.write_spec(missed=missed)
    scheduled.schedules().settle(monday(0) + DAY)
    back = scheduled.schedules()
    back.settle(monday(5) + returns)
    assert scheduled.outcomes() == outcomes
    assert scheduled.slices() == slices
    assert scheduled.dates() == [monday(week).date() for week in dates]
    back.settle(monday(6))
    assert scheduled.outcomes() == [*outcomes, "requested"], "it goes on as if nothing had been"
    assert len(scheduled.slices()) == len(slices) + 1


@pytest.mark.parametrize("missed", ["latest", "all"])
def test_year_of_missed_minutes_is_bounded_and_says_so(scheduled: Scheduled, missed: str) -> None:
    scheduled.write_spec(cron="* * * * *", missed=missed)
    schedules = scheduled.schedules(schedule_moments_kept=25)
    schedules.settle(MONDAY)
    schedules.settle(MONDAY + 365 * DAY)
    runs = scheduled.runs()
    assert len(runs) == 25
    assert "more than 25 moments" in runs[0].detail
    assert runs[-1].due_at == MONDAY + 365 * DAY
    assert len(scheduled.slices()) == (21 if missed == "all" else 2)  # the last two within grace
    assert schedules.settle(MONDAY + 365 * DAY) == []


def test_paused_schedule_asks_for_nothing_and_resumed_goes_on_from_then(
    scheduled: Scheduled,
) -> None:
    engine, settings = scheduled.shop.engine, scheduled.shop.settings
    schedules = scheduled.schedules()
    schedules.settle(MONDAY - DAY)
    schedules.settle(monday(0))
    assert pause(engine, settings, "shop", monday(0) + DAY, by="ann")
    assert not pause(engine, settings, "shop", monday(0) + 2 * DAY, by="bob")
    row = scheduled.row()
    assert (row.is_paused, row.changed_by) == (True, "ann")
    assert row.changed_at == monday(0) + DAY
    schedules.settle(monday(1))
    schedules.settle(monday(2))
    # The ingestor is down for the third week.
    assert resume(engine, settings, "shop", monday(3) + DAY, by="ann")
    assert not resume(engine, settings, "shop", monday(3) + DAY, by="ann")
    assert scheduled.outcomes() == ["requested", "paused", "paused", "paused"]
    assert schedules.settle(monday(3) + 2 * DAY) == []
    schedules.settle(monday(4))
    assert scheduled.outcomes() == ["requested", "paused", "paused", "paused", "requested"]
    assert scheduled.slices() == ["40%", "43%"]
    assert scheduled.dates() == [monday(0).date(), monday(4).date()]


def test_schedule_may_be_paused_before_any_ingestor_has_seen_it(scheduled: Scheduled) -> None:
    pause(scheduled.shop.engine, scheduled.shop.settings, "shop", MONDAY - DAY, by="ann")
    scheduled.schedules().settle(monday(0))
    assert scheduled.outcomes() == ["paused"]
    assert scheduled.slices() == []


@pytest.mark.parametrize("act", [pause, resume, run_now])
def test_word_about_a_schedule_that_is_not_there_is_refused(
    scheduled: Scheduled, act: Callable[..., object]
) -> None:
    engine, settings = scheduled.shop.engine, scheduled.shop.settings
    with pytest.raises(UnknownDataset):
        act(engine, settings, "nosuch", MONDAY, by="ann")
    del scheduled.shop.spec["schedule"]
    scheduled.shop.write_spec()
    with pytest.raises(BadRequest, match="has no schedule"):
        act(engine, settings, "shop", MONDAY, by="ann")


@pytest.mark.parametrize(
    ("day", "expected"),
    [("2024-03-31", "2024-03-31T01:30:00+00:00"), ("2024-10-27", "2024-10-27T00:30:00+00:00")],
)
def test_on_the_day_when_clocks_change_it_fires_once(
    scheduled: Scheduled, day: str, expected: str
) -> None:
    scheduled.write_spec(cron="30 2 * * *")
    schedules = scheduled.schedules()
    now = datetime.fromisoformat(day).replace(tzinfo=PARIS).astimezone(UTC)
    end = now + timedelta(hours=20)
    while now < end:
        schedules.settle(now)
        now += timedelta(minutes=10)
    assert [run.due_at.isoformat() for run in scheduled.runs()] == [expected]
    assert scheduled.dates() == [date.fromisoformat(day)]


def test_ingestor_that_dies_at_its_commit_has_fired_nothing_and_then_fires_once(
    scheduled: Scheduled,
) -> None:
    schedules = scheduled.schedules()
    schedules.settle(MONDAY - DAY)
    before = scheduled.row()
    mortal = make_engine(scheduled.shop.settings, application="test")

    @event.listens_for(mortal, "commit")
    def die(connection: Any) -> None:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        scheduled.shop.run("SELECT pg_terminate_backend(:pid, 5000)", pid=pid)

    with pytest.raises(OperationalError):
        scheduled.schedules(mortal).settle(monday(0))
    mortal.dispose()
    assert (scheduled.runs(), scheduled.asked(), scheduled.row()) == ([], [], before)
    schedules.settle(monday(0) + SECOND)
    schedules.settle(monday(0) + 2 * SECOND)
    assert scheduled.outcomes() == ["requested"]
    assert scheduled.slices() == ["40%"]


def test_ingestor_that_hangs_with_a_schedule_in_hand_holds_nobody_up(scheduled: Scheduled) -> None:
    scheduled.write_spec("bakery")
    schedules = scheduled.schedules()
    schedules.settle(MONDAY - DAY)
    with scheduled.shop.engine.begin() as connection:
        connection.execute(
            select(schedule_table).where(schedule_table.c.dataset == "shop").with_for_update()
        )
        assert [run.dataset for run in schedules.settle(monday(0))] == ["bakery"]
    assert [run.dataset for run in schedules.settle(monday(0) + SECOND)] == ["shop"]


def test_moment_that_was_decided_stays_so_though_its_schedule_is_set_back(
    scheduled: Scheduled,
) -> None:
    schedules = scheduled.schedules()
    schedules.settle(MONDAY - DAY)
    schedules.settle(monday(0))
    back = "UPDATE headrace.schedules SET settled_until = :until"
    scheduled.shop.run(back, until=MONDAY - DAY)
    assert schedules.settle(monday(0) + SECOND) == []
    scheduled.shop.run(back, until=MONDAY - DAY)
    scheduled.shop.run("DELETE FROM headrace.schedule_runs")
    schedules.settle(monday(0) + SECOND)
    assert len(scheduled.asked()) == 1, "the event's id is its moment's"


def test_changed_schedule_counts_from_its_change(scheduled: Scheduled) -> None:
    schedules = scheduled.schedules()
    schedules.settle(MONDAY - DAY)
    schedules.settle(monday(0))
    wednesday = monday(0) + 2 * DAY + timedelta(hours=12)
    schedules.settle(wednesday)
    scheduled.write_spec(cron="0 9 * * *", time_zone="America/New_York")
    assert schedules.settle(wednesday + SECOND) == [], "9:00 of Tuesday isn't made up for"
    nine = datetime(2024, 9, 4, 9, tzinfo=ZoneInfo("America/New_York"))
    assert [run.due_at for run in schedules.settle(nine)] == [nine]
    assert scheduled.slices() == ["40%", "43%"]


def test_schedule_that_was_taken_out_and_put_in_again_counts_from_then(
    scheduled: Scheduled,
) -> None:
    schedules = scheduled.schedules()
    schedules.settle(MONDAY - DAY)
    kept = scheduled.shop.spec.pop("schedule")
    scheduled.shop.write_spec()
    schedules.settle(monday(3))
    scheduled.shop.spec["schedule"] = kept
    scheduled.shop.write_spec()
    assert schedules.settle(monday(3) + DAY) == []
    assert len(schedules.settle(monday(4))) == 1


def test_faulty_spec_stops_its_own_schedule_only_and_is_told_once_for_each_change(
    scheduled: Scheduled, caplog: pytest.LogCaptureFixture
) -> None:
    folder = scheduled.shop.settings.datasets_dir
    (folder / "broken.yaml").write_text("dataset: [")
    scheduled.write_spec("astray", cron="0 25 * * *")
    scheduled.write_spec("shop")
    schedules = scheduled.schedules()
    for hour in range(60):
        schedules.settle(MONDAY - DAY + hour * timedelta(hours=1))
    assert scheduled.slices() == ["40%"]
    assert len(caplog.messages) == 2
    assert any("hour '25' is not within 0 to 23" in message for message in caplog.messages)
    assert any("broken.yaml" in message and "line 1" in message for message in caplog.messages)
    scheduled.write_spec("astray", cron="0 0 * * */9")
    schedules.settle(monday(1))
    assert len(caplog.messages) == 3
    scheduled.write_spec("astray", cron="0 0 * * TUE")
    schedules.settle(monday(1) + SECOND)
    schedules.settle(monday(1) + DAY)
    assert scheduled.outcomes("astray") == ["requested"]
    assert scheduled.outcomes("shop") == ["requested"] * 2


def test_increment_without_a_source_is_refused_with_what_to_do_and_goes_on_once_it_has_one(
    scheduled: Scheduled,
) -> None:
    del scheduled.shop.spec["slices"]["source"]
    scheduled.shop.write_spec()
    schedules = scheduled.schedules()
    schedules.settle(MONDAY - DAY)
    (refused,) = schedules.settle(monday(0))
    assert refused.outcome is ScheduleOutcome.REFUSED
    assert "`headrace load shop --from FOLDER`" in str(refused.detail)
    assert scheduled.asked() == []
    scheduled.shop.run("""
        INSERT INTO headrace.loads (load_id, dataset, slice_key, status, source_uri, requested_by,
            requested_at)
        VALUES ('l', 'shop', '40%', 'published', '/drops/shop', 'ann', now())""")
    scheduled.shop.run("""
        INSERT INTO headrace.slices
        VALUES ('shop', '40%', '2024-09-02', 1, 'l', 'digest', now())""")
    schedules.settle(monday(1))
    (asked,) = scheduled.asked()
    assert (asked.payload.slice_key, asked.payload.source_uri) == ("43%", "/drops/shop")
    assert scheduled.outcomes() == ["refused", "requested"]


def test_slice_that_failed_comes_again_with_the_next_moment(scheduled: Scheduled) -> None:
    schedules = scheduled.schedules()
    schedules.settle(MONDAY - DAY)
    schedules.settle(monday(0))
    scheduled.fail_loads()
    schedules.settle(monday(1))
    assert scheduled.slices() == ["40%", "40%"]
    assert len({event.id for event in scheduled.asked()}) == 2


def test_slices_with_a_date_in_their_name_keep_it(scheduled: Scheduled) -> None:
    scheduled.shop.spec["slices"] = {
        "naming": {"pattern": "day_{index:02d}", "first_as_of": "2024-03-01", "every": "day"},
        "source": "s3://drops/shop",
    }
    scheduled.shop.write_spec()
    schedules = scheduled.schedules()
    schedules.settle(MONDAY - DAY)
    schedules.settle(monday(0))
    (asked,) = scheduled.asked()
    assert (asked.payload.slice_key, asked.payload.as_of) == ("day_00", None)
    assert asked.payload.source_uri == "s3://drops/shop/day_00"


def test_run_now_asks_for_the_next_slice_also_while_paused_and_leaves_the_schedule_as_it_is(
    scheduled: Scheduled,
) -> None:
    engine, settings = scheduled.shop.engine, scheduled.shop.settings
    schedules = scheduled.schedules()
    schedules.settle(MONDAY - DAY)
    pause(engine, settings, "shop", MONDAY - DAY, by="ann")
    before = scheduled.row()
    late = datetime(2024, 9, 3, 23, 30, tzinfo=UTC)  # the 4th in Paris
    run = run_now(engine, settings, "shop", late, by="ann")
    (asked,) = scheduled.asked()
    assert (run.outcome, run.slice_key, run.load_id) == ("requested", "40%", asked.id)
    assert (asked.payload.as_of, asked.payload.requested_by) == (date(2024, 9, 4), "ann")
    assert scheduled.row() == before
    with engine.connect() as connection:
        assert last_runs(connection) == {"shop": run}
    with pytest.raises(BadRequest, match="at this very moment"):
        run_now(engine, settings, "shop", late, by="bob")
    for second in range(1, 22):
        run = run_now(engine, settings, "shop", late + second * SECOND, by="ann")
    assert scheduled.slices() == SHARES
    assert (run.outcome, run.load_id) == (ScheduleOutcome.NOTHING_TO_LOAD, None)


def test_run_now_beside_the_schedule_asks_for_another_slice(scheduled: Scheduled) -> None:
    engine, settings = scheduled.shop.engine, scheduled.shop.settings
    schedules = scheduled.schedules()
    schedules.settle(MONDAY - DAY)
    with ThreadPoolExecutor(4) as pool:
        by_hand = [
            pool.submit(run_now, engine, settings, "shop", monday(0) + n * SECOND, by="ann")
            for n in range(1, 4)
        ]
        found: list[ScheduleRun] = [asked.result() for asked in by_hand]
    found += schedules.settle(monday(0))
    assert sorted(str(run.slice_key) for run in found) == SHARES[:4]


def test_clock_that_was_ahead_is_told_and_resume_begins_anew(
    scheduled: Scheduled, caplog: pytest.LogCaptureFixture
) -> None:
    schedules = scheduled.schedules()
    schedules.settle(monday(9) + DAY)
    assert schedules.settle(monday(0)) == []
    assert "settled until" in caplog.text
    resume(scheduled.shop.engine, scheduled.shop.settings, "shop", monday(0) + DAY, by="ann")
    assert len(schedules.settle(monday(1))) == 1


def test_runs_are_counted_by_outcome(scheduled: Scheduled) -> None:
    registry = CollectorRegistry()
    counter = Counter("runs", "Runs", ["dataset", "outcome"], registry=registry)
    schedules = Schedules(
        scheduled.shop.engine, scheduled.shop.settings, scheduled.time, runs=counter
    )
    schedules.settle(MONDAY - DAY)
    schedules.settle(monday(3) + DAY)
    counts = {
        outcome: registry.get_sample_value("runs_total", {"dataset": "shop", "outcome": outcome})
        for outcome in ("requested", "missed")
    }
    assert counts == {"requested": 1.0, "missed": 3.0}


def test_idle_look_writes_nothing(scheduled: Scheduled) -> None:
    schedules = scheduled.schedules()
    schedules.settle(MONDAY + DAY)
    row = "SELECT xmin::text, ctid::text FROM headrace.schedules"
    with scheduled.shop.engine.connect() as connection:
        before = connection.execute(text(row)).one()
        for second in range(50):
            schedules.settle(MONDAY + DAY + second * SECOND)
        assert connection.execute(text(row)).one() == before
