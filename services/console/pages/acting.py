"""The confirming page of each action, its carrying out, and what became of it."""

import logging
from collections.abc import Mapping

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse

from services.console import audit
from services.console.actions import ACTIONS
from services.console.actions.action import Action, Done
from services.console.audit import Entry
from services.console.failures import NotThere, wants_page
from services.console.forms import given, read_form, token_of
from services.console.pages.login import confirmed_actor
from services.console.paging import NO_ROW
from services.console.queries.acts import became, find_act
from services.console.session import FORM_TOKEN, Actor
from services.console.site import Site
from shared.database.statuses import AuditOutcome
from shared.errors import HeadraceError, TransientError

logger = logging.getLogger(__name__)


def router(site: Site) -> APIRouter:
    """`/act/<name>` and `/acts/<number>`."""
    routes = APIRouter()

    @routes.get("/act/{name}")
    def confirm(request: Request, name: str) -> Response:
        """What would be done, and the button."""
        action = _action(name)
        actor = confirmed_actor(site, request)
        if isinstance(actor, Response):
            return actor
        with site.read() as connection:
            proposal = action.propose(site, connection, dict(request.query_params))
        return site.page(request, "act.html", action=action, proposal=proposal)

    @routes.post("/act/{name}")
    async def act(request: Request, name: str) -> Response:
        """Do it: for a form with its token, or a script with its own."""
        action = _action(name)
        values = await read_form(request)
        actor: Actor = request.state.actor
        site.door.check_form(actor, token_of(values))
        values.pop(FORM_TOKEN, None)
        number, done = await run_in_threadpool(carry_out, site, action, actor, values)
        if wants_page(request):
            return RedirectResponse(f"/acts/{number}", 303)
        told = {"audit_id": number, "outcome": done.outcome.value, "message": done.message}
        return JSONResponse(told | {"event_id": done.event_id}, status_code=202)

    @routes.get("/acts/{number}")
    def acted(request: Request, number: int) -> Response:
        """What was done, and what became of it since."""
        with site.read() as connection:
            found = find_act(connection, number) if 0 < number < NO_ROW else None
            if found is None:
                raise NotThere(f"Nothing was done under the number {number}.", ("Audit", "/audit"))
            fate = became(connection, found)
        if not wants_page(request):
            facts = {"audit_id": number, "outcome": found.outcome, "error": found.error}
            told = {"state": fate.state, "message": fate.message, "load_id": fate.load_id}
            return JSONResponse(facts | told)
        return site.page(request, "acted.html", act=found, fate=fate)

    return routes


def carry_out(
    site: Site, action: Action, actor: Actor, values: Mapping[str, str]
) -> tuple[int, Done]:
    """Do it and write it down, or write down why not and raise that; the audit's row and what
    was done.
    """
    try:
        with site.resources.engine.begin() as connection:
            done = action.perform(site, connection, actor, values)
            entry = Entry(
                action.audited, done.subject, done.outcome, done.dataset, done.event_id, done.detail
            )
            number = audit.write(connection, actor, entry)
    except HeadraceError as error:
        if not isinstance(error, TransientError):
            _write_refusal(site, action, actor, values, error)
        raise
    logger.info("%s by %s: %s", action.audited, actor.name, done.subject)
    site.resources.wake_relay()
    return number, done


def _write_refusal(
    site: Site, action: Action, actor: Actor, values: Mapping[str, str], error: HeadraceError
) -> None:
    dataset = given(values, "dataset") or None
    known = dataset if dataset in site.specs.names() else None
    said = {name: value[:200] for name, value in list(values.items())[:20]}
    subject = "/".join(filter(None, (dataset, values.get("slice_key", "")))) or action.name
    entry = Entry(
        action.audited,
        subject[:200],
        AuditOutcome.REFUSED,
        known,
        detail={**said, "error": str(error)},
    )
    with site.resources.engine.begin() as connection:
        audit.write(connection, actor, entry)


def _action(name: str) -> Action:
    if name not in ACTIONS:
        raise HTTPException(404, f"There is no action {name[:60]!r}.")
    return ACTIONS[name]
