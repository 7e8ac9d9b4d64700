"""Slice names: how a name and its `as_of` date follow from each other."""

import calendar
import re
import string
from datetime import date, datetime, timedelta
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

Step = Literal["day", "week", "month"]
_WIDEST = 120


class SliceNaming(BaseModel):
    """The pattern of slice names, one of two kinds.

    - Numbered: `pattern: month_{index:03d}` with `first_as_of: 2024-01-31` and `every: month`;
      slice 0 has `first_as_of`, and a first date at a month's end keeps to month ends.
    - Dated: `pattern: "{date:%Y-%m-%d}"`; the name says the date. A pattern without a day means
      the last day of that month.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str
    first_as_of: date | None = None
    every: Step = "month"

    @model_validator(mode="after")
    def _pattern_is_usable(self) -> Self:
        try:
            fields = [name for _, name, _, _ in string.Formatter().parse(self.pattern) if name]
        except ValueError as error:
            raise ValueError(f"pattern {self.pattern!r} can't be read: {error}") from error
        if fields not in (["index"], ["date"]):
            raise ValueError("a pattern has one field: {index}, {index:03d} or {date:%Y-%m-%d}")
        if fields == ["index"] and self.first_as_of is None:
            raise ValueError("a numbered pattern needs first_as_of")
        self._check_that_names_are_read_back()
        return self

    def _check_that_names_are_read_back(self) -> None:
        """Raise `ValueError` where a name of this pattern would not say its number or its date."""
        fields = " ".join(re.findall(r"\{([^{}]*)\}", self.pattern))
        if any(int(width) > _WIDEST for width in re.findall(r"\d+", fields)):
            raise ValueError(f"no part of a name may be wider than {_WIDEST} characters")
        day = date(2024, 1, 31)
        try:
            if self.is_dated:
                is_read = self._date_in(self.pattern.format(date=day)) == day
            else:
                is_read = self.index(self.pattern.format(index=7)) == 7
        except (ValueError, IndexError, KeyError, re.error) as error:
            raise ValueError(f"pattern {self.pattern!r} can't be used: {error}") from error
        if not is_read:
            raise ValueError(f"names of the pattern {self.pattern!r} don't say which slice it is")

    @property
    def is_dated(self) -> bool:
        """Whether the name itself says the date."""
        return "{date" in self.pattern

    def as_of(self, slice_key: str) -> date:
        """The date of `slice_key`. Raises `ValueError` where the name doesn't fit the pattern."""
        if self.is_dated:
            return self._date_in(slice_key)
        index = self.index(slice_key)
        if self.first_as_of is None:  # the validator saw to it
            raise ValueError("a numbered pattern needs first_as_of")
        return _advance(self.first_as_of, index, self.every)

    def index(self, slice_key: str) -> int:
        """The number in a numbered name. Raises `ValueError` where it doesn't fit the pattern."""
        before, after = re.split(r"\{index[^}]*\}", self.pattern)
        match = re.fullmatch(rf"{re.escape(before)}(\d{{1,6}}){re.escape(after)}", slice_key)
        if match is None or self.pattern.format(index=int(match.group(1))) != slice_key:
            raise ValueError(
                f"slice {slice_key!r} is not named like {self.pattern.format(index=0)!r}"
            )
        return int(match.group(1))

    def next_after(self, slice_keys: list[str]) -> str:
        """The name after all of `slice_keys`; the first one when there is none.

        Raises `ValueError` for a dated pattern without `first_as_of`.
        """
        if not self.is_dated:
            return self.pattern.format(
                index=max((self.index(k) for k in slice_keys), default=-1) + 1
            )
        if slice_keys:
            return self.pattern.format(
                date=_advance(max(map(self.as_of, slice_keys)), 1, self.every)
            )
        if self.first_as_of is None:
            raise ValueError("the spec has no first_as_of: name the slice")
        return self.pattern.format(date=self.first_as_of)

    def _date_in(self, slice_key: str) -> date:
        before, form, after = re.split(r"\{date:?([^}]*)\}", self.pattern)
        form = form or "%Y-%m-%d"
        inner = slice_key.removeprefix(before).removesuffix(after)
        try:
            parsed = datetime.strptime(inner, form).date()
        except ValueError:
            parsed = None
        if parsed is None or self.pattern.format(date=parsed) != slice_key:
            example = self.pattern.format(date=date(2024, 1, 31))
            raise ValueError(f"slice {slice_key!r} is not named like {example!r}")
        return parsed if "%d" in form or "%j" in form else _month_end(parsed)


def _month_end(day: date) -> date:
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def _advance(first: date, steps: int, every: Step) -> date:
    if every == "day":
        return first + timedelta(days=steps)
    if every == "week":
        return first + timedelta(weeks=steps)
    month = first.month - 1 + steps
    year, month = first.year + month // 12, month % 12 + 1
    end = calendar.monthrange(year, month)[1]
    is_month_end = first == _month_end(first)
    return date(year, month, end if is_month_end else min(first.day, end))
