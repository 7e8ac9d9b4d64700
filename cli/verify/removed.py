"""What was removed on purpose, by `headrace prune`: it can't be looked at, and isn't missed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

_EVER = datetime(1, 1, 1, tzinfo=UTC)
_PRUNED = "SELECT what, max(before) AS before FROM headrace.prunings GROUP BY what"
_A_TRANSACTION = timedelta(days=1)
"""More than passes between an inbox mark and the last effect that commits with it."""


@dataclass(frozen=True)
class Removed:
    """Up to which moments rows may have been removed, by kind."""

    before: Mapping[str, datetime]

    @classmethod
    def read(cls, connection: Connection) -> "Removed":
        """As the database says it."""
        return cls({row.what: row.before for row in connection.execute(text(_PRUNED))})

    @property
    def events_until(self) -> datetime:
        """Events before this may be gone; that of a snapshot goes with its files."""
        return max(self._until("outbox rows"), self._until("snapshots"))

    @property
    def marks_until(self) -> datetime:
        """Of effects before this the inbox marks may be gone."""
        until = self._until("inbox marks")
        return until if until == _EVER else until + _A_TRANSACTION

    @property
    def dead_letters_until(self) -> datetime:
        """Dead letters before this may be gone."""
        return self._until("dead letters")

    def _until(self, what: str) -> datetime:
        return self.before.get(what, _EVER)
