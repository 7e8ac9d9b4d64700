"""Where every dataset stands, at a glance: read here, drawn by whoever shows it.

Few queries, whatever the number of datasets, and none that reads a dataset's rows: the numbers come
from the control tables.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select, text

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.spec_file import find_spec, spec_names
from shared.database import overview_queries as queries
from shared.database.tables import schedules
from shared.errors import InvalidSpec

NextRun = Callable[[DatasetSpec, Row[Any] | None], datetime | None]
"""When a spec's schedule asks for the next slice, by its row of `headrace.schedules`, if any; None
where it doesn't."""


@dataclass(frozen=True)
class LastLoad:
    """The newest attempt to bring a slice in."""

    load_id: str
    slice_key: str
    status: str
    at: datetime
    """When it ended, or began if it hasn't."""


@dataclass(frozen=True)
class ChampionNow:
    """The champion, with its score when that was decided."""

    model_name: str
    model_version: str
    metric: str
    score: float
    as_of: date
    """Of the data that it learned from."""
    since: datetime


@dataclass(frozen=True)
class WaitingLoad:
    """A load of which more is to come."""

    load_id: str
    slice_key: str
    stage: str | None
    """The newest stage that has begun; None where none has."""
    is_running: bool
    """Whether that stage is at work on it; else the next one hasn't begun."""
    attempts: int
    """Of that stage. More than one says that something fails and is tried again."""
    since: datetime
    """When it came to where it stands."""


@dataclass(frozen=True)
class RejectedSlice:
    """A slice whose newest load was rejected."""

    load_id: str
    slice_key: str
    reason: str
    """The first of them."""
    reasons: int


@dataclass(frozen=True)
class WithdrawnSlice:
    """A slice that was taken back and not loaded again."""

    load_id: str
    """The withdrawal's."""
    slice_key: str
    requested_by: str
    at: datetime
    reason: str


@dataclass(frozen=True)
class DatasetOverview:
    """One dataset. Without a spec that can be read, `fault` says why and the rest is as found."""

    dataset: str
    fault: str | None
    slices: int
    """How many are published."""
    slice_key: str | None
    """The one reached: of the greatest share, else of the latest date."""
    as_of: date | None
    percentage: float | None
    """Of the source that is in; None where slices are no shares."""
    rows: Mapping[str, int]
    """By table, in the newest snapshot."""
    classes: Mapping[str, int]
    """Rows by class of the newest training dataset, as they are before any balancing."""
    last_load: LastLoad | None
    is_scheduled: bool
    is_paused: bool
    next_run: datetime | None
    """None where nothing is scheduled, or the schedule is paused."""
    time_zone: str | None
    """The schedule's."""
    trains: bool
    champion: ChampionNow | None
    waiting: Sequence[WaitingLoad]
    unpublished_events: int
    """In the outbox: committed, and not yet on their topics."""
    oldest_unpublished: datetime | None
    rejected: Sequence[RejectedSlice]
    dead_letters: int
    """Neither redriven nor dropped."""
    missing_images: int
    withdrawn: Sequence[WithdrawnSlice] = ()


def read_overview(
    connection: Connection, datasets_dir: Path, next_run: NextRun
) -> list[DatasetOverview]:
    """Every dataset that has a spec, in the order of their names."""
    names = spec_names(datasets_dir)
    found = _Found.read(connection, names)
    return [_overview(name, datasets_dir, found, next_run) for name in names]


