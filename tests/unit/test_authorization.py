"""Nothing is changed over HTTP without the token, whoever wrote the endpoint."""

import asyncio

import httpx
import pytest
from fastapi import APIRouter
from pydantic import BaseModel, SecretStr

from shared.errors import InvalidSettings
from shared.health import http_app
from shared.settings import Settings

TOKEN = "a token of enough characters"


class Body(BaseModel):
    """What an endpoint takes."""

    number: int


def ask(
    token: str | None, method: str, headers: dict[str, str], path: str = "/thing"
) -> httpx.Response:
    """The answer of an app with endpoints that say nothing about tokens themselves."""
    routes = APIRouter()

    @routes.post("/number")
    def take(body: Body) -> int:
        return body.number

    routes.add_api_route(
        "/thing", lambda: "done", methods=["GET", "POST", "PUT", "PATCH", "DELETE"]
    )
    app = http_app("test", Settings(api_token=SecretStr(token) if token else None), [routes])

    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, headers=headers, content=b"no JSON")

    return asyncio.run(answer())


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_change_needs_the_very_token(method: str) -> None:
    assert ask(TOKEN, method, {"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert ask(TOKEN, method, {"authorization": f"bearer {TOKEN}"}).status_code == 200
    for said in ("", "Bearer", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"):
        refused = ask(TOKEN, method, {"Authorization": said})
        assert refused.status_code == 401, said
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert "API_TOKEN" in refused.json()["detail"]
    assert ask(TOKEN, method, {}).status_code == 401


def test_nothing_of_a_body_is_read_before_the_token() -> None:
    assert ask(TOKEN, "POST", {}, "/number").status_code == 401
    assert ask(None, "POST", {}, "/number").status_code == 403
    json = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    assert ask(TOKEN, "POST", json, "/number").status_code == 422


def test_reading_needs_none() -> None:
    assert ask(TOKEN, "GET", {}).status_code == 200
    assert ask(None, "GET", {}).status_code == 200


def test_without_a_token_to_have_nobody_changes_anything() -> None:
    for said in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
        refused = ask(None, "POST", said)
        assert (refused.status_code, "set one" in refused.text) == (403, True)


def test_a_token_that_could_be_guessed_is_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"API_TOKEN: .* at least 16") as refused:
        Settings(api_token=SecretStr("s3cr3t"))
    assert "s3cr3t" not in str(refused.value)
