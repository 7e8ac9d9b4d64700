"""When a schedule fires. Pure: the time is passed in.

APScheduler's `CronTrigger` does the arithmetic of the calendar, on the clock of the wall; which
instant a time on the wall is, the time zone says. The trigger's own zones aren't used: it fires
twice at a time that exists twice. Nor is its `from_crontab`, whose weekdays count from Monday.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.schedule_spec import Schedule
from shared.schedule.crontab import BadCrontab, Crontab, read_crontab

_DAY = timedelta(days=1)
_FIRST_LOOK = timedelta(hours=1)
_LONGEST_LOOK = timedelta(days=366 * 40)
"""The 29th of February on one day of the week comes once in 28 years, or in 40 past 2100."""


def schedule_faults(spec: DatasetSpec) -> list[tuple[str, str]]:
    """Why the spec's schedule could never ask for a load: (path within the spec, message)."""
    if spec.schedule is None:
        return []
    faults = []
    try:
        read_crontab(spec.schedule.cron)
    except BadCrontab as error:
        faults.append(("schedule.cron", str(error)))
    if spec.slices.increment is None and spec.slices.source is None:
        faults.append(("slices", "has no source: the schedule wouldn't know the slices' folder"))
    return faults


def moments(schedule: Schedule, after: datetime, until: datetime) -> list[datetime]:
    """The instants of (`after`, `until`] at which `schedule` fires, in order, in UTC.

    On the day when clocks are changed, a time that doesn't exist fires once, as much later as the
    clock was put forward; a time that exists twice fires at the first, but for a schedule of every
    hour, which fires in both. Raises `BadCrontab`.
    """
    if until <= after:
        return []
    zone = ZoneInfo(schedule.time_zone)
    triggers, is_every_hour = _timetable(schedule.cron)
    begin, end = _on_the_wall(after, until, zone)
    found = {
        instant
        for trigger in triggers
        for wall in _walls(trigger, begin, end)
        for instant in _instants(wall, zone, is_every_hour=is_every_hour)
        if after < instant <= until
    }
    return sorted(found)


def last_moments(
    schedule: Schedule, after: datetime, until: datetime, limit: int
) -> tuple[list[datetime], bool]:
    """The last `limit` of `moments`, and whether there are more before them.

    However long the time, it looks at about three times `limit` moments at most.
    """
    found: list[datetime] = []
    span = _FIRST_LOOK
    while until > after and len(found) <= limit:
        begin = max(after, until - span)
        found = moments(schedule, begin, until) + found
        until, span = begin, span * 2
    return found[-limit:], len(found) > limit


def next_moment(schedule: Schedule, after: datetime) -> datetime | None:
    """The first instant after `after` at which `schedule` fires; None if none is near."""
    begin, span = after, _FIRST_LOOK
    while begin - after < _LONGEST_LOOK:
        if found := moments(schedule, begin, begin + span):
            return found[0]
        begin, span = begin + span, span * 2
    return None


@lru_cache(maxsize=256)
def _timetable(cron: str) -> tuple[tuple[CronTrigger, ...], bool]:
    crontab = read_crontab(cron)
    if not crontab.is_either_day:
        days = [(crontab.days, crontab.weekdays)]
    else:
        days = [(frozenset(range(1, 32)), crontab.weekdays)]
        if crontab.has_days:
            days.append((crontab.days, frozenset(range(7))))
    return tuple(_trigger(crontab, *both) for both in days), crontab.is_every_hour


def _trigger(crontab: Crontab, days: frozenset[int], weekdays: frozenset[int]) -> CronTrigger:
    return CronTrigger(
        minute=_listed(crontab.minutes, 60),
        hour=_listed(crontab.hours, 24),
        day=_listed(days, 31),
        month=_listed(crontab.months, 12),
        day_of_week=_listed((_from_monday(day) for day in weekdays), 7),
        timezone=UTC,
    )


def _from_monday(weekday: int) -> int:
    """Crontab's number of a weekday, 0 for Sunday, as APScheduler's, 0 for Monday."""
    return (weekday + 6) % 7


def _listed(values: Iterable[int], whole: int) -> str:
    ordered = sorted(values)
    return "*" if len(ordered) == whole else ",".join(map(str, ordered))


def _on_the_wall(after: datetime, until: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The times on the wall, written in UTC, that may be instants from `after` to `until`."""
    edges = [edge + shift for edge in (after, until) for shift in (-_DAY, timedelta(), _DAY)]
    offsets = [edge.astimezone(zone).utcoffset() or timedelta() for edge in edges]
    slack = max(offsets) - min(offsets)
    begin, end = (edge.astimezone(zone).replace(tzinfo=UTC, fold=0) for edge in (after, until))
    return begin - slack, end + slack


def _walls(trigger: CronTrigger, begin: datetime, end: datetime) -> Iterator[datetime]:
    wall = trigger.get_next_fire_time(None, begin)
    while wall is not None and wall <= end:
        yield wall
        wall = trigger.get_next_fire_time(wall, wall)


def _instants(wall: datetime, zone: ZoneInfo, *, is_every_hour: bool) -> Iterator[datetime]:
    # PEP 495: with fold=0 a time that doesn't exist has the offset from before the change, and so
    # falls as much after it.
    local = wall.replace(tzinfo=zone)
    first = local.astimezone(UTC)
    yield first
    second = local.replace(fold=1).astimezone(UTC)
    if is_every_hour and second > first:
        yield second
