"""What is still to come, and what waits for a person: no differences, but to be known."""

from cli.verify.ground import Ground

_LOADS = """
    SELECT count(*) AS number FROM headrace.loads
    WHERE dataset = ANY(:datasets) AND status IN ('loading', 'loaded', 'validated')
"""
_UNSENT = """
    SELECT count(*) AS number FROM headrace.outbox
    WHERE key = ANY(:datasets) AND published_at IS NULL
"""
_TRAININGS = """
    SELECT count(*) AS number
    FROM headrace.outbox AS o
    WHERE o.key = ANY(:datasets) AND o.topic IN ('snapshotted', 'dataset-ready', 'model-published')
        AND NOT EXISTS (
            SELECT FROM headrace.inbox AS i
            WHERE i.event_id = o.event_id AND i.consumer = 'trainer'
        )
        AND NOT EXISTS (SELECT FROM headrace.dead_letters AS d WHERE d.event_id = o.event_id)
"""
_MESSAGES = """
    SELECT count(*) AS number FROM headrace.notifications
    WHERE dataset = ANY(:datasets) AND state IN ('pending', 'sending')
"""
_DEAD = """
    SELECT count(*) AS number FROM headrace.dead_letters
    WHERE (dataset = ANY(:datasets) OR dataset IS NULL)
        AND redriven_at IS NULL AND dropped_at IS NULL
"""
_KINDS = (
    (_LOADS, "load", "under way"),
    (_UNSENT, "event", "to be sent"),
    (_TRAININGS, "event", "for the trainer to do"),
    (_MESSAGES, "message", "to be sent"),
    (_DEAD, "dead letter", "for a person to settle"),
)


def under_way(ground: Ground) -> list[str]:
    """Each kind of which there is any, as `3 loads under way`."""
    told = []
    with ground.view() as connection:
        for statement, what, how in _KINDS:
            (row,) = ground.rows(connection, statement)
            if row.number:
                told.append(f"{row.number} {what}{'' if row.number == 1 else 's'} {how}")
    return told
