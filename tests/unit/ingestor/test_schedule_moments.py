from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.schedule_spec import MissedRuns, Schedule
from shared.database.statuses import ScheduleOutcome
from shared.schedule.crontab import BadCrontab, read_crontab
from shared.schedule.deciding import next_run, verdicts
from shared.schedule.moments import last_moments, moments, next_moment, schedule_faults

PARIS = ZoneInfo("Europe/Paris")
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def every(cron: str, zone: str = "UTC") -> Schedule:
    return Schedule(cron=cron, time_zone=zone)


def at(text: str, zone: ZoneInfo | None = None) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone or UTC)


def fired(cron: str, zone: ZoneInfo, after: str, until: str) -> list[str]:
    found = moments(every(cron, zone.key), at(after, zone), at(until, zone))
    return [moment.astimezone(zone).strftime("%d %H:%M %z") for moment in found]


@pytest.mark.parametrize(
    ("weekdays", "expected"),
    [
        ("0", {"Sun"}),
        ("7", {"Sun"}),
        ("1", {"Mon"}),
        ("6", {"Sat"}),
        ("MON", {"Mon"}),
        ("sun", {"Sun"}),
        ("1-5", {"Mon", "Tue", "Wed", "Thu", "Fri"}),
        ("MON-FRI", {"Mon", "Tue", "Wed", "Thu", "Fri"}),
        ("0-2", {"Sun", "Mon", "Tue"}),
        ("5-7", {"Fri", "Sat", "Sun"}),
        ("SAT-SUN", {"Sat", "Sun"}),
        ("SUN-MON", {"Sun", "Mon"}),
        ("SUN-SUN", {"Sun"}),
        ("0,3,6", {"Sun", "Wed", "Sat"}),
        ("SUN,wed,6", {"Sun", "Wed", "Sat"}),
        ("1-5/2", {"Mon", "Wed", "Fri"}),
        ("MON-FRI/2", {"Mon", "Wed", "Fri"}),
        ("*/2", {"Sun", "Tue", "Thu", "Sat"}),
        ("4/2", {"Thu", "Sat"}),
        ("*", {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}),
    ],
)
def test_weekdays_count_as_in_crontab(weekdays: str, expected: set[str]) -> None:
    found = moments(every(f"0 0 * * {weekdays}"), at("2024-05-01"), at("2024-05-15"))
    assert {moment.strftime("%a") for moment in found} == expected
    assert len(found) == 2 * len(expected)


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 0 1 * *", ["05-01", "06-01"]),
        ("0 0 1,15 MAY-JUN *", ["05-01", "05-15", "06-01", "06-15"]),
        ("0 0 31 * *", ["05-31"]),
        ("0 0 */15 6 *", ["06-01", "06-16"]),
        # Both days restricted: either is enough.
        ("0 0 1 6 SAT", ["06-01", "06-08", "06-15", "06-22", "06-29"]),
        ("0 0 12 6 SAT", ["06-01", "06-08", "06-12", "06-15", "06-22", "06-29"]),
        ("0 0 31 6 SAT", ["06-01", "06-08", "06-15", "06-22", "06-29"]),
        # One of them begins with a star: both have to fit.
        ("0 0 */2 6 SAT", ["06-01", "06-15", "06-29"]),
    ],
)
def test_days_count_as_in_crontab(cron: str, expected: list[str]) -> None:
    found = moments(every(cron), at("2024-04-30T12:00"), at("2024-06-30T12:00"))
    assert [moment.strftime("%m-%d") for moment in found] == expected


def test_the_beginning_is_not_of_the_time_and_the_end_is() -> None:
    weekly = every("0 0 * * MON")
    monday = at("2024-05-06")
    assert moments(weekly, monday, monday + 7 * DAY) == [monday + 7 * DAY]
    assert moments(weekly, monday - timedelta(microseconds=1), monday) == [monday]
    assert moments(weekly, monday, monday) == moments(weekly, monday + DAY, monday) == []


def test_time_that_does_not_exist_fires_once_an_hour_later() -> None:
    assert fired("30 2 * * *", PARIS, "2024-03-30T00:00", "2024-04-01T12:00") == [
        "30 02:30 +0100",
        "31 03:30 +0200",
        "01 02:30 +0200",
    ]
    assert fired("30 2,3 * * *", PARIS, "2024-03-31T00:00", "2024-03-31T12:00") == [
        "31 03:30 +0200"
    ]


def test_time_that_exists_twice_fires_once() -> None:
    assert fired("30 2 * * *", PARIS, "2024-10-26T00:00", "2024-10-28T12:00") == [
        "26 02:30 +0200",
        "27 02:30 +0200",
        "28 02:30 +0100",
    ]


