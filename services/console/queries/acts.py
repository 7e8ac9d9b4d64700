"""What people did at the console, and what became of the events that asked for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from shared.contracts.topics import CONSUMERS, Topic
from shared.database.statuses import AuditOutcome, LoadStatus

_COLUMNS = """
    a.audit_id, a.at, a.who, a.action, a.dataset, a.subject, a.detail, a.outcome, a.event_id,
    a.address
"""
_ONE = f"SELECT {_COLUMNS} FROM headrace.audit AS a WHERE a.audit_id = :audit_id"
_PAGE = f"""
    SELECT {_COLUMNS}
    FROM headrace.audit AS a
    WHERE (CAST(:dataset AS text) IS NULL OR a.dataset = :dataset)
        AND (CAST(:before AS bigint) IS NULL OR a.audit_id < :before)
    ORDER BY a.audit_id DESC
    LIMIT :rows
"""
_LOAD = """
    SELECT load_id, dataset, slice_key, status, reasons
    FROM headrace.loads
    WHERE load_id = :event_id
"""
_DEAD = """
    SELECT dead_letter_id, service, reason
    FROM headrace.dead_letters
    WHERE event_id = :event_id AND redriven_at IS NULL AND dropped_at IS NULL
    ORDER BY dead_letter_id DESC
    LIMIT 1
"""
_EVENT = """
    SELECT o.topic, o.published_at,
           EXISTS (SELECT FROM headrace.inbox AS i WHERE i.event_id = o.event_id) AS is_done,
           EXISTS (
               SELECT FROM headrace.stage_runs AS r
               WHERE r.event_id = o.event_id AND r.state = 'running'
           ) AS is_running
    FROM headrace.outbox AS o
    WHERE o.event_id = :event_id
"""
_MARK = "SELECT EXISTS (SELECT FROM headrace.inbox WHERE event_id = :event_id)"


@dataclass(frozen=True)
class Act:
    """A row of the audit."""

    audit_id: int
    at: datetime
    who: str
    action: str
    dataset: str | None
    subject: str
    detail: Mapping[str, Any]
    outcome: str
    event_id: str | None
    address: str

    @property
    def error(self) -> str | None:
        """Why it was refused, where it was."""
        return self.detail.get("error") if self.outcome == AuditOutcome.REFUSED else None

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What else was said, as names and texts."""
        return [
            (name.replace("_", " "), str(value))
            for name, value in self.detail.items()
            if value not in (None, "") and name != "error"
        ]


@dataclass(frozen=True)
class Fate:
    """What became of an act. `state` is `done`, `waiting`, `working` or `refused`."""

    state: str
    message: str
    load_id: str | None = None
    slice_key: str | None = None
    dead_letter_id: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in ("done", "refused")


def acts(
    connection: Connection, *, dataset: str | None, before: int | None, rows: int
) -> list[Act]:
    """The newest acts, of one dataset or of all, before the number `before`."""
    found = connection.execute(text(_PAGE), {"dataset": dataset, "before": before, "rows": rows})
    return [Act(**row) for row in found.mappings()]


def find_act(connection: Connection, audit_id: int) -> Act | None:
    """The act of that number."""
    row = connection.execute(text(_ONE), {"audit_id": audit_id}).mappings().first()
    return Act(**row) if row else None


def became(connection: Connection, act: Act) -> Fate:
    """What became of it, as the control tables tell it now."""
    if act.error is not None:
        return Fate("refused", act.error)
    if act.event_id is None:
        return Fate("done", "Done.")
    asked = {"event_id": act.event_id}
    if dead := connection.execute(text(_DEAD), asked).first():
        return Fate(
            "refused",
            f"The {dead.service} gave up: {dead.reason}",
            dead_letter_id=dead.dead_letter_id,
        )
    if load := connection.execute(text(_LOAD), asked).first():
        return _of_load(load)
    event = connection.execute(text(_EVENT), asked).first()
    if event is None:
        is_done = connection.execute(text(_MARK), asked).scalar()
        return Fate("done", "Done.") if is_done else Fate("waiting", "It is on its topic.")
    if event.is_done:
        return Fate("done", "Done.")
    service = " and ".join(CONSUMERS[Topic(event.topic)])
    if event.is_running:
        return Fate("working", f"The {service} is at work on it.")
    if event.published_at is None:
        return Fate("waiting", "It waits to be put on its topic.")
    return Fate("waiting", f"It waits for the {service}.")


def _of_load(load: Any) -> Fate:
    status = LoadStatus(load.status)
    reasons = "; ".join(str(reason.get("message", "")) for reason in load.reasons or [])
    place = {"load_id": load.load_id, "slice_key": load.slice_key}
    if status in (LoadStatus.REJECTED, LoadStatus.FAILED):
        return Fate("refused", f"The load is {status.value}: {reasons or 'see why'}", **place)
    if status in (LoadStatus.LOADING, LoadStatus.LOADED, LoadStatus.VALIDATED):
        return Fate("working", f"The load is on its way: {status.value}.", **place)
    return Fate("done", f"The load is {status.value}.", **place)
