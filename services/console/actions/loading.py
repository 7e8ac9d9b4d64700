"""Load a slice: from a folder, a prefix of the store, or files that came through the browser."""

from datetime import date

from sqlalchemy import Connection

from services.console.actions.action import Action, Done, Proposal, Values, ask
from services.console.forms import BadForm, given, needed
from services.console.session import Actor
from services.console.site import Site
from services.console.uploads import folder_of
from shared.contracts.events import LoadRequested
from shared.load_requests import load_request

NAMES = ("dataset", "slice_key", "source", "as_of", "upload")
"""What a load is asked for with."""


def request_of(
    site: Site, connection: Connection, values: Values, *, requested_by: str
) -> LoadRequested:
    """The request for what the form says. Raises `HeadraceError` where it can't be asked for."""
    source, upload = given(values, "source"), given(values, "upload")
    if source and upload:
        raise BadForm("either files or a folder: both are named")
    if upload:
        source = str(folder_of(site.resources.store, upload))
    return load_request(
        connection,
        site.settings,
        dataset=needed(values, "dataset"),
        slice_key=given(values, "slice_key") or None,
        source=source or None,
        as_of=_date(given(values, "as_of")),
        requested_by=requested_by,
        clock=site.clock,
    )


def _propose(site: Site, connection: Connection, values: Values) -> Proposal:
    payload = request_of(site, connection, values, requested_by="nobody")
    return Proposal(
        title=f"Load {payload.dataset}/{payload.slice_key}?",
        verb="Load the slice",
        says=(
            "The ingestor takes the files aside and stages their rows; the slice then goes through "
            "the other gates by itself, and a model is trained where the spec says so.",
        ),
        values={name: values[name] for name in NAMES if given(values, name)}
        | {"slice_key": payload.slice_key},
        facts=(("From", payload.source_uri), ("Date", str(payload.as_of or "by its name"))),
        back=f"/load?dataset={payload.dataset}",
    )


def _perform(site: Site, connection: Connection, actor: Actor, values: Values) -> Done:
    payload = request_of(site, connection, values, requested_by=actor.name)
    event = ask(site, connection, payload)
    return Done(
        subject=event.subject,
        message=f"Asked for {event.subject}.",
        dataset=payload.dataset,
        event_id=event.id,
        detail={"slice_key": payload.slice_key, "source": payload.source_uri},
    )


def _date(said: str) -> date | None:
    try:
        return date.fromisoformat(said) if said else None
    except ValueError as error:
        raise BadForm(f"{said[:40]!r} is no date like 2024-01-31") from error


LOAD = Action("load", "load", _propose, _perform)
