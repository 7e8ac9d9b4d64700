"""The messages to send as rows: claimed by one, settled, and given up.

A claim commits before the message is handed over, so of several replicas only one sends it, and
what a crash left in hand is never sent a second time.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, text

from shared.fail_points import FailPoint, reached

CLAIM = text("""
    UPDATE headrace.notifications
    SET state = 'sending', attempts = attempts + 1, next_try_at = :unknown_at
    WHERE (event_id, target) = (
        SELECT event_id, target
        FROM headrace.notifications
        WHERE target = :target AND state = 'pending' AND next_try_at <= :now
        ORDER BY created_at, event_id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    RETURNING event_id, target, dataset, slice_key, title, body, kind, attempts, created_at
""")
SENT = text("""
    UPDATE headrace.notifications
    SET state = 'sent', sent_at = :now, error = NULL
    WHERE event_id = :event_id AND target = :target
""")
TRY_AGAIN = text("""
    UPDATE headrace.notifications
    SET state = 'pending', next_try_at = :next_try_at, error = :error
    WHERE event_id = :event_id AND target = :target
        AND state = 'sending' AND attempts = :attempts
""")
GIVE_UP = text("""
    UPDATE headrace.notifications
    SET state = 'given_up', error = :error
    WHERE event_id = :event_id AND target = :target
        AND state = 'sending' AND attempts = :attempts
""")
GIVE_UP_UNKNOWN = text("""
    UPDATE headrace.notifications
    SET state = 'given_up', error = :error
    WHERE state = 'sending' AND next_try_at <= :now
    RETURNING event_id, target
""")
GIVE_UP_NOBODYS = text("""
    UPDATE headrace.notifications
    SET state = 'given_up', error = :error
    WHERE state = 'pending' AND target <> ALL (:targets) AND created_at <= :before
    RETURNING event_id, target
""")


@dataclass(frozen=True)
class Claim:
    """A message that is this process's to send. In the table it is `sending`."""

    event_id: str
    target: str
    dataset: str
    slice_key: str
    title: str
    body: str
    kind: str
    attempts: int
    """With this one."""
    created_at: datetime


def claim(engine: Engine, target: str, now: datetime, unknown_at: datetime) -> Claim | None:
    """The oldest message to `target` that is due, committed as `sending`; None where none is.

    One that still is `sending` at `unknown_at` is taken for lost.
    """
    values = {"target": target, "now": now, "unknown_at": unknown_at}
    with engine.begin() as connection:
        row = connection.execute(CLAIM, values).first()
        if row is None:
            return None
        reached(FailPoint.MESSAGE_CLAIMING, row.dataset)
    reached(FailPoint.MESSAGE_CLAIMED, row.dataset)
    return Claim(*row)


def sent(engine: Engine, claim: Claim, now: datetime) -> None:
    """Record that the target took it, also where it was taken for lost meanwhile."""
    with engine.begin() as connection:
        connection.execute(SENT, {**_key(claim), "now": now})


def try_again(engine: Engine, claim: Claim, next_try_at: datetime, error: str) -> None:
    """Have it sent again at `next_try_at`."""
    with engine.begin() as connection:
        connection.execute(
            TRY_AGAIN, {**_attempt(claim), "next_try_at": next_try_at, "error": error}
        )


def give_up(engine: Engine, claim: Claim, error: str) -> None:
    """Have it never sent again."""
    with engine.begin() as connection:
        connection.execute(GIVE_UP, {**_attempt(claim), "error": error})


def give_up_unknown(engine: Engine, now: datetime, error: str) -> list[tuple[str, str]]:
    """Give up what was claimed and never settled; (event_id, target) of each."""
    with engine.begin() as connection:
        rows = connection.execute(GIVE_UP_UNKNOWN, {"now": now, "error": error}).all()
    return [(event_id, target) for event_id, target in rows]


def give_up_nobodys(
    engine: Engine, targets: list[str], before: datetime, error: str
) -> list[tuple[str, str]]:
    """Give up what is older than `before` and to none of `targets`; (event_id, target) of each."""
    values = {"targets": targets, "before": before, "error": error}
    with engine.begin() as connection:
        rows = connection.execute(GIVE_UP_NOBODYS, values).all()
    return [(event_id, target) for event_id, target in rows]


def _key(claim: Claim) -> dict[str, object]:
    return {"event_id": claim.event_id, "target": claim.target}


def _attempt(claim: Claim) -> dict[str, object]:
    return {**_key(claim), "attempts": claim.attempts}
