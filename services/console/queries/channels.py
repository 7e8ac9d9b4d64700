"""Datasets as channels with four gates: how many slices wait, are in work, passed or were stopped.

What the numbers count is slices by their newest load, so a slice that was refused and then mended
has passed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, text

from services.console.queries import channel_queries as queries
from shared.database import overview_queries as overview
from shared.database.statuses import LoadStatus


class Gate(StrEnum):
    """The gates of a channel, in order."""

    INGEST = "ingest"
    VALIDATE = "validate"
    SNAPSHOT = "snapshot"
    LEARN = "learn"
    """The training dataset and the model: two stages of one service."""


GATES = tuple(Gate)
_GATE_OF_STAGE = {
    "ingest": Gate.INGEST,
    "validate": Gate.VALIDATE,
    "snapshot": Gate.SNAPSHOT,
    "dataset": Gate.LEARN,
    "train": Gate.LEARN,
}
_GATE_OF_SERVICE = {
    "ingestor": Gate.INGEST,
    "validator": Gate.VALIDATE,
    "snapshotter": Gate.SNAPSHOT,
    "trainer": Gate.LEARN,
}
SCORES_SHOWN = 40
EVENTS_LOOKED_AT = 500
"""Of each kind and dataset: of more that wait so many are counted."""


@dataclass(frozen=True)
class Flow:
    """What stands at a gate. `stopped` are slices that it refused, or gave up."""

    gate: Gate
    waiting: int = 0
    working: int = 0
    stopped: int = 0
    passed: int = 0
    tries: int = 0
    """The most that anything in work there has taken so far; more than one says trouble."""


@dataclass(frozen=True)
class Score:
    """What a decision said of the champion: `value` is that of whoever is champion after it."""

    at: datetime
    version: str
    is_promoted: bool
    value: float | None
    challenger: float
    """The new version's own score."""


@dataclass(frozen=True)
class Channel:
    """A dataset, as the home page draws it."""

    dataset: str
    flows: Sequence[Flow]
    slices: int
    """Published ones."""
    slice_key: str | None
    as_of: date | None
    percentage: float | None
    champion: Mapping[str, Any] | None
    """`model_version`, `metric`, `score`, `since`."""
    scores: Sequence[Score]
    last_load: Mapping[str, Any] | None
    """`load_id`, `slice_key`, `status`, `at`."""
    dead_letters: int
    unpublished_events: int
    missing_images: int
    next_run: datetime | None = None
    is_paused: bool = False
    fault: str | None = None
    statuses: Mapping[str, int] = field(default_factory=dict)
    """How many slices have which status, by their newest load."""

    @property
    def waiting(self) -> int:
        """Slices that wait at any gate."""
        return sum(flow.waiting for flow in self.flows)

    @property
    def working(self) -> int:
        """Slices in work at any gate."""
        return sum(flow.working for flow in self.flows)

    @property
    def stopped(self) -> int:
        """Slices stopped at any gate."""
        return sum(flow.stopped for flow in self.flows)


@dataclass
class _Counts:
    """The numbers of a dataset while they are added up, by gate."""

    waiting: dict[Gate, int] = field(default_factory=dict)
    working: dict[Gate, int] = field(default_factory=dict)
    stopped: dict[Gate, int] = field(default_factory=dict)
    passed: dict[Gate, int] = field(default_factory=dict)
    tries: dict[Gate, int] = field(default_factory=dict)

    def flow(self, gate: Gate) -> Flow:
        return Flow(
            gate,
            waiting=self.waiting.get(gate, 0),
            working=self.working.get(gate, 0),
            stopped=self.stopped.get(gate, 0),
            passed=self.passed.get(gate, 0),
            tries=self.tries.get(gate, 0),
        )


def read_channels(connection: Connection, datasets: Sequence[str]) -> list[Channel]:
    """The channels of `datasets`, in that order; without what the specs say."""
    rows = {
        name: _by_dataset(connection, statement, datasets)
        for name, statement in {
            "newest": queries.NEWEST,
            "waiting": queries.WAITING,
            "reached": overview.REACHED,
            "champion": overview.CHAMPION,
            "scores": queries.SCORES,
            "versions": queries.VERSIONS,
            "last": overview.LAST_LOAD,
            "counts": overview.COUNTS,
            "dead": queries.DEAD,
        }.items()
    }
    return [
        _channel(name, {key: found.get(name, []) for key, found in rows.items()})
        for name in datasets
    ]


