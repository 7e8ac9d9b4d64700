"""The rules, in their order: what something depends on goes before that on which it depends.

Objects are marked as pruned first and deleted then; a mark that stands tells whoever looks that
they may be gone, and the next pruning to finish. An event's row in the outbox goes before its inbox
mark, without which it would be done again.
"""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine, insert, text

from cli.prune.events import prune_dead_letters, prune_inbox, prune_outbox
from cli.prune.files import prune_landing, prune_reports
from cli.prune.ground import Ground, Removed
from cli.prune.messages import prune_audit, prune_notifications, prune_schedule_runs
from cli.prune.snapshots import forget_their_events, prune_orphans, prune_snapshots
from cli.prune.staging import prune_staging
from cli.prune.uploads import prune_uploads
from shared.database.tables import prunings
from shared.errors import TransientError
from shared.messaging.kafka import Admin
from shared.object_store import ObjectStore
from shared.settings import Settings

Rule = Callable[[Ground], Removed]
OBJECTS: tuple[Rule, ...] = (
    prune_staging,
    prune_landing,
    prune_reports,
    prune_snapshots,
    prune_orphans,
    prune_uploads,
)


class AnotherPruning(TransientError):
    """Another `headrace prune` is at work."""


def prune_all(
    settings: Settings, engine: Engine, store: ObjectStore, *, now: datetime, is_dry: bool
) -> list[Removed]:
    """Apply every rule as of `now`; what each has removed, or would with `is_dry`.

    May be killed at any point and run again, beside services that are at work. Raises
    `AnotherPruning` where another one is.
    """
    ground = Ground(settings, engine, store, now, is_dry)
    with engine.begin() as guard:
        lock = text("SELECT pg_try_advisory_xact_lock(hashtext('headrace prune'))")
        if not guard.execute(lock).scalar():
            raise AnotherPruning("another `headrace prune` is at work: wait for it")
        removed = []
        for rule in OBJECTS:
            removed.append(rule(ground))
            _record(ground, removed[-1])
        retention = _retention(settings)
        with engine.connect() as connection, connection.begin() as transaction:
            if is_dry:
                forget_their_events(ground, connection)
            rows = [
                prune_outbox(ground, connection),
                prune_dead_letters(ground, connection),
                prune_inbox(ground, connection, retention),
                prune_notifications(ground, connection),
                prune_schedule_runs(ground, connection),
                prune_audit(ground, connection),
            ]
            if is_dry:  # what a rule finds depends on what the one before has deleted
                transaction.rollback()
        for each in rows:
            _record(ground, each)
    return removed + rows


def _record(ground: Ground, removed: Removed) -> None:
    if ground.is_dry or not removed.items:
        return
    with ground.engine.begin() as connection:
        connection.execute(
            insert(prunings).values(
                what=removed.what,
                before=removed.before,
                items=removed.items,
                bytes=removed.bytes,
            )
        )


def _retention(settings: Settings) -> float | None:
    admin = Admin(settings)
    try:
        return admin.longest_retention_days()
    finally:
        admin.close()
