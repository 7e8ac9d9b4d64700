"""Pages in the place of errors: what isn't there, a database that is away, and what nobody foresaw.

A program that asks for JSON gets what every service gives.
"""

import logging
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException as StarletteHTTPException

from services.console.site import Site
from shared.errors import HeadraceError, InvalidSpec, TransientError, UnknownDataset
from shared.messaging.retry import is_database_away
from shared.observability.logs import REPEATS

logger = logging.getLogger(__name__)

AWAY = HTTPStatus.SERVICE_UNAVAILABLE


class NotThere(HTTPException):
    """A page for something that isn't there: `message` says what is missing, `hint` what there is.

    Each of `there` is a label and an address.
    """

    def __init__(self, message: str, *there: tuple[str, str], hint: str = "") -> None:
        super().__init__(HTTPStatus.NOT_FOUND, message)
        self.there = there
        self.hint = hint


def install_failures(app: FastAPI, site: Site) -> None:
    """Have `app` answer errors with pages of `site`."""

    def told(
        request: Request, code: int, title: str, message: str, **variables: object
    ) -> Response:
        facts = {"there": (), "hint": "", "code": code} | variables
        return site.page(
            request, "failure.html", status_code=code, title=title, message=message, **facts
        )

    async def http_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, StarletteHTTPException):
            raise error
        if not wants_page(request):
            return await http_exception_handler(request, error)
        title = HTTPStatus(error.status_code).phrase
        there = getattr(error, "there", ())
        hint = getattr(error, "hint", "")
        message = str(error.detail)
        if message == title:
            message = f"There is no page {request.url.path}."
            there = tuple((each.title, each.path) for each in site.sections if each.title)
        facts = {"there": there, "hint": hint}
        page = await run_in_threadpool(told, request, error.status_code, title, message, **facts)
        page.headers.update(error.headers or {})
        return page

    def database_error(request: Request, error: Exception) -> Response:
        if isinstance(error, ProgrammingError) and "UndefinedTable" in repr(error.orig):
            message = "The database has no such tables yet."
            return told(
                request, AWAY, "Not migrated", message, hint="`headrace migrate` makes them."
            )
        if isinstance(error, DBAPIError) and "QueryCanceled" in repr(error.orig):
            message = (
                f"Postgres was given {site.settings.console_query_seconds:g} s for a question of "
                "this page (CONSOLE_QUERY_SECONDS), and that was not enough."
            )
            return told(request, HTTPStatus.GATEWAY_TIMEOUT, "Took too long", message)
        if not isinstance(error, PoolTimeoutError) and not is_database_away(error):
            raise error
        logger.warning("the database is away: %s", error, extra=REPEATS)
        message = "Postgres does not answer, so there is nothing to show."
        hint = (
            "No event is lost: everything goes on when it is back. This page tries again by itself."
        )
        return told(request, AWAY, "The database is away", message, hint=hint, again=True)

    def our_error(request: Request, error: Exception) -> Response:
        if isinstance(error, UnknownDataset):
            there = tuple((name, f"/datasets/{name}") for name in site.specs.names()[:20])
            return told(request, HTTPStatus.NOT_FOUND, "No such dataset", str(error), there=there)
        if isinstance(error, InvalidSpec):
            return told(request, HTTPStatus.UNPROCESSABLE_ENTITY, "A faulty spec", str(error))
        code = AWAY if isinstance(error, TransientError) else HTTPStatus.BAD_REQUEST
        return told(request, code, code.phrase, str(error))

    as_json = app.exception_handlers[RequestValidationError]

    def bad_request(request: Request, error: Exception) -> Response | Awaitable[Response]:
        if not wants_page(request):
            return as_json(request, error)
        faults: list[dict[str, Any]] = getattr(error, "errors", list)()
        said = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in faults)
        return told(request, HTTPStatus.BAD_REQUEST, "That can't be asked", said)

    def unforeseen(request: Request, error: Exception) -> Response:
        # It is logged with its trace by whoever runs the app.
        message = f"The console failed on this page: {type(error).__name__}."
        hint = "Nothing else is affected. Its log has the details: `headrace logs console`."
        return told(request, HTTPStatus.INTERNAL_SERVER_ERROR, "A fault", message, hint=hint)

    app.add_exception_handler(Exception, unforeseen)
    app.add_exception_handler(StarletteHTTPException, http_error)
    app.add_exception_handler(RequestValidationError, bad_request)
    for kind in (OperationalError, ProgrammingError, DBAPIError, PoolTimeoutError):
        app.add_exception_handler(kind, database_error)
    app.add_exception_handler(HeadraceError, our_error)


def wants_page(request: Request) -> bool:
    """Whether a browser asks, and not a program."""
    return "text/html" in request.headers.get("accept", "")
