"""Rows that only tell what was: messages to people, moments of schedules, the audit."""

from sqlalchemy import Connection

from cli.prune.ground import Ground, Removed, delete_rows

NOTIFICATIONS, SCHEDULE_RUNS, AUDIT = "notifications", "schedule runs", "audit rows"


def prune_notifications(ground: Ground, connection: Connection) -> Removed:
    """Delete messages that were sent or given up."""
    before = ground.before(ground.settings.prune_notifications_days)
    condition = """
        t.state IN ('sent', 'given_up')
        AND greatest(t.sent_at, t.next_try_at, t.created_at) < :before
    """
    found = delete_rows(connection, "notifications", condition, {"before": before})
    return Removed(NOTIFICATIONS, before, *found)


def prune_schedule_runs(ground: Ground, connection: Connection) -> Removed:
    """Delete what became of old moments, but of the last one of each schedule."""
    before = ground.before(ground.settings.prune_schedule_runs_days)
    condition = """
        t.decided_at < :before AND t.due_at < (
            SELECT max(later.due_at) FROM headrace.schedule_runs AS later
            WHERE later.dataset = t.dataset
        )
    """
    found = delete_rows(connection, "schedule_runs", condition, {"before": before})
    return Removed(SCHEDULE_RUNS, before, *found)


def prune_audit(ground: Ground, connection: Connection) -> Removed:
    """Delete what people did long ago; never what may yet end a session, nor a refused login."""
    settings = ground.settings
    least_days = settings.console_session_hours / 24
    least_days = max(least_days, settings.console_login_window_seconds / 86_400)
    before = ground.before(max(settings.prune_audit_days, least_days))
    found = delete_rows(connection, "audit", "t.at < :before", {"before": before})
    return Removed(AUDIT, before, *found)