def _by_dataset(
    connection: Connection, statement: str, datasets: Sequence[str]
) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    parameters = {
        "datasets": list(datasets),
        "scores": SCORES_SHOWN,
        "events": EVENTS_LOOKED_AT,
    }
    for row in connection.execute(text(statement), parameters).mappings():
        found.setdefault(row["dataset"], []).append(dict(row))
    return found


def _channel(dataset: str, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Channel:
    counts = _Counts()
    _count_newest(counts, rows["newest"])
    for load in rows["waiting"]:
        gate, is_working = gate_of_open_load(load)
        _add(counts.working if is_working else counts.waiting, gate, 1)
        if is_working:
            counts.tries[gate] = max(counts.tries.get(gate, 0), load["attempts"])
    for dead in rows["dead"]:
        # A load that was given up counts as a slice already; of the others the record does.
        gate_of_dead = _GATE_OF_SERVICE.get(dead["service"])
        if gate_of_dead is Gate.LEARN:
            _add(counts.stopped, gate_of_dead, dead["records"])
    reached = _first(rows["reached"]) or {}
    figures = _first(rows["counts"]) or {}
    champion = _first(rows["champion"])
    counts.passed[Gate.LEARN] = (_first(rows["versions"]) or {}).get("loads", 0)
    return Channel(
        dataset=dataset,
        flows=[counts.flow(gate) for gate in GATES],
        slices=reached.get("slices", 0),
        slice_key=reached.get("slice_key"),
        as_of=reached.get("as_of"),
        percentage=reached.get("percentage"),
        champion=champion,
        scores=[_score(row) for row in rows["scores"]],
        last_load=_first(rows["last"]),
        dead_letters=figures.get("dead_letters", 0),
        unpublished_events=figures.get("unpublished_events", 0),
        missing_images=figures.get("missing_images", 0),
        statuses=_statuses(rows["newest"]),
    )


def _statuses(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        found[row["status"]] = found.get(row["status"], 0) + row["slices"]
    return found


def _count_newest(counts: _Counts, rows: Iterable[Mapping[str, Any]]) -> None:
    """Put each slice behind the gates that it has passed, or at the one that stopped it."""
    behind = {
        LoadStatus.LOADED: 1,
        LoadStatus.VALIDATED: 2,
        LoadStatus.PUBLISHED: 3,
        LoadStatus.WITHDRAWN: 3,
    }
    for row in rows:
        status, slices = LoadStatus(row["status"]), row["slices"]
        gates = behind.get(status, 0)
        if status in (LoadStatus.REJECTED, LoadStatus.FAILED):
            gate = _GATE_OF_STAGE.get(row["stage"], Gate.INGEST)
            _add(counts.stopped, gate, slices)
            gates = GATES.index(gate)
        for passed in GATES[:gates]:
            _add(counts.passed, passed, slices)


def gate_of_open_load(load: Mapping[str, Any]) -> tuple[Gate, bool]:
    """Where a row of `channel_queries.WAITING` stands, and whether the gate is at work on it."""
    if load["stage"] is None:
        return Gate.INGEST, False
    gate = _GATE_OF_STAGE.get(load["stage"], Gate.INGEST)
    if load["is_running"]:
        return gate, True
    return GATES[min(GATES.index(gate) + 1, len(GATES) - 1)], False


def _score(row: Mapping[str, Any]) -> Score:
    return Score(
        at=row["decided_at"],
        version=row["model_version"],
        is_promoted=row["promoted"],
        value=row["score"] if row["promoted"] else row["champion_score"],
        challenger=row["score"],
    )


def _first(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return rows[0] if rows else None


def _add(numbers: dict[Gate, int], gate: Gate, more: int) -> None:
    numbers[gate] = numbers.get(gate, 0) + more
