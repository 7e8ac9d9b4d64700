"""What five fields of crontab mean, as numbers; a field that can't be is a fault that is explained.

Source: crontab(5) of Vixie cron. Sunday is 0 or 7. Where neither the day of the month nor the day
of the week begins with `*`, a day needs to fit one of the two; else it has to fit both.
"""

import re
from dataclasses import dataclass

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SUNDAY_AT_THE_END = 7
_LONGEST = dict.fromkeys(range(1, 13), 31) | {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_PART = re.compile(
    r"(?:\*|(?P<first>[0-9]+|[A-Za-z]+)(?:-(?P<last>[0-9]+|[A-Za-z]+))?)(?:/(?P<step>[0-9]+))?"
)


class BadCrontab(ValueError):
    """A cron expression that can't be; the message says which field and why."""


@dataclass(frozen=True)
class Crontab:
    """The values of each field at which it fires. Of `weekdays` 0 is Sunday."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    is_either_day: bool
    """Whether a day of `days` or of `weekdays` is enough; else it must be both."""

    @property
    def has_days(self) -> bool:
        """Whether any of its months has any of its days."""
        return min(self.days) <= max(_LONGEST[month] for month in self.months)

    @property
    def is_every_hour(self) -> bool:
        """Whether it fires in each hour of a day."""
        return len(self.hours) == 24


@dataclass(frozen=True)
class _Field:
    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()

    def values(self, text: str) -> frozenset[int]:
        return frozenset(value for part in text.split(",") for value in self._part(part))

    def _part(self, part: str) -> range:
        found = _PART.fullmatch(part)
        if found is None:
            raise BadCrontab(f"the {self.name} {part!r} is no *, number, range or step like */5")
        first, last, step = found["first"], found["last"], int(found["step"] or 1)
        low = self._value(first) if first else self.first
        if last:
            high = self._value(last)
            if last.upper() == "SUN" and low > 0:
                high = _SUNDAY_AT_THE_END
        else:
            high = low if first and not found["step"] else self.last
        if low > high:
            raise BadCrontab(f"the {self.name} {part!r} runs backwards: list its values instead")
        if not 1 <= step <= max(1, high - low):
            raise BadCrontab(f"the {self.name} {part!r} has a step that leads out of its range")
        return range(low, high + 1, step)

    def _value(self, word: str) -> int:
        if word.upper() in self.names:
            return self.first + self.names.index(word.upper())
        last = _SUNDAY_AT_THE_END if self.names is _WEEKDAYS else self.last
        if word.isdigit() and self.first <= int(word) <= last:
            return int(word)
        named = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        raise BadCrontab(f"the {self.name} {word!r} is not within {self.first} to {last}{named}")


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, _WEEKDAYS),
)


def read_crontab(text: str) -> Crontab:
    """What `text` means. Raises `BadCrontab` where it can't be, or could never come."""
    words = text.split()
    if len(words) != len(_FIELDS):
        raise BadCrontab(f"{text!r} has {len(words)} fields; it takes five, like 0 0 * * MON")
    minutes, hours, days, months, weekdays = (
        field.values(word) for field, word in zip(_FIELDS, words, strict=True)
    )
    crontab = Crontab(
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        is_either_day=not words[2].startswith("*") and not words[4].startswith("*"),
    )
    if not crontab.is_either_day and not crontab.has_days:
        raise BadCrontab(f"{text!r} never comes: no month of it has such a day")
    return crontab
