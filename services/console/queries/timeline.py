"""The events of a load with their causes, and what each stage did with them.

The outbox has the events until `headrace prune` takes them; the stages' own records stay, so an old
load has a timeline without its events' contents.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

EVENTS = """
    SELECT event_id, source, topic, headers, convert_from(value, 'UTF8') AS value, created_at,
           published_at
    FROM headrace.outbox
    WHERE headers ->> 'ce_correlationid' = :load_id
    ORDER BY outbox_id
    LIMIT :events
"""

RUNS = """
    SELECT event_id, stage, state, attempts, event_time, started_at, finished_at, error
    FROM headrace.stage_runs
    WHERE load_id = :load_id
    ORDER BY started_at
    LIMIT :events
"""

EVENTS_SHOWN = 200


@dataclass(frozen=True)
class Step:
    """An event, and what the stage that it is for did. Either may be missing."""

    event_id: str
    at: datetime
    name: str
    """Of the type without its ends: `slice-loaded`; empty where the event is pruned."""
    source: str
    cause: str | None
    """The id of the event that caused it."""
    trace_id: str | None
    payload: str | None
    """Its value as JSON with line breaks."""
    publishing_seconds: float | None
    """From the commit to the topic; None where it isn't there yet."""
    run: Mapping[str, Any] | None
    """The stage's row, with `seconds` and `hop_seconds`."""
    is_published: bool = True


@dataclass(frozen=True)
class Timeline:
    """The steps in order, and how long all of it took."""

    steps: Sequence[Step]
    begin: datetime | None
    end: datetime | None

    @property
    def trace_id(self) -> str | None:
        """Of the events' trace, where one of them says it."""
        return next((step.trace_id for step in self.steps if step.trace_id), None)

    @property
    def seconds(self) -> float:
        """From the first event to the last end."""
        if self.begin is None or self.end is None:
            return 0.0
        return max((self.end - self.begin).total_seconds(), 0.001)

    def place(self, moment: datetime) -> float:
        """Where a moment lies between begin and end, in per cent."""
        if self.begin is None:
            return 0.0
        share = (moment - self.begin).total_seconds() / self.seconds
        return round(100 * min(max(share, 0.0), 1.0), 2)


def read_timeline(connection: Connection, load_id: str, now: datetime) -> Timeline:
    """What happened of a load, from its first event on."""
    asked = {"load_id": load_id, "events": EVENTS_SHOWN}
    runs = {
        row["event_id"]: _timed(dict(row), now)
        for row in connection.execute(text(RUNS), asked).mappings()
    }
    steps = []
    for row in connection.execute(text(EVENTS), asked).mappings():
        steps.append(_step(dict(row), runs.pop(row["event_id"], None)))
    steps += [_step_without_event(run) for run in runs.values()]
    steps.sort(key=lambda step: step.at)
    ends = [step.run["finished_at"] or now for step in steps if step.run]
    moments = [*(step.at for step in steps), *ends]
    return Timeline(steps, min(moments, default=None), max(moments, default=None))


def _timed(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    ended = row["finished_at"] or now
    return {
        **row,
        "seconds": max(0.0, (ended - row["started_at"]).total_seconds()),
        "hop_seconds": max(0.0, (row["started_at"] - row["event_time"]).total_seconds()),
        "ended": ended,
    }


def _step(row: Mapping[str, Any], run: Mapping[str, Any] | None) -> Step:
    headers: Mapping[str, str] = row["headers"]
    published = row["published_at"]
    return Step(
        event_id=row["event_id"],
        at=_moment(headers.get("ce_time"), row["created_at"]),
        name=headers.get("ce_type", "").removeprefix("headrace.").rpartition(".")[0],
        source=headers.get("ce_source", row["source"]),
        cause=headers.get("ce_causationid"),
        trace_id=_trace(headers.get("traceparent", "")),
        payload=_indented(row["value"]),
        publishing_seconds=(published - row["created_at"]).total_seconds() if published else None,
        run=run,
        is_published=published is not None,
    )


def _step_without_event(run: Mapping[str, Any]) -> Step:
    return Step(run["event_id"], run["event_time"], "", "", None, None, None, None, run)


def _moment(said: str | None, otherwise: datetime) -> datetime:
    try:
        return datetime.fromisoformat(said or "")
    except ValueError:
        return otherwise


def _trace(traceparent: str) -> str | None:
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 else None


def _indented(value: str) -> str:
    try:
        return json.dumps(json.loads(value), indent=2, ensure_ascii=False)
    except ValueError:
        return value
