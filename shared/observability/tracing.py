"""W3C Trace Context, carried from event to event. Source: https://www.w3.org/TR/trace-context/."""

import re
import secrets
from dataclasses import dataclass
from typing import Self

_HEADER = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


@dataclass(frozen=True)
class TraceParent:
    """Which trace a piece of work belongs to, and which span caused it."""

    trace_id: str
    span_id: str

    @classmethod
    def new(cls) -> Self:
        """The root of a new trace."""
        return cls(secrets.token_hex(16), secrets.token_hex(8))

    @classmethod
    def parse(cls, header: str) -> Self | None:
        """What `header` says; None where it is malformed, which the standard says to ignore."""
        match = _HEADER.fullmatch(header)
        if match is None or not int(match.group(1), 16) or not int(match.group(2), 16):
            return None
        return cls(match.group(1), match.group(2))

    def child(self) -> "TraceParent":
        """A new span of the same trace."""
        return TraceParent(self.trace_id, secrets.token_hex(8))

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"
