"""Logging in and out."""

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from services.console import audit
from services.console.audit import Entry
from services.console.failures import wants_page
from services.console.forms import read_form, token_of
from services.console.session import ADMIN, LOGIN, LOGOUT, Actor, NotLoggedIn, login_url
from services.console.site import Site
from shared.database.statuses import AuditOutcome

UNKNOWN = "somebody"
"""Who a refused login is of."""
_TOO_MANY = 429


def router(site: Site) -> APIRouter:
    """`/login` and `/logout`."""
    routes = APIRouter()

    @routes.get("/login")
    def login_page(request: Request) -> Response:
        """The form."""
        target = _local(request.query_params.get("next", ""))
        if site.door.actor(request) is not None:
            return RedirectResponse(target, 303)
        return _form(site, request, target)

    @routes.post("/login")
    async def log_in(request: Request) -> Response:
        """Give the browser a session, where the password is right."""
        values = await read_form(request)
        return await run_in_threadpool(_log_in, site, request, values)

    @routes.post("/logout")
    async def log_out(request: Request) -> Response:
        """End the session, also for whoever has a copy of its cookie."""
        values = await read_form(request)
        actor: Actor = request.state.actor
        site.door.check_form(actor, token_of(values))
        return await run_in_threadpool(_log_out, site, actor)

    return routes


def confirmed_actor(site: Site, request: Request) -> Actor | Response:
    """Who looks at a page that only those see who may act; or the way to the login."""
    try:
        return site.door.require(request)
    except NotLoggedIn:
        if not wants_page(request) or not site.door.is_open:
            raise
        return RedirectResponse(login_url(request), 303)


def _form(
    site: Site, request: Request, target: str, fault: str = "", status_code: int = 200
) -> HTMLResponse:
    nonce = site.door.nonce(request)
    page = site.page(
        request,
        "login.html",
        status_code=status_code,
        entrance_token=site.door.entrance_token(nonce),
        target=target,
        fault=fault,
    )
    site.door.entrance(page, request, nonce)
    return page


def _log_in(site: Site, request: Request, values: dict[str, str]) -> Response:
    target = _local(values.get("next", ""))
    if not site.door.is_open:
        raise HTTPException(403, "Nobody can log in: CONSOLE_PASSWORD isn't set.")
    if not site.door.is_entrance(request, token_of(values)):
        return _form(site, request, target, "The form was too old, or of another browser.", 403)
    settings = site.settings
    address = request.client.host if request.client else ""
    with site.resources.engine.begin() as connection:
        if audit.has_tried_too_often(
            connection,
            address,
            now=site.clock(),
            attempts=settings.console_login_attempts,
            window_seconds=settings.console_login_window_seconds,
        ):
            minutes = max(1, round(settings.console_login_window_seconds / 60))
            said = f"Too many wrong passwords: wait up to {minutes} min."
            return _form(site, request, target, said, _TOO_MANY)
        if not site.door.is_password(values.get("password", "")):
            refused = Entry(LOGIN, "console", AuditOutcome.REFUSED, detail={"error": "password"})
            audit.write(connection, Actor(UNKNOWN, address), refused)
            return _form(site, request, target, "That is not the password.", 401)
        response = RedirectResponse(target, 303)
        session_id = site.door.let_in(response, request)
        actor = Actor(ADMIN, address, session_id)
        audit.write(connection, actor, Entry(LOGIN, "console", AuditOutcome.DONE))
    return response


def _log_out(site: Site, actor: Actor) -> Response:
    response = RedirectResponse("/", 303)
    if actor.session_id is not None:
        with site.resources.engine.begin() as connection:
            audit.write(connection, actor, Entry(LOGOUT, "console", AuditOutcome.DONE))
    site.door.let_out(response)
    return response


def _local(target: str) -> str:
    """`target` where it is a page of ours, else the home page."""
    is_ours = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if is_ours and target.isprintable() else "/"
