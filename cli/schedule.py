"""`headrace schedule list | pause | resume | run-now`: what asks for slices by itself."""

import getpass
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import select

from cli.output import show
from cli.session import ROOT, AsJson, Root, Session, fail, session
from shared.clock import utc_now
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.schedule_spec import Schedule
from shared.contracts.spec_file import find_spec, spec_names
from shared.database.statuses import ScheduleOutcome
from shared.database.tables import schedules
from shared.errors import PermanentError

COLUMNS = [
    "dataset",
    "cron",
    "time_zone",
    "missed",
    "state",
    "next_run",
    "last_run",
    "outcome",
    "slice_key",
    "detail",
]

app = typer.Typer()
schedule = typer.Typer(no_args_is_help=True, help="When slices are asked for by themselves.")
app.add_typer(schedule, name="schedule")
Dataset = Annotated[str, typer.Argument(help="The dataset's name.")]


@schedule.command("list")
def list_schedules(as_json: AsJson = False, root: Root = ROOT) -> None:
    """Each dataset's schedule: its next run, and what became of its last. Times are of its zone."""
    with session(root) as current:
        rows = _rows(current)
    show(rows, COLUMNS, as_json=as_json, nothing="no spec has a schedule")


@schedule.command()
def pause(dataset: Dataset, root: Root = ROOT) -> None:
    """Have the schedule ask for nothing until it is resumed."""
    from shared.schedule import actions

    with session(root) as current:
        is_changed = actions.pause(
            current.engine, current.settings, dataset, utc_now(), by=getpass.getuser()
        )
    typer.echo(f"{dataset} is paused" if is_changed else f"{dataset} was paused before")


@schedule.command()
def resume(dataset: Dataset, root: Root = ROOT) -> None:
    """Have it go on with its next moment; those that passed meanwhile are not made up for."""
    from shared.schedule import actions

    with session(root) as current:
        is_changed = actions.resume(
            current.engine, current.settings, dataset, utc_now(), by=getpass.getuser()
        )
    typer.echo(f"{dataset} goes on" if is_changed else f"{dataset} was not paused")


@schedule.command("run-now")
def run_now(dataset: Dataset, root: Root = ROOT) -> None:
    """Ask for the next slice at once, also while it is paused; exit 0 where nothing is left."""
    from shared.schedule import actions

    with session(root) as current:
        run = actions.run_now(
            current.engine, current.settings, dataset, utc_now(), by=getpass.getuser()
        )
    if run.outcome is ScheduleOutcome.REQUESTED:
        typer.echo(f"requested {dataset}/{run.slice_key}: load {run.load_id}")
    elif run.outcome is ScheduleOutcome.NOTHING_TO_LOAD:
        typer.echo(run.detail)
    else:
        fail(run.detail or run.outcome.value)


def _rows(current: Session) -> list[dict[str, Any]]:
    from shared.schedule.actions import last_runs

    specs = _scheduled(current)
    with current.engine.connect() as connection:
        known = {row.dataset: row for row in connection.execute(select(schedules))}
        last = last_runs(connection)
    return [
        _row(spec, declared, known.get(spec.dataset), last.get(spec.dataset))
        for spec, declared in specs
    ]


def _scheduled(current: Session) -> list[tuple[DatasetSpec, Schedule]]:
    """The specs with a schedule; one that can't be read is told on standard error."""
    folder = current.settings.datasets_dir
    found = []
    for name in spec_names(folder):
        try:
            spec = find_spec(folder, name)
        except PermanentError as error:
            typer.echo(f"{name} is left out: {error}", err=True)
            continue
        if spec.schedule is not None:
            found.append((spec, spec.schedule))
    return found


def _row(spec: DatasetSpec, declared: Schedule, known: Any, last: Any) -> dict[str, Any]:
    from shared.schedule.deciding import next_run
    from shared.schedule.moments import schedule_faults

    faults = schedule_faults(spec)
    state = "paused" if known is not None and known.is_paused else "active"
    zone = ZoneInfo(declared.time_zone)
    row = {
        "dataset": spec.dataset,
        "cron": declared.cron,
        "time_zone": declared.time_zone,
        "missed": declared.missed.value,
        "state": "faulty" if faults else state,
        "next_run": next_run(spec, known, utc_now()),
        "last_run": last.due_at.astimezone(zone) if last else None,
        "outcome": last.outcome.value if last else None,
        "slice_key": last.slice_key if last else None,
        "load_id": last.load_id if last else None,
        "detail": last.detail if last else None,
    }
    if faults:
        row["detail"] = "; ".join(f"{path}: {message}" for path, message in faults)
    return row
