"""The dataset that a page is about: its spec, if it can be read, and its schedule."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from services.console.site import Site
from shared.contracts.dataset_spec import DatasetSpec
from shared.database.tables import schedule_runs, schedules
from shared.errors import InvalidSpec
from shared.schedule.deciding import next_run

RUNS_SHOWN = 8


@dataclass(frozen=True)
class Subject:
    """A dataset by its name. Without a spec that can be read, `fault` says why."""

    dataset: str
    spec: DatasetSpec | None
    fault: str | None


@dataclass(frozen=True)
class ScheduleNow:
    """A schedule as it stands."""

    cron: str
    time_zone: str
    missed: str
    is_paused: bool
    next_run: datetime | None
    """In its time zone."""
    runs: list[Row[Any]]
    """What became of its last moments, the newest first."""


def subject_of(site: Site, dataset: str) -> Subject:
    """The dataset. Raises `UnknownDataset` where no spec declares it."""
    try:
        return Subject(dataset, site.specs.find(dataset), None)
    except InvalidSpec as error:
        return Subject(dataset, None, str(error))


def schedule_of(connection: Connection, subject: Subject, now: datetime) -> ScheduleNow | None:
    """How the dataset's schedule stands; None where it has none."""
    if subject.spec is None or subject.spec.schedule is None:
        return None
    declared = subject.spec.schedule
    row = connection.execute(
        select(schedules).where(schedules.c.dataset == subject.dataset)
    ).one_or_none()
    runs = connection.execute(
        select(schedule_runs)
        .where(schedule_runs.c.dataset == subject.dataset)
        .order_by(schedule_runs.c.due_at.desc())
        .limit(RUNS_SHOWN)
    ).all()
    return ScheduleNow(
        declared.cron,
        declared.time_zone,
        declared.missed.value,
        row is not None and row.is_paused,
        next_run(subject.spec, row, now),
        list(runs),
    )


def in_order_of(applied: DatasetSpec, declared: DatasetSpec | None) -> DatasetSpec:
    """`applied`, its tables and columns in the order of `declared`: JSON in Postgres has none."""
    if declared is None:
        return applied
    tables = {}
    for name in sorted(applied.tables, key=_place(declared.tables)):
        table, like = applied.tables[name], declared.tables.get(name)
        columns = sorted(table.columns, key=_place(like.columns if like else ()))
        tables[name] = table.model_copy(update={"columns": {c: table.columns[c] for c in columns}})
    return applied.model_copy(update={"tables": tables})


def _place(names: Iterable[str]) -> Callable[[str], int]:
    """How far down a name stands among `names`; the others come last."""
    places = {name: number for number, name in enumerate(names)}
    return lambda name: places.get(name, len(places))