@dataclass(frozen=True)
class _Found:
    """The queries' rows, by dataset."""

    schedules: Mapping[str, Row[Any]]
    reached: Mapping[str, Mapping[str, Any]]
    rows: Mapping[str, Mapping[str, Any]]
    classes: Mapping[str, Mapping[str, Any]]
    last_load: Mapping[str, Mapping[str, Any]]
    champion: Mapping[str, Mapping[str, Any]]
    counts: Mapping[str, Mapping[str, Any]]
    waiting: Mapping[str, list[Mapping[str, Any]]]
    rejected: Mapping[str, list[Mapping[str, Any]]]
    withdrawn: Mapping[str, list[Mapping[str, Any]]]

    @classmethod
    def read(cls, connection: Connection, names: Sequence[str]) -> "_Found":
        def many(statement: str) -> dict[str, list[Mapping[str, Any]]]:
            by_dataset: dict[str, list[Mapping[str, Any]]] = {}
            rows = connection.execute(text(statement), {"datasets": list(names)})
            for row in rows.mappings():
                values = dict(row)
                by_dataset.setdefault(values.pop("dataset"), []).append(values)
            return by_dataset

        def one(statement: str) -> dict[str, Mapping[str, Any]]:
            return {dataset: rows[0] for dataset, rows in many(statement).items()}

        return cls(
            schedules={row.dataset: row for row in connection.execute(select(schedules))},
            reached=one(queries.REACHED),
            rows=one(queries.ROWS),
            classes=one(queries.CLASSES),
            last_load=one(queries.LAST_LOAD),
            champion=one(queries.CHAMPION),
            counts=one(queries.COUNTS),
            waiting=many(queries.WAITING),
            rejected=many(queries.REJECTED),
            withdrawn=many(queries.WITHDRAWN),
        )


def _overview(name: str, datasets_dir: Path, found: _Found, next_run: NextRun) -> DatasetOverview:
    spec, fault = None, None
    try:
        spec = find_spec(datasets_dir, name)
    except InvalidSpec as error:
        fault = str(error)
    reached = found.reached.get(name, {})
    counts = found.counts.get(name, {})
    grows = spec is not None and spec.slices.increment is not None
    schedule, row = spec.schedule if spec else None, found.schedules.get(name)
    return DatasetOverview(
        dataset=name,
        fault=fault,
        slices=reached.get("slices", 0),
        slice_key=reached.get("slice_key"),
        as_of=reached.get("as_of"),
        percentage=reached.get("percentage") or (0.0 if grows else None),
        rows=_in_order_of(spec, found.rows.get(name, {}).get("rows", {})),
        classes=_classes(found.classes.get(name)),
        last_load=LastLoad(**load) if (load := found.last_load.get(name)) else None,
        is_scheduled=schedule is not None,
        is_paused=row is not None and row.is_paused,
        next_run=next_run(spec, row) if spec else None,
        time_zone=schedule.time_zone if schedule else None,
        trains=spec is not None and spec.training is not None,
        champion=ChampionNow(**held) if (held := found.champion.get(name)) else None,
        waiting=[WaitingLoad(**row) for row in found.waiting.get(name, [])],
        unpublished_events=counts.get("unpublished_events", 0),
        oldest_unpublished=counts.get("oldest_unpublished"),
        rejected=[RejectedSlice(**row) for row in found.rejected.get(name, [])],
        dead_letters=counts.get("dead_letters", 0),
        missing_images=counts.get("missing_images", 0),
        withdrawn=[WithdrawnSlice(**row) for row in found.withdrawn.get(name, [])],
    )


def _in_order_of(spec: DatasetSpec | None, rows: Mapping[str, int]) -> dict[str, int]:
    """`rows` with the spec's tables first, as it declares them; JSON in Postgres has no order."""
    declared = [name for name in spec.tables if name in rows] if spec else []
    return {name: rows[name] for name in [*declared, *sorted(rows.keys() - set(declared))]}


def _classes(row: Mapping[str, Any] | None) -> dict[str, int]:
    """Rows by class of both sides together, the training side as it was before the balancing."""
    sides = row["class_counts"] if row else {}
    counts: dict[str, int] = {}
    for side in ("train_before", "test"):
        for name, rows in sides.get(side, {}).items():
            counts[name] = counts.get(name, 0) + rows
    return counts