@pytest.mark.parametrize("day", ["2024-03-31", "2024-10-27"])
def test_schedule_of_every_hour_fires_every_real_hour_when_clocks_change(day: str) -> None:
    begin = at(f"{day}T12:00", PARIS).astimezone(UTC) - DAY
    found = moments(every("15 * * * *", PARIS.key), begin, begin + DAY)
    assert found == [begin + timedelta(hours=n, minutes=15) for n in range(24)]


def test_zone_that_left_out_a_whole_day_fires_for_it_once() -> None:
    apia = ZoneInfo("Pacific/Apia")  # had no 30th of December 2011
    assert fired("0 9 * * *", apia, "2011-12-29T00:00", "2012-01-01T00:00") == [
        "29 09:00 -1000",
        "31 09:00 +1400",
    ]


ZONES = ["Europe/Paris", "Australia/Lord_Howe", "America/New_York", "UTC", "Asia/Kolkata"]
CRONS = [
    "*/10 * * * *",
    "0 * * * *",
    "7,37 1-3 * * *",
    "0 0 * * MON",
    "30 2 * * 0",
    "5 */2 1-7 * *",
]


SCHEDULES = st.builds(every, st.sampled_from(CRONS), st.sampled_from(ZONES))
TIMES = st.datetimes(datetime(2023, 1, 1), datetime(2026, 1, 1)).map(
    lambda t: t.replace(tzinfo=UTC)
)


def by_looking_at_each_minute(
    schedule: Schedule, after: datetime, until: datetime
) -> set[datetime]:
    zone, crontab = ZoneInfo(schedule.time_zone), read_crontab(schedule.cron)
    found, minute = set(), after.replace(second=0, microsecond=0) + MINUTE
    while minute <= until:
        local = minute.astimezone(zone)
        if (
            local.minute in crontab.minutes
            and local.hour in crontab.hours
            and local.month in crontab.months
            and local.day in crontab.days
            and (local.weekday() + 1) % 7 in crontab.weekdays
        ):
            found.add(minute)
        minute += MINUTE
    return found


@given(schedule=SCHEDULES, after=TIMES)
def test_it_fires_at_each_minute_whose_local_time_fits(schedule: Schedule, after: datetime) -> None:
    zone = ZoneInfo(schedule.time_zone)
    until = after + 2 * DAY
    found = moments(schedule, after, until)
    edges = {(after + n * DAY).astimezone(zone).utcoffset() for n in range(-1, 4)}
    if len(edges) == 1:  # no clock is changed about then
        assert set(found) == by_looking_at_each_minute(schedule, after, until)
    assert found == sorted(set(found))


@given(schedule=SCHEDULES, times=st.lists(TIMES, min_size=3, max_size=3, unique=True).map(sorted))
def test_time_settled_in_parts_fires_as_in_one(schedule: Schedule, times: list[datetime]) -> None:
    begin, between, end = times
    end = min(end, begin + 5 * DAY)
    between = min(between, end)
    parts = moments(schedule, begin, between) + moments(schedule, between, end)
    assert parts == moments(schedule, begin, end)


@pytest.mark.parametrize("zone", ["Europe/Paris", "Australia/Lord_Howe"])
@pytest.mark.parametrize("begin", ["2024-03-30T12:00", "2024-04-06T05:00", "2024-10-26T12:00"])
@pytest.mark.parametrize("cron", CRONS)
def test_change_of_clocks_settled_in_small_parts_fires_as_in_one(
    cron: str, begin: str, zone: str
) -> None:
    schedule, edge, end = every(cron, zone), at(begin), at(begin) + DAY
    parts = []
    while edge < end:
        parts += moments(schedule, edge, edge + 7 * MINUTE)
        edge += 7 * MINUTE
    assert parts == moments(schedule, at(begin), edge)


@given(schedule=SCHEDULES, after=TIMES, limit=st.integers(1, 50))
def test_last_and_next_moments_are_those_of_all(
    schedule: Schedule, after: datetime, limit: int
) -> None:
    until = after + 2 * DAY
    whole = moments(schedule, after, until)
    assert last_moments(schedule, after, until, limit) == (whole[-limit:], len(whole) > limit)
    following = next_moment(schedule, after)
    assert following is not None
    assert following == whole[0] if whole else following > until


def test_last_moments_of_ten_years_of_every_minute_are_found_at_once() -> None:
    found, is_cut = last_moments(every("* * * * *"), at("2014-01-01"), at("2024-01-01"), 1000)
    assert (len(found), found[-1], is_cut) == (1000, at("2024-01-01"), True)
    assert found[0] == at("2024-01-01") - 999 * MINUTE
    few, is_cut = last_moments(every("0 0 1 1 *"), at("2014-01-01"), at("2024-01-01"), 1000)
    assert ([moment.year for moment in few], is_cut) == (list(range(2015, 2025)), False)


