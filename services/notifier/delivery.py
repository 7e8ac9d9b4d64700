"""What became of a message that was handed to a target, in words that give no secret away. Pure.

Apprise answers with yes or no, and with what it logged meanwhile. A no is definite unless the
message may have got there all the same: then it must not be sent again.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote, unquote_plus

ERROR_CHARACTERS = 500
_SHORTEST_SECRET = 3
_TOLD = frozenset({"WARNING", "ERROR", "CRITICAL"})
_DELIMITERS = re.compile(r"[/?&=@:#,;+]+")

_NOT_REACHED = {
    r"Connection refused": "connection refused",
    r"NameResolutionError|Name or service not known|getaddrinfo": "unknown host",
    r"ConnectTimeoutError": "no connection in time",
    r"SSLError|CERTIFICATE_VERIFY_FAILED": "the TLS certificate or protocol is not accepted",
    r"ProxyError": "the proxy does not connect",
    r"No route to host|Network is unreachable": "no route to the host",
    r"NewConnectionError": "no connection",
    r"Connection error while submitting email": "no connection to the mail server, or no login",
}
"""What is logged where nothing was handed over, and how it is told. The first one counts."""

_UNANSWERED = {
    r"timed out": "no answer in time",
    r"RemoteDisconnected|Connection aborted|[Cc]onnection reset|unexpectedly closed|Broken pipe": (
        "the connection broke before an answer came"
    ),
    r"error=(504|524)\b": "the gateway had no answer in time",
    r"raised an exception": "Apprise's plugin failed",
}
"""What is logged where it was handed over and nobody knows what became of it."""

_PARTLY = re.compile(r"^Sent ")
"""How Apprise logs each recipient of an address that took the message."""

_EXCEPTION = re.compile(r"^\w+ Exception: ")
"""How it logs an exception, below the level of a warning."""

_REQUESTED = re.compile(r"with url: \S+")
"""Part of an exception's text that comes from the address, and so may say anything."""


class Outcome(StrEnum):
    """What became of a message."""

    SENT = "sent"
    """The target took it."""
    REFUSED = "refused"
    """It is certain that nobody has it."""
    UNKNOWN = "unknown"
    """It may have arrived, or some of the address's recipients have it."""


@dataclass(frozen=True)
class Delivery:
    """An outcome, with its cause unless it was sent."""

    outcome: Outcome
    error: str = ""


@dataclass(frozen=True)
class LogLine:
    """What Apprise logged while it sent."""

    level: str
    message: str


def explain(is_sent: bool, lines: Iterable[LogLine], url: str) -> Delivery:
    """The delivery that Apprise's answer and log lines tell of. `url` is the target's address."""
    if is_sent:
        return Delivery(Outcome.SENT)
    lines = list(lines)
    told = [line.message for line in lines if line.level in _TOLD]
    exceptions = [line.message for line in lines if _EXCEPTION.match(line.message)]
    # Not all that is logged: there is the message itself, which may tell of anybody's errors.
    outcome, cause = _cause("\n".join((*told, *exceptions)))
    if any(_PARTLY.match(line.message) for line in lines):
        outcome, cause = Outcome.UNKNOWN, "some of the address's recipients have it, others do not"
    said = redacted(" ".join(" ".join(told).split()) or "Apprise could not send it", url)
    return Delivery(outcome, (f"{said} ({cause})" if cause else said)[:ERROR_CHARACTERS])


def redacted(text: str, url: str) -> str:
    """`text` with an ellipsis for each part of `url` after its scheme: any may be secret."""
    _, _, rest = url.partition("://")
    parts = {rest, *_DELIMITERS.split(rest)}
    parts |= {decode(part) for part in tuple(parts) for decode in (unquote, unquote_plus)}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= _SHORTEST_SECRET:
            text = re.sub(re.escape(part), "…", text, flags=re.IGNORECASE)
    return text


def _cause(said: str) -> tuple[Outcome, str]:
    said = _REQUESTED.sub("", said)
    for outcome, causes in ((Outcome.REFUSED, _NOT_REACHED), (Outcome.UNKNOWN, _UNANSWERED)):
        for pattern, cause in causes.items():
            if re.search(pattern, said):
                return outcome, cause
    return Outcome.REFUSED, ""
