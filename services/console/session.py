"""Who is at the console: one admin with a password, or a script with the bearer `API_TOKEN`.

A session is a signed cookie: any replica with the same password reads it, and another password ends
all of them. That it was ended by its holder stands in the audit table. A form carries a token that
follows from the session, so that a page from elsewhere can't send it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from fastapi import HTTPException, Request, Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from services.console.reading import Reader
from shared.authorization import READING
from shared.clock import Clock
from shared.settings import Settings

COOKIE = "headrace_session"
ENTRANCE_COOKIE = "headrace_entrance"
FORM_TOKEN = "form_token"  # noqa: S105  # the field's name
LOGIN, LOGOUT = "log in", "log out"
"""As the audit table calls them."""
ADMIN, SCRIPT = "admin", "API token"
_SALT = b"headrace console session"
_ENTRANCE = timedelta(hours=1)
_OURSELVES = ("same-origin", "none", "")
_IS_ENDED = """
    SELECT EXISTS (
        SELECT FROM headrace.audit WHERE session_id = :session_id AND action = :logout
    )
"""


@dataclass(frozen=True)
class Actor:
    """Who acts, and from where. Without a session it is a script."""

    name: str
    address: str
    session_id: str | None = None


class NotLoggedIn(HTTPException):
    """Somebody wants to act whom we don't know."""

    there: tuple[tuple[str, str], ...] = ()
    hint = ""


def login_url(request: Request) -> str:
    """The address of the login that leads back to the page of the request."""
    here = quote(request.url.path) + (f"?{request.url.query}" if request.url.query else "")
    if request.method not in READING or request.url.path == "/login" or here == "/":
        return "/login"
    return f"/login?next={quote(here, safe='/')}"


