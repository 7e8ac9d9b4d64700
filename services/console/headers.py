"""What every answer tells the browser: load nothing from elsewhere, run nothing that isn't ours."""

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
FROM_ELSEWHERE = {"/docs", "/docs/oauth2-redirect", "/redoc"}
"""FastAPI's pages about the API load their scripts from a CDN; `/openapi.json` says the same."""


def install_headers(app: FastAPI) -> None:
    """Add the headers to every answer, and leave out pages that need scripts from elsewhere."""
    routes = app.router.routes
    routes[:] = [route for route in routes if _path(route) not in FROM_ELSEWHERE]
    app.add_middleware(BrowserHeaders)


class BrowserHeaders:
    """Adds `HEADERS` to answers that don't say otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, add)


def _path(route: BaseRoute) -> str:
    return getattr(route, "path", "")
