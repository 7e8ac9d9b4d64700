"""What there is of everything together: the line at the top of the home page."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

TOTALS = """
    SELECT
        (SELECT count(*) FROM headrace.loads WHERE status IN ('loading', 'loaded', 'validated'))
            AS under_way,
        (SELECT count(*) FROM headrace.stage_runs WHERE state = 'running') AS running,
        (SELECT count(*) FROM headrace.dead_letters
         WHERE redriven_at IS NULL AND dropped_at IS NULL) AS dead_letters,
        (SELECT count(*) FROM headrace.outbox WHERE published_at IS NULL) AS unpublished,
        (SELECT min(created_at) FROM headrace.outbox WHERE published_at IS NULL) AS oldest
"""


@dataclass(frozen=True)
class Totals:
    """Of all datasets together."""

    under_way: int
    """Loads that aren't at their end."""
    running: int
    """Stages at work now."""
    dead_letters: int
    """Records given up, and neither redriven nor dropped."""
    unpublished: int
    """Events that are committed and not yet on their topics."""
    oldest: datetime | None
    """When the oldest of those was committed."""


def read_totals(connection: Connection) -> Totals:
    """The totals now."""
    return Totals(*connection.execute(text(TOTALS)).one())