class Door:
    """Lets people in and out, and knows who may change something. Thread-safe."""

    def __init__(self, settings: Settings, read: Reader, clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._lasts = timedelta(hours=settings.console_session_hours)
        password, token = settings.console_password, settings.api_token
        self._password = password.get_secret_value().encode() if password else None
        self._token = token.get_secret_value().encode() if token else None
        # Slow on purpose: whoever has a cookie could else try passwords against its signature.
        self._key = (
            hashlib.scrypt(self._password, salt=_SALT, n=1 << 14, r=8, p=1)
            if self._password is not None
            else secrets.token_bytes(32)
        )

    @property
    def is_open(self) -> bool:
        """Whether anybody can log in at all."""
        return self._password is not None

    def is_password(self, given: str) -> bool:
        """Whether it is the admin's."""
        return self._password is not None and hmac.compare_digest(
            self._sign("password", given), self._sign("password", self._password.decode())
        )

    def actor(self, request: Request) -> Actor | None:
        """Who sends the request, by what it carries; None for one who can only read.

        Of a session Postgres is asked whether its holder has ended it.
        """
        address = request.client.host if request.client else ""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            is_ours = self._token is not None and hmac.compare_digest(
                given.strip().encode(), self._token
            )
            return Actor(SCRIPT, address) if is_ours else None
        session_id = self._value_of(request.cookies.get(COOKIE, ""), "session")
        if session_id is None or self._is_ended(session_id):
            return None
        return Actor(ADMIN, address, session_id)

    def require(self, request: Request) -> Actor:
        """Who sends the request. Raises `NotLoggedIn` for one who can only read."""
        actor = self.actor(request)
        if actor is not None:
            return actor
        if not self.is_open and self._token is None:
            refusal = NotLoggedIn(403, "Here one can only read: nobody has set a password.")
            refusal.hint = "Set CONSOLE_PASSWORD (and API_TOKEN for scripts) to act here."
            raise refusal
        headers = {"WWW-Authenticate": "Bearer"}
        refusal = NotLoggedIn(401, "To do this, log in first.", headers=headers)
        refusal.there = (("Log in", "/login"),) if self.is_open else ()
        refusal.hint = "A script sends the header `Authorization: Bearer …` with the API_TOKEN."
        raise refusal

    def guard(self, request: Request) -> None:
        """Before every request: raises unless it only reads, logs in, or is of one who may act.

        The form's token is for whoever reads the form to check.
        """
        if request.method in READING:
            return
        if request.headers.get("sec-fetch-site", "") not in _OURSELVES:
            raise HTTPException(403, "This came from a page of somebody else's.")
        if request.url.path != "/login":
            request.state.actor = self.require(request)

    def form_token(self, actor: Actor) -> str:
        """What each form of the actor's pages carries."""
        return self._sign("form", actor.session_id or "")

    def check_form(self, actor: Actor, given: str) -> None:
        """Raise 403 where a form of a session doesn't carry its token; a script sends none."""
        if actor.session_id is None or hmac.compare_digest(given, self.form_token(actor)):
            return
        raise HTTPException(
            403, "This form is not of your session: go back, load the page again, and send it."
        )

    def let_in(self, response: Response, request: Request) -> str:
        """Give the browser a session; its id."""
        session_id = secrets.token_hex(16)
        self._give(response, request, COOKIE, "session", session_id, self._lasts)
        response.delete_cookie(ENTRANCE_COOKIE)
        return session_id

    def let_out(self, response: Response) -> None:
        """Take the session from the browser."""
        response.delete_cookie(COOKIE)

    def entrance(self, response: Response, request: Request, nonce: str) -> None:
        """Before the login: mark the browser, so that its form can't be sent by another's page."""
        self._give(response, request, ENTRANCE_COOKIE, "entrance", nonce, _ENTRANCE)

    def nonce(self, request: Request) -> str:
        """The mark that the browser has, which stays good for each of its forms, or a new one."""
        return self._nonce(request) or secrets.token_hex(16)

    def entrance_token(self, nonce: str) -> str:
        """What the login's form carries."""
        return self._sign("login", nonce)

    def is_entrance(self, request: Request, given: str) -> bool:
        """Whether the login's form is one that this browser was given."""
        nonce = self._nonce(request)
        return nonce is not None and hmac.compare_digest(given, self.entrance_token(nonce))

    def variables(self, request: Request) -> Mapping[str, Any]:
        """For every template: who is here, and what their forms carry.

        Nobody is while the database is away: the page that says so needs none.
        """
        try:
            actor = self.actor(request)
        except SQLAlchemyError:
            actor = None
        token = self.form_token(actor) if actor else ""
        return {
            "actor": actor,
            "form_token": token,
            "can_log_in": self.is_open,
            "login_url": login_url(request),
        }

    def _nonce(self, request: Request) -> str | None:
        return self._value_of(request.cookies.get(ENTRANCE_COOKIE, ""), "entrance")

    def _is_ended(self, session_id: str) -> bool:
        with self._read() as connection:
            asked = {"session_id": session_id, "logout": LOGOUT}
            return bool(connection.execute(text(_IS_ENDED), asked).scalar_one())

    def _give(
        self,
        response: Response,
        request: Request,
        cookie: str,
        purpose: str,
        value: str,
        lasts: timedelta,
    ) -> None:
        until = int((self._clock() + lasts).timestamp())
        said = f"{value}.{until}"
        response.set_cookie(
            cookie,
            f"{said}.{self._sign(purpose, said)}",
            max_age=int(lasts.total_seconds()),
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )

    def _value_of(self, cookie: str, purpose: str) -> str | None:
        """The value of a cookie of ours that is still good."""
        value, _, rest = cookie.partition(".")
        until, _, signature = rest.partition(".")
        if not until.isascii() or not until.isdecimal() or not signature.isascii():
            return None
        if not hmac.compare_digest(signature, self._sign(purpose, f"{value}.{until}")):
            return None
        now: datetime = self._clock()
        return value if now.timestamp() < int(until) else None

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose} {text}".encode(), hashlib.sha256).hexdigest()
