"""A person's word about a schedule: run it now, pause it, resume it."""

from sqlalchemy import Connection

from services.console.actions.action import Action, Done, Proposal, Values
from services.console.forms import given, needed
from services.console.session import Actor
from services.console.site import Site
from services.console.wording import dataset_url
from shared.contracts.schedule_spec import Schedule
from shared.database.statuses import ScheduleOutcome
from shared.errors import InconsistentState
from shared.load_requests import BadRequest, next_slice
from shared.schedule.actions import pause_within, resume_within, run_now_within, scheduled_spec


def _facts(schedule: Schedule | None) -> tuple[tuple[str, str], ...]:
    if schedule is None:
        return ()
    return (("Schedule", f"{schedule.cron} ({schedule.time_zone})"),)


def _propose_run(site: Site, connection: Connection, values: Values) -> Proposal:
    spec = scheduled_spec(site.settings, needed(values, "dataset"))
    following = next_slice(connection, spec)
    return Proposal(
        title=f"Run the schedule of {spec.dataset} now?",
        verb=f"Ask for {following}",
        says=(
            f"The dataset's next slice, {following}, is asked for at once, as the schedule would "
            "do it; also while the schedule is paused.",
        ),
        values={"dataset": spec.dataset, "slice_key": following},
        facts=_facts(spec.schedule),
        back=dataset_url(spec.dataset),
    )


def _run(site: Site, connection: Connection, actor: Actor, values: Values) -> Done:
    dataset = needed(values, "dataset")
    run = run_now_within(connection, site.settings, dataset, site.clock(), by=actor.name)
    if run.outcome is not ScheduleOutcome.REQUESTED:
        raise BadRequest(run.detail or run.outcome.value)
    confirmed = given(values, "slice_key")
    if confirmed and confirmed != run.slice_key:
        raise BadRequest(f"{confirmed} was asked for meanwhile: {run.slice_key} comes next by now")
    return Done(
        subject=f"{dataset}/{run.slice_key}",
        message=f"Asked for {dataset}/{run.slice_key}, as the schedule would.",
        dataset=dataset,
        event_id=run.load_id,
        detail={"slice_key": run.slice_key},
    )


def _propose_pause(site: Site, connection: Connection, values: Values) -> Proposal:
    spec = scheduled_spec(site.settings, needed(values, "dataset"))
    return Proposal(
        title=f"Pause the schedule of {spec.dataset}?",
        verb="Pause it",
        says=("It asks for nothing until it is resumed; moments that pass are not made up for.",),
        values={"dataset": spec.dataset},
        facts=_facts(spec.schedule),
        back=dataset_url(spec.dataset),
    )


def _pause(site: Site, connection: Connection, actor: Actor, values: Values) -> Done:
    dataset = needed(values, "dataset")
    if not pause_within(connection, site.settings, dataset, site.clock(), by=actor.name):
        raise InconsistentState(f"the schedule of {dataset} was paused before")
    return Done(dataset, f"The schedule of {dataset} is paused.", dataset)


def _propose_resume(site: Site, connection: Connection, values: Values) -> Proposal:
    spec = scheduled_spec(site.settings, needed(values, "dataset"))
    return Proposal(
        title=f"Resume the schedule of {spec.dataset}?",
        verb="Resume it",
        says=("It goes on with its next moment; those that passed are not made up for.",),
        values={"dataset": spec.dataset},
        facts=_facts(spec.schedule),
        back=dataset_url(spec.dataset),
    )


def _resume(site: Site, connection: Connection, actor: Actor, values: Values) -> Done:
    dataset = needed(values, "dataset")
    if not resume_within(connection, site.settings, dataset, site.clock(), by=actor.name):
        raise InconsistentState(f"the schedule of {dataset} was not paused")
    return Done(dataset, f"The schedule of {dataset} goes on.", dataset)


RUN_NOW = Action("run-schedule", "run schedule", _propose_run, _run)
PAUSE = Action("pause-schedule", "pause schedule", _propose_pause, _pause)
RESUME = Action("resume-schedule", "resume schedule", _propose_resume, _resume)
