"""The audit: who did what at the console, when, and what came of it. Written with the effect."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, text

from services.console.session import LOGIN, Actor
from shared.database.statuses import AuditOutcome
from shared.database.tables import audit

ALL_ADDRESSES = 10
"""How many times the attempts of one address all of them together have: who can choose addresses
gets no further, and who can't is not locked out by one other."""
_CHARACTERS = 2000
_REFUSED_LOGINS = """
    SELECT count(*) FILTER (WHERE address = :address) AS here, count(*) AS everywhere
    FROM headrace.audit
    WHERE action = :login AND outcome = :refused AND at > :since
"""


@dataclass(frozen=True)
class Entry:
    """What is to be written of an act. `detail` holds no secrets, and is bounded."""

    action: str
    subject: str
    outcome: AuditOutcome
    dataset: str | None = None
    event_id: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


def write(connection: Connection, actor: Actor, entry: Entry) -> int:
    """Add a row to `headrace.audit`, in the transaction of what it tells; its number."""
    statement = insert(audit).values(
        who=actor.name,
        action=entry.action,
        dataset=entry.dataset,
        subject=_storable(entry.subject),
        detail={name: _bounded(value) for name, value in entry.detail.items()},
        outcome=entry.outcome.value,
        event_id=entry.event_id,
        session_id=actor.session_id,
        address=actor.address,
    )
    return int(connection.execute(statement.returning(audit.c.audit_id)).scalar_one())


def has_tried_too_often(
    connection: Connection, address: str, *, now: datetime, attempts: int, window_seconds: float
) -> bool:
    """Whether logins from the address were refused so often lately that no more are looked at.

    Of several attempts at once one is decided after the other, until the transaction ends.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('headrace console login'))"))
    found = connection.execute(
        text(_REFUSED_LOGINS),
        {
            "address": address,
            "login": LOGIN,
            "refused": AuditOutcome.REFUSED.value,
            "since": now - timedelta(seconds=window_seconds),
        },
    ).one()
    return bool(found.here >= attempts or found.everywhere >= ALL_ADDRESSES * attempts)


def _storable(said: str) -> str:
    """Text that Postgres can hold, at a bounded length."""
    return said.replace("\0", "\N{SYMBOL FOR NULL}")[:_CHARACTERS]


def _bounded(value: Any) -> Any:
    return _storable(value) if isinstance(value, str) else value
