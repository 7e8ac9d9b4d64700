"""Who may act: the login, its cookie, its limits, and what carries no token of ours."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import SecretStr
from sqlalchemy import make_url

from services.console.session import COOKIE
from tests.integration.acting.conftest import PASSWORD, TOKEN, Browser
from tests.integration.corrections.conftest import Line

MoreBrowsers = Callable[..., Browser]
CHANGING = ["/logout", "/act/withdraw", "/act/load", "/load/files", "/mend/files"]


def test_the_password_gives_a_session_and_an_audit_row(browser: Browser) -> None:
    answer = browser.log_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/load")
    said = answer.headers["set-cookie"]
    assert "HttpOnly" in said and "SameSite=lax" in said
    assert "Log out" in browser.get("/audit").text
    (row,) = browser.audit()
    assert (row["who"], row["action"], row["outcome"]) == ("admin", "log in", "done")
    assert (row["address"], len(row["session_id"])) == ("127.0.0.1", 32)


def test_another_password_gives_none_and_an_audit_row_without_it(browser: Browser) -> None:
    answer = browser.log_in("wrong horse battery")
    assert answer.status_code == 401
    assert "That is not the password." in answer.text
    assert COOKIE not in browser.http.cookies
    (row,) = browser.audit()
    assert (row["who"], row["action"], row["outcome"]) == ("somebody", "log in", "refused")
    assert "wrong horse" not in str(row)


def test_after_too_many_wrong_passwords_the_right_one_is_not_looked_at_for_a_while(
    browser_of: MoreBrowsers,
) -> None:
    browser = browser_of(console_login_attempts=3, console_login_window_seconds=600)
    for _ in range(3):
        assert browser.log_in("wrong horse battery").status_code == 401
    assert browser.log_in().status_code == 429
    assert len(browser.audit()) == 3, "what isn't looked at leaves no row, so they are bounded"
    browser.clock.ahead = timedelta(seconds=700)
    assert browser.log_in().status_code == 303


def test_a_login_form_of_another_browser_is_refused(browser: Browser, browser_of) -> None:
    token = browser_of().form_token("/login")
    answer = browser.post("/login", {"form_token": token, "password": PASSWORD})
    assert answer.status_code == 403
    assert COOKIE not in browser.http.cookies


def test_a_login_form_stays_good_while_its_page_is_loaded_again(browser: Browser) -> None:
    token = browser.form_token("/login")
    for _ in range(2):  # in another tab, or by itself for an event
        browser.get("/login")
    answer = browser.post("/login", {"form_token": token, "password": PASSWORD})
    assert answer.status_code == 303
    assert COOKIE in browser.http.cookies


@pytest.mark.parametrize("target", ["//evil.example", "/\\evil.example", "https://evil.example"])
def test_the_login_leads_to_no_page_of_somebody_elses(browser: Browser, target: str) -> None:
    token = browser.form_token("/login")
    values = {"form_token": token, "password": PASSWORD, "next": target}
    assert browser.post("/login", values).headers["location"] == "/"


def test_a_session_ends_by_itself_and_with_another_password(
    admin: Browser, browser_of: MoreBrowsers
) -> None:
    cookie = admin.http.cookies[COOKIE]
    other = browser_of(console_password="another horse battery")
    other.http.cookies.set(COOKIE, cookie)
    assert "Log in" in other.get("/audit").text
    admin.clock.ahead = timedelta(hours=13)
    assert "Log in" in admin.get("/audit").text


@pytest.mark.parametrize("forged", ["", "x", "a.b.c", "{id}.99999999999.0", "{id}.{until}.{sign}x"])
def test_a_cookie_that_we_did_not_sign_is_nobodys(admin: Browser, forged: str) -> None:
    session_id, until, sign = admin.http.cookies[COOKIE].split(".")
    admin.http.cookies.clear()
    admin.http.cookies.set(COOKIE, forged.format(id=session_id, until=until, sign=sign))
    assert "Log in" in admin.get("/audit").text


def test_a_copy_of_a_cookie_is_worth_nothing_after_the_logout(admin: Browser) -> None:
    cookie = admin.http.cookies[COOKIE]
    token = admin.form_token("/audit")
    assert admin.post("/logout", {"form_token": token}).status_code == 303
    assert COOKIE not in admin.http.cookies
    admin.http.cookies.set(COOKIE, cookie)
    answer = admin.post("/act/withdraw", {"form_token": token, "dataset": "people"})
    assert answer.status_code == 401
    assert admin.audit()[-1]["action"] == "log out"


def test_who_has_an_ended_session_is_nobody_and_logs_in_again(admin: Browser) -> None:
    cookie = admin.http.cookies[COOKIE]
    admin.post("/logout", {"form_token": admin.form_token("/audit")})
    admin.http.cookies.set(COOKIE, cookie, domain="127.0.0.1")
    for path in ("/audit", "/nowhere"):
        page = admin.get(path).text
        assert "Log in" in page and "Log out" not in page
    to_login = admin.get("/act/withdraw?dataset=people&slice_key=day_00")
    assert to_login.status_code == 303
    assert admin.get(to_login.headers["location"]).status_code == 200
    assert admin.log_in().status_code == 303
    assert "Log out" in admin.get("/audit").text


def test_a_session_needs_no_database_to_be_told_that_it_is_away(
    admin: Browser, browser_of: MoreBrowsers
) -> None:
    url = make_url(admin.settings.database_url.get_secret_value()).set(port=9)
    away = SecretStr(url.render_as_string(hide_password=False))
    other = browser_of(console_database_url=away)
    other.http.cookies.set(COOKIE, admin.http.cookies[COOKIE])
    for path in ("/audit", "/nowhere", "/act/withdraw", "/login"):
        answer = other.get(path)
        assert answer.status_code == (404 if path == "/nowhere" else 503)
        assert "Log out" not in answer.text


@pytest.mark.parametrize("path", CHANGING)
def test_who_is_not_logged_in_changes_nothing(browser: Browser, path: str) -> None:
    answer = browser.post(path, {"dataset": "people", "slice_key": "day_00"})
    assert answer.status_code == 401
    assert "log in first" in answer.text
    assert browser.audit() == []


@pytest.mark.parametrize("token", ["", "0" * 64])
@pytest.mark.parametrize("path", CHANGING)
def test_a_form_without_the_sessions_token_changes_nothing(
    admin: Browser, path: str, token: str
) -> None:
    values = {"form_token": token, "dataset": "people", "slice_key": "day_00", "reason": "x"}
    more = {"files": {"files": ("a.csv", b"x")}} if path.endswith("/files") else {}
    answer = admin.post(path, values, **more)
    assert answer.status_code == 403
    assert "not of your session" in answer.text
    assert [row["action"] for row in admin.audit()] == ["log in"]
    assert admin.sql("SELECT FROM headrace.outbox") == []


def test_a_form_that_another_site_sends_is_refused_whatever_it_carries(admin: Browser) -> None:
    token = admin.form_token("/audit")
    answer = admin.http.post(
        "/logout", data={"form_token": token}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403


def routes_of(router: Any) -> Iterator[APIRoute]:
    """All routes, also those of routers that are included in others."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route
        elif (included := getattr(route, "original_router", None)) is not None:
            yield from routes_of(included)


