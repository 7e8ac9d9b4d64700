"""A dataset's slices, each by its newest load, with what every stage did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, text

from shared.contracts.events import Stage
from shared.database.state_views import REACH_AND_CHANGES
from shared.database.statuses import LoadKind, LoadStatus, StageState

STAGES = tuple(Stage)
OPEN = (LoadStatus.LOADING, LoadStatus.LOADED, LoadStatus.VALIDATED)
_NEXT = {
    LoadStatus.LOADING: Stage.INGEST,
    LoadStatus.LOADED: Stage.VALIDATE,
    LoadStatus.VALIDATED: Stage.SNAPSHOT,
}

SLICES = """
    WITH newest AS (
        SELECT DISTINCT ON (slice_key) slice_key, load_id, as_of, status, started_at,
               count(*) OVER (PARTITION BY slice_key) AS attempts
        FROM headrace.loads
        WHERE dataset = :dataset AND status NOT IN ('unchanged', 'superseded')
        ORDER BY slice_key, started_at DESC
    )
    SELECT *, count(*) OVER () AS total
    FROM newest
    WHERE CAST(:statuses AS text[]) IS NULL OR status = ANY(:statuses)
    ORDER BY as_of DESC NULLS FIRST, started_at DESC
    LIMIT :rows OFFSET :first
"""

LOADS = f"""
    SELECT l.load_id, l.slice_key, l.as_of, l.revision, l.kind, l.status, l.trains, l.percentage,
           l.rows_in, l.rows_loaded, l.rows_quarantined, l.started_at, l.finished_at,
           l.withdrawn_at, l.reasons -> 0 ->> 'message' AS reason,
           largest.rows, changed.inserted, changed.updated, changed.unchanged, changed.deleted,
           m.model_version, m.score, m.promoted
    FROM headrace.loads AS l
    {REACH_AND_CHANGES}
    LEFT JOIN LATERAL (
        SELECT model_version, score, promoted
        FROM headrace.promotions
        WHERE load_id = l.load_id
        ORDER BY decided_at
        LIMIT 1
    ) AS m ON true
    WHERE l.load_id = ANY(:loads)
"""

RUNS = """
    SELECT DISTINCT ON (load_id, stage) load_id, stage, state, attempts, event_time, started_at,
           finished_at, error, count(*) OVER (PARTITION BY load_id, stage) AS events
    FROM headrace.stage_runs
    WHERE load_id = ANY(:loads)
    ORDER BY load_id, stage, started_at DESC
"""

ASKED = """
    SELECT o.event_id AS load_id, split_part(o.headers ->> 'ce_subject', '/', 2) AS slice_key,
           o.created_at
    FROM headrace.outbox AS o
    WHERE o.topic = 'load-requested' AND o.key = :dataset
        AND NOT EXISTS (SELECT FROM headrace.loads AS l WHERE l.load_id = o.event_id)
        AND NOT EXISTS (SELECT FROM headrace.inbox AS i WHERE i.event_id = o.event_id)
        AND NOT EXISTS (
            SELECT FROM headrace.dead_letters AS d
            WHERE d.event_id = o.event_id AND d.redriven_at IS NULL)
    ORDER BY o.created_at DESC
    LIMIT 20
"""


@dataclass(frozen=True)
class Run:
    """What a stage did of a load, at its newest event.

    Seconds are None where there is nothing to measure.
    """

    stage: Stage
    state: str
    """A member of `StageState`, or `rejected`, `waiting`, `none`."""
    seconds: float | None = None
    """From its begin to its end, or until now."""
    hop_seconds: float | None = None
    """From the event to its begin."""
    attempts: int = 0
    events: int = 0
    """More than one where it was asked for again, by a replay or a redrive."""
    error: str | None = None


@dataclass(frozen=True)
class SliceRow:
    """A slice by its newest load."""

    load: Mapping[str, Any]
    runs: Sequence[Run]
    attempts: int
    """How many loads of it there were that weren't without effect."""


@dataclass(frozen=True)
class SliceList:
    """A page of them, the newest date first; `total` is how many there are."""

    total: int
    rows: Sequence[SliceRow]
    asked: Sequence[Mapping[str, Any]]
    """Loads that are asked for and not begun."""


def read_slices(
    connection: Connection,
    dataset: str,
    *,
    now: datetime,
    first: int = 0,
    rows: int,
    statuses: Sequence[str] | None = None,
) -> SliceList:
    """The slices from place `first` on, `rows` at most; of some statuses, or of all."""
    parameters = {
        "dataset": dataset,
        "first": first,
        "rows": rows,
        "statuses": list(statuses) if statuses else None,
    }
    found = connection.execute(text(SLICES), parameters).mappings().all()
    loads = [row["load_id"] for row in found]
    facts = read_loads(connection, loads)
    runs = read_runs(connection, facts, now)
    asked = (
        connection.execute(text(ASKED), {"dataset": dataset}).mappings().all() if not first else []
    )
    return SliceList(
        total=found[0]["total"] if found else 0,
        rows=[
            SliceRow(facts[row["load_id"]], runs[row["load_id"]], row["attempts"]) for row in found
        ],
        asked=[dict(row) for row in asked],
    )


def read_loads(connection: Connection, loads: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The facts of loads, by id."""
    rows = connection.execute(text(LOADS), {"loads": list(loads)})
    return {row["load_id"]: dict(row) for row in rows.mappings()}


def read_runs(
    connection: Connection, loads: Mapping[str, Mapping[str, Any]], now: datetime
) -> dict[str, list[Run]]:
    """What every stage did of each load, in the order of the stages."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {load: {} for load in loads}
    for row in connection.execute(text(RUNS), {"loads": list(loads)}).mappings():
        found[row["load_id"]][row["stage"]] = dict(row)
    return {load: runs_of(facts, found[load], now) for load, facts in loads.items()}


def runs_of(
    load: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], now: datetime
) -> list[Run]:
    """The stages of a load: those that have a row, and of the others whether they are to come."""
    status = LoadStatus(load["status"])
    last = max((STAGES.index(Stage(stage)) for stage in rows), default=-1)
    runs = []
    for number, stage in enumerate(STAGES):
        row = rows.get(stage)
        if row is None:
            runs.append(Run(stage, "waiting" if _is_to_come(stage, status, load, last) else "none"))
            continue
        state = row["state"]
        if state == StageState.DONE and status is LoadStatus.REJECTED and number == last:
            state = "rejected"
        ended = row["finished_at"] or now
        runs.append(
            Run(
                stage,
                state,
                max(0.0, (ended - row["started_at"]).total_seconds()),
                max(0.0, (row["started_at"] - row["event_time"]).total_seconds()),
                row["attempts"],
                row["events"],
                row["error"],
            )
        )
    return runs


def _is_to_come(stage: Stage, status: LoadStatus, load: Mapping[str, Any], last: int) -> bool:
    """Whether a stage without a row will have one: of an open load, or of one to be trained on."""
    if status in OPEN:
        return STAGES.index(stage) >= STAGES.index(_NEXT[status])
    if status is not LoadStatus.PUBLISHED or not load["trains"]:
        return False
    return STAGES.index(Stage.SNAPSHOT) <= last < STAGES.index(stage) and load["as_of"] is not None


def is_withdrawal(load: Mapping[str, Any]) -> bool:
    """Whether the load takes back instead of bringing."""
    return bool(load["kind"] == LoadKind.WITHDRAWAL)


def is_open(status: str) -> bool:
    """Whether a load is on its way."""
    return status in OPEN


def day(found: date | None) -> str:
    """A slice's date as text."""
    return found.isoformat() if found else "–"