def test_next_moment_of_a_rare_schedule_is_found_and_of_a_frequent_one_too() -> None:
    assert next_moment(every("0 0 29 2 *"), at("2024-03-01")) == at("2028-02-29")
    assert next_moment(every("0 0 29 2 */6"), at("2024-03-01")) == at("2032-02-29")
    assert next_moment(every("* * * * *"), at("2024-03-01")) == at("2024-03-01T00:01")


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("60 0 * * *", "the minute '60' is not within 0 to 59"),
        ("0 24 * * *", "the hour '24'"),
        ("0 0 0 * *", "the day of the month '0' is not within 1 to 31"),
        ("0 0 * 13 *", "the month '13' is not within 1 to 12 or JAN to DEC"),
        ("0 0 * MONDAY *", "the month 'MONDAY'"),
        ("0 0 * * MONDAY", "the day of the week 'MONDAY' is not within 0 to 7 or SUN to SAT"),
        ("0 0 * * 8", "the day of the week '8'"),
        ("0 0 * * FRI-MON", "'FRI-MON' runs backwards"),
        ("0 5-1 * * *", "'5-1' runs backwards"),
        ("*/0 * * * *", "the minute '*/0' has a step that leads out of its range"),
        ("*/60 * * * *", "has a step that leads out"),
        ("0 0 ? * MON", "the day of the month '?' is no *, number, range or step"),
        ("0 0 last * *", "the day of the month 'last'"),
        ("0,, 0 * * *", "the minute '' is no"),
        ("0 0 31 2,4 *", "never comes"),
        ("0 0 30 FEB *", "never comes"),
    ],
)
def test_expression_that_can_not_be_is_explained(cron: str, words: str) -> None:
    with pytest.raises(BadCrontab) as fault:
        read_crontab(cron)
    assert words in str(fault.value)
    assert schedule_faults(spec(cron=cron)) == [("schedule.cron", str(fault.value))]


def spec(cron: str = "0 0 * * MON", zone: str = "Europe/Paris", **slices: Any) -> DatasetSpec:
    return DatasetSpec.model_validate(
        {
            "dataset": "shop",
            "slices": slices or {"increment": {"initial": 40, "step": 3}},
            "tables": {"customers": {"key": ["id"], "columns": {"id": "string"}}},
            "schedule": {"cron": cron, "time_zone": zone},
        }
    )


def test_good_schedule_has_no_fault_and_one_of_slices_that_lie_nowhere_has() -> None:
    assert schedule_faults(spec()) == []
    assert schedule_faults(spec().model_copy(update={"schedule": None})) == []
    named = {"naming": {"pattern": "{date}"}}
    assert schedule_faults(spec(**named, source="s3://drops/shop")) == []
    assert [path for path, _ in schedule_faults(spec(**named))] == ["slices"]


def test_next_run_is_in_the_schedules_zone_and_none_where_there_is_none() -> None:
    now = at("2024-05-01T12:00")
    active = SimpleNamespace(is_paused=False, settled_until=now)
    paused = SimpleNamespace(is_paused=True, settled_until=now)
    ahead = SimpleNamespace(is_paused=False, settled_until=now + 7 * DAY)

    def next_of(declared: DatasetSpec, row: Any) -> str | None:
        found = next_run(declared, row, now)
        return found.isoformat() if found else None

    assert next_of(spec(), active) == next_of(spec(), None) == "2024-05-06T00:00:00+02:00"
    assert next_of(spec(), ahead) == "2024-05-13T00:00:00+02:00"
    assert next_of(spec(), paused) is None
    assert next_of(spec(cron="61 0 * * *"), active) is None
    assert next_of(spec().model_copy(update={"schedule": None}), None) is None


@pytest.mark.parametrize(
    ("missed", "ages", "expected"),
    [
        (MissedRuns.LATEST, [14, 7, 3], "missed missed run"),
        (MissedRuns.LATEST, [14, 7, 0], "missed missed run"),
        (MissedRuns.LATEST, [3], "run"),
        (MissedRuns.ALL, [14, 7, 3], "run run run"),
        (MissedRuns.ALL, [7, 0], "run run"),
        (MissedRuns.SKIP, [14, 7, 3], "missed missed missed"),
        (MissedRuns.SKIP, [14, 7, 0], "missed missed run"),
        (MissedRuns.LATEST, [0, 0], "run run"),
        (MissedRuns.LATEST, [], ""),
    ],
)
def test_missed_moments_are_run_as_the_spec_says(
    missed: MissedRuns, ages: list[int], expected: str
) -> None:
    now, grace = at("2024-05-01"), timedelta(seconds=60)
    due = [now - age * DAY - grace for age in ages]
    words = {ScheduleOutcome.REQUESTED: "run", ScheduleOutcome.MISSED: "missed"}
    found = verdicts(due, now, grace, missed, is_paused=False)
    assert " ".join(words[outcome] for outcome in found) == expected
    paused = verdicts(due, now, grace, missed, is_paused=True)
    assert paused == [ScheduleOutcome.PAUSED] * len(ages)
