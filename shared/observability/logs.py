"""Logs: one line an event of meaning, as JSON or for people, with the ids of the event in hand."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from shared.contracts.envelope import Event
from shared.contracts.events import Payload
from shared.settings import Settings

_context: ContextVar[dict[str, str] | None] = ContextVar("log_context", default=None)
_QUIET = ("kafka", "botocore", "boto3", "urllib3", "great_expectations", "mlflow", "alembic")
REPEAT_SECONDS = 60.0
REPEATS = {"repeats": True}
"""`extra` of a line that says the same again and again; it is passed once in `REPEAT_SECONDS`."""


@contextmanager
def log_context(event: Event[Payload] | None) -> Iterator[None]:
    """Have every line of this block carry the event's ids; None changes nothing."""
    if event is None:
        yield
        return
    token = _context.set(
        {
            "dataset": event.payload.dataset,
            "slice_key": event.payload.slice_key,
            "event_id": event.id,
            "load_id": event.correlation_id,
            "trace_id": event.traceparent.trace_id,
        }
    )
    try:
        yield
    finally:
        _context.reset(token)


def configure_logs(settings: Settings, service: str) -> None:
    """Write this process's logs to standard error; for composition roots."""
    handler = logging.StreamHandler(sys.stderr)
    human = settings.log_format == "human"
    handler.setFormatter(_Human(service) if human else _Json(service))
    handler.addFilter(_OncePerInterval(REPEAT_SECONDS))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.root.level))
    logging.captureWarnings(capture=True)


class _Json(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
            **(_context.get() or {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _Human(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        context = _context.get() or {}
        about = f" {context['dataset']}/{context['slice_key']}" if context else ""
        line = f"{clock} {record.levelname:<7} {self._service}{about}: {record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _OncePerInterval(logging.Filter):
    """Passes a library's warning, or a line that `REPEATS`, once an interval and no more.

    Two lines are the same where logger and unformatted message are.
    """

    def __init__(self, interval_seconds: float) -> None:
        super().__init__()
        self._interval_seconds = interval_seconds
        self._passed_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        is_library = record.name.split(".")[0] in _QUIET
        if not is_library and not getattr(record, "repeats", False):
            return True
        what = (record.name, str(record.msg))
        now = time.monotonic()
        if now - self._passed_at.get(what, float("-inf")) < self._interval_seconds:
            return False
        self._passed_at[what] = now
        return True
