"""How far a load has come, read from the control tables. Shared by `load --wait` and the demo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Executable, select, text

from shared.contracts.events import Stage
from shared.database.statuses import LoadStatus, StageState
from shared.database.tables import dead_letters, loads, promotions, snapshots, stage_runs

REFUSED = frozenset({LoadStatus.REJECTED, LoadStatus.FAILED})


@dataclass(frozen=True)
class Progress:
    """A load as it stands. Mappings are rows of the control tables."""

    load_id: str
    load: Mapping[str, Any] | None
    """None until the ingestor has the event."""
    runs: Mapping[Stage, Mapping[str, Any]]
    """The newest run of each stage that has begun."""
    snapshot: Mapping[str, Any] | None
    promotion: Mapping[str, Any] | None
    dead: Sequence[Mapping[str, Any]]

    @property
    def status(self) -> str:
        """The load's status; `requested` before there is one."""
        return self.load["status"] if self.load else "requested"

    def is_over(self, *, with_model: bool) -> bool:
        """Whether nothing more will come of it; `with_model` says that the dataset trains one.

        Of a load that says to train nothing, none is waited for.
        """
        if self.dead or self.status in REFUSED:
            return True
        if self.status in {LoadStatus.UNCHANGED, LoadStatus.SUPERSEDED}:
            return True
        trains = with_model and bool((self.load or {}).get("trains", True))
        return self.status in {LoadStatus.PUBLISHED, LoadStatus.WITHDRAWN} and (
            not trains or self.promotion is not None
        )

    @property
    def is_good(self) -> bool:
        """Whether nothing was refused or given up."""
        return not self.dead and self.status not in REFUSED

    def reasons(self) -> list[str]:
        """Why it was refused or given up, a line each."""
        said = [reason_line(reason) for reason in (self.load or {}).get("reasons") or []]
        return said + [f"{d['service']}: {d['error_class']}: {d['reason']}" for d in self.dead]

    def seconds(self, stage: Stage) -> float | None:
        """How long the stage took; None where it isn't done."""
        run = self.runs.get(stage)
        if run is None or run["state"] != StageState.DONE or run["finished_at"] is None:
            return None
        taken = run["finished_at"] - run["started_at"]
        return round(float(taken.total_seconds()), 3)


def reason_line(reason: Mapping[str, Any]) -> str:
    """A rejection's reason in a line: its message, and the first offenders unless it has them."""
    message = str(reason["message"])
    sample = [text for text in reason.get("sample") or [] if text not in message]
    return f"{message}: {' | '.join(sample[:3])}" if sample else message


def progress_of(connection: Connection, load_id: str) -> Progress:
    """How far the load has come."""

    def rows(query: Executable) -> list[dict[str, Any]]:
        return [dict(row) for row in connection.execute(query).mappings()]

    def first(query: Executable) -> dict[str, Any] | None:
        return next(iter(rows(query)), None)

    runs = select(stage_runs).where(stage_runs.c.load_id == load_id)
    decided = select(promotions).where(promotions.c.load_id == load_id)
    return Progress(
        load_id=load_id,
        load=first(select(loads).where(loads.c.load_id == load_id)),
        runs={Stage(run["stage"]): run for run in rows(runs.order_by(stage_runs.c.started_at))},
        snapshot=first(select(snapshots).where(snapshots.c.load_id == load_id)),
        promotion=first(decided.order_by(promotions.c.decided_at.desc())),
        dead=rows(
            select(dead_letters).where(
                dead_letters.c.correlation_id == load_id,
                dead_letters.c.redriven_at.is_(None),
                dead_letters.c.service != "notifier",  # a message that can't be made harms no load
            )
        ),
    )


HOPS = text("""
    SELECT stage, percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS median,
           max(seconds) AS longest, count(*) AS hops
    FROM (
        SELECT stage,
               extract(epoch FROM started_at - greatest(event_time, before))::float8 AS seconds
        FROM (
            SELECT stage, load_id, event_time, started_at, lag(finished_at) OVER (
                PARTITION BY dataset, stage ORDER BY started_at) AS before
            FROM headrace.stage_runs
            WHERE attempts = 1
        ) AS run
        WHERE load_id = ANY(:load_ids)
    ) AS hop
    GROUP BY stage
""")
"""Seconds from an event to the start of its handler, less the time that the handler was busy with
the dataset's slice before. Tries after the first one wait on purpose and don't count."""


def hops(connection: Connection, load_ids: Sequence[str]) -> dict[Stage, float]:
    """The median hop into each stage, in seconds."""
    rows = connection.execute(HOPS, {"load_ids": list(load_ids)})
    found = {Stage(row.stage): float(row.median) for row in rows}
    return {stage: found[stage] for stage in Stage if stage in found}