def test_every_route_that_may_change_something_asks_who_it_is(browser: Browser) -> None:
    changing = {
        route.path for route in routes_of(browser.app) if route.methods - {"GET", "HEAD", "OPTIONS"}
    }
    assert changing == {"/login", "/logout", "/act/{name}", "/load/files", "/mend/files"}
    for path in changing - {"/login"}:
        assert browser.post(path.replace("{name}", "drop"), {}).status_code == 401


@pytest.mark.parametrize("path", ["/act/withdraw?dataset=people&slice_key=day_00", "/load/preview"])
def test_a_page_of_those_who_may_act_leads_to_the_login_and_back(
    browser: Browser, path: str
) -> None:
    answer = browser.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=/")
    token = browser.form_token(answer.headers["location"])
    values = {"form_token": token, "password": PASSWORD, "next": path}
    assert browser.post("/login", values).headers["location"] == path


@pytest.mark.parametrize(
    "path",
    ["/load?dataset={dataset}&slice_key=day_07", "/datasets/{dataset}/slices/40%25?load=%26"],
)
def test_the_login_of_the_bar_leads_back_to_the_same_page(
    browser: Browser, line: Line, path: str
) -> None:
    path = path.format(dataset=line.dataset)
    (login,) = set(re.findall(r'href="(/login[^"]*)"', browser.get(path).text))
    form = browser.get(login).text
    token, target = (
        re.findall(f'name="{name}" value="([^"]*)"', form)[0] for name in ("form_token", "next")
    )
    values = {"form_token": token, "password": PASSWORD, "next": unescape(target)}
    assert browser.post("/login", values).headers["location"] == path


def test_a_page_in_the_place_of_a_form_offers_the_login_alone(browser: Browser) -> None:
    answer = browser.post("/act/withdraw", {"dataset": "people"})
    assert set(re.findall(r'href="(/login[^"]*)"', answer.text)) == {"/login"}


def test_without_a_password_one_can_read_and_is_told_how_to_set_one(
    browser_of: MoreBrowsers,
) -> None:
    browser = browser_of(console_password=None, api_token=None)
    assert browser.get("/audit").status_code == 200
    assert "CONSOLE_PASSWORD" in browser.get("/login").text
    answer = browser.get("/act/withdraw?dataset=people&slice_key=day_00")
    assert answer.status_code == 403
    assert "CONSOLE_PASSWORD" in answer.text
    assert browser.post("/act/withdraw", {}).status_code == 403


def test_a_script_acts_with_the_token_and_without_a_form(browser: Browser) -> None:
    def withdraw(token: bytes) -> int:
        return browser.http.post(
            "/act/withdraw",
            json={"dataset": "people", "slice_key": "day_00", "reason": "wrong"},
            headers={"Authorization": b"Bearer " + token},
        ).status_code

    assert withdraw(b"another-token-than-that") == 401
    assert withdraw("ü".encode() * 20) == 401
    assert withdraw(TOKEN.encode()) == 404, "there is no such dataset"
    (row,) = browser.audit()
    assert (row["who"], row["outcome"], row["session_id"]) == ("API token", "refused", None)
    assert "there is no dataset 'people'" in row["detail"]["error"]
