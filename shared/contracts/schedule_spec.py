"""The part of a spec that says when the next slice is asked for without anybody doing it."""

from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from shared.contracts.spec_part import SpecPart


class MissedRuns(StrEnum):
    """What becomes of the moments that passed while every ingestor was down."""

    LATEST = "latest"
    """The last of them is run."""
    ALL = "all"
    """Each is run, in order."""
    SKIP = "skip"
    """None is run."""


class Schedule(SpecPart):
    """When the next slice is asked for."""

    cron: Annotated[str, Field(pattern=r"^\S+(\s+\S+){4}$")]
    """Minute, hour, day of the month, month, day of the week, as crontab has them: `0 0 * * MON`.
    Sunday is 0 or 7."""
    time_zone: str = "UTC"
    """A name of the IANA database: `Europe/Paris`."""
    missed: MissedRuns = MissedRuns.LATEST
    """What becomes of the moments that passed while every ingestor was down."""

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, OSError, ValueError) as error:
            raise ValueError(f"{value!r} is no time zone of the IANA database") from error
        return value
