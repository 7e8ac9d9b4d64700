"""Who may change something over HTTP: whoever has the bearer token, `API_TOKEN`."""

from secrets import compare_digest

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.settings import Settings

BEARER = HTTPBearer(auto_error=False, description="The value of `API_TOKEN`.")
"""For an endpoint that changes something, as a dependency: its OpenAPI page then asks for a token.
`ChangesNeedToken` refuses those without, whether they say so or not."""

READING = frozenset({"GET", "HEAD", "OPTIONS"})


class ChangesNeedToken:
    """ASGI middleware of a whole app: any request that may change something needs the token.

    It is asked for before anything of the body is read. Reading needs none. Without an `API_TOKEN`
    nothing can be changed over HTTP.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        token = settings.api_token
        self._app = app
        self._token = token.get_secret_value().encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 where the token is missing or another, 403 where there is none to have."""
        refusal = self._refusal(Request(scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        if request.method in READING:
            return None
        if self._token is None:
            said = "this service has no API_TOKEN, so nothing can be changed here: set one"
            return JSONResponse({"detail": said}, status_code=403)
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and compare_digest(given.strip().encode(), self._token):
            return None
        said = "this needs the header `Authorization: Bearer …` with the service's API_TOKEN"
        return JSONResponse(
            {"detail": said}, status_code=401, headers={"WWW-Authenticate": "Bearer"}
        )
