"""HTTP questions to our own servers, never asked through a proxy that the environment names."""

from http.client import HTTPException
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

PROBE_SECONDS = 2.0


def answers_ok(question: str | Request, seconds: float = PROBE_SECONDS) -> bool:
    """Whether `question`, a URL or a request, is answered with 200 within `seconds`."""
    try:
        with build_opener(ProxyHandler({})).open(question, timeout=seconds) as response:
            return bool(response.status == 200)
    except (URLError, OSError, HTTPException):
        return False
