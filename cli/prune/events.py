"""Rows about events: sent, given up, done. In that order."""

from sqlalchemy import Connection

from cli.prune.ground import Ground, Removed, consumers, delete_rows

OUTBOX, DEAD_LETTERS, INBOX = "outbox rows", "dead letters", "inbox marks"

# What can be replayed stays with what it announces: see cli.prune.snapshots.
_SENT_AND_DONE = """
    t.published_at < :before AND t.topic NOT IN ('snapshotted', 'dataset-ready')
    AND NOT EXISTS (
        SELECT FROM unnest(CAST(:topics AS text[]), CAST(:consumers AS text[])) AS c (topic, name)
        WHERE c.topic = t.topic AND NOT EXISTS (
            SELECT FROM headrace.inbox AS i
            WHERE i.consumer = c.name AND i.event_id = t.event_id
        )
    )
"""
# One that was redriven is settled when its service has done it.
_SETTLED = """
    coalesce(t.dropped_at, t.redriven_at) < :before
    AND (
        t.dropped_at IS NOT NULL OR t.event_id IS NULL
        OR EXISTS (
            SELECT FROM headrace.inbox AS i
            WHERE i.consumer = t.service AND i.event_id = t.event_id
        )
        OR EXISTS (
            SELECT FROM headrace.dead_letters AS later
            WHERE later.service = t.service AND later.event_id = t.event_id
                AND later.dead_letter_id > t.dead_letter_id
        )
    )
"""
# Nobody can deliver the event again: no broker, no relay, no redrive, no recovery.
_OUT_OF_REACH = """
    t.processed_at < :before
    AND NOT EXISTS (SELECT FROM headrace.outbox AS o WHERE o.event_id = t.event_id)
    AND NOT EXISTS (SELECT FROM headrace.dead_letters AS d WHERE d.event_id = t.event_id)
"""


def prune_outbox(ground: Ground, connection: Connection) -> Removed:
    """Delete events that were published and done by all who read their topic.

    But those that can be replayed.
    """
    before = ground.before(ground.settings.prune_events_days)
    found = delete_rows(connection, "outbox", _SENT_AND_DONE, {"before": before, **consumers()})
    return Removed(OUTBOX, before, *found)


def prune_dead_letters(ground: Ground, connection: Connection) -> Removed:
    """Delete dead letters that were dropped, or redriven and done since."""
    before = ground.before(ground.settings.prune_dead_letters_days)
    found = delete_rows(connection, "dead_letters", _SETTLED, {"before": before})
    return Removed(DEAD_LETTERS, before, *found)


def prune_inbox(ground: Ground, connection: Connection, retention_days: float | None) -> Removed:
    """Delete the marks of events that nothing can deliver again.

    `retention_days` is how long the broker may have a record of any topic, None for good: then no
    mark is ever out of reach. `PRUNE_INBOX_MARGIN_DAYS` are added, and what events have in the
    outbox or among the dead letters keeps their marks.
    """
    if retention_days is None:
        return Removed(
            INBOX, None, note="the broker keeps records for good, or doesn't say how long"
        )
    settings = ground.settings
    days = max(retention_days, settings.prune_events_days) + settings.prune_inbox_margin_days
    before = ground.before(days)
    found = delete_rows(connection, "inbox", _OUT_OF_REACH, {"before": before})
    return Removed(INBOX, before, *found)
