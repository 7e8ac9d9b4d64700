"""Logs: one line an event of meaning, as JSON or for people, with the ids of the event in hand.

As JSON every line is one object, whatever is in it and whoever wrote it: libraries, warnings, and
what nobody caught. `docs/telemetry.md` describes the fields.
"""

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from shared.contracts.envelope import Event
from shared.contracts.events import Payload
from shared.settings import Settings

_context: ContextVar[dict[str, str] | None] = ContextVar("log_context", default=None)
_QUIET = (
    "kafka",
    "botocore",
    "boto3",
    "urllib3",
    "great_expectations",
    "mlflow",
    "alembic",
    "opentelemetry",
)
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+")
_REMEMBERED = 1000
_FACTS = "facts"
_FIELDS = (
    *("time", "level", "service", "replica", "logger", "message"),
    *("dataset", "slice_key", "event_id", "event_type", "load_id", "trace_id"),
)
REPEAT_SECONDS = 60.0
REPEATS = {"repeats": True}
"""`extra` of a line that says the same again and again; it is passed once in `REPEAT_SECONDS`."""


def facts(**values: str | int | float | bool | None) -> dict[str, Any]:
    """`extra` of a line, whose JSON then has these fields, too."""
    return {_FACTS: values}


def dataset_in_hand() -> str | None:
    """The dataset of the event that this thread is at; None where it is at none."""
    return (_context.get() or {}).get("dataset")


@contextmanager
def log_context(event: Event[Payload] | None) -> Iterator[None]:
    """Have every line of this block carry the event's ids; None changes nothing."""
    if event is None:
        yield
        return
    with log_ids(
        dataset=event.payload.dataset,
        slice_key=event.payload.slice_key,
        event_id=event.id,
        event_type=event.payload.type,
        load_id=event.correlation_id,
        trace_id=event.traceparent.trace_id,
    ):
        yield


@contextmanager
def log_ids(**ids: str | None) -> Iterator[None]:
    """Have every line of this block carry these ids, for who has no event in hand; without None."""
    known = {name: value for name, value in ids.items() if value is not None}
    token = _context.set({**(_context.get() or {}), **known})
    try:
        yield
    finally:
        _context.reset(token)


def configure_logs(settings: Settings, service: str) -> None:
    """Write this process's logs to standard error; for composition roots."""
    handler = logging.StreamHandler(sys.stderr)
    is_human = settings.log_format == "human"
    if settings.log_format == "auto":
        is_human = sys.stderr.isatty()
    handler.setFormatter(
        _Human(settings.replica_name or service) if is_human else _Json(service, settings.replica())
    )
    handler.addFilter(_OncePerInterval(REPEAT_SECONDS))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.root.level))
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger(__name__).critical(
        "the process ends: %s", error or kind.__name__, exc_info=(kind, error, trace)
    )


def _log_uncaught_in_thread(ended: threading.ExceptHookArgs) -> None:
    if issubclass(ended.exc_type, SystemExit):
        return
    name = ended.thread.name if ended.thread else "?"
    error = ended.exc_value or ended.exc_type()
    logging.getLogger(__name__).critical(
        "the thread %s ends: %s",
        name,
        error,
        exc_info=(ended.exc_type, error, ended.exc_traceback),
    )


class _Json(logging.Formatter):
    def __init__(self, service: str, replica: str) -> None:
        super().__init__()
        self._service = service
        self._replica = replica

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "replica": self._replica,
            "logger": record.name,
            "message": record.getMessage(),
            **(_context.get() or {}),
        }
        # A fact never takes the place of an id.
        line = {**getattr(record, _FACTS, {}), **line}
        line = {name: line[name] for name in sorted(line, key=_place)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        said = json.dumps(line, ensure_ascii=False, default=str)
        return said.encode(errors="backslashreplace").decode()


def _place(field: str) -> int:
    """Where a field of a line stands: what every line has, then ids, then facts."""
    return _FIELDS.index(field) if field in _FIELDS else len(_FIELDS)


class _Human(logging.Formatter):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        context = _context.get() or {}
        named = (context.get("dataset"), context.get("slice_key"))
        about = f" {'/'.join(filter(None, named))}" if any(named) else ""
        line = f"{clock} {record.levelname:<7} {self._name}{about}: {record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _OncePerInterval(logging.Filter):
    """Passes a library's warning, or a line that `REPEATS`, once an interval and no more.

    Two lines are the same where logger and unformatted message are; of a library, which may format
    its lines itself, but for addresses and numbers.
    """

    def __init__(self, interval_seconds: float) -> None:
        super().__init__()
        self._interval_seconds = interval_seconds
        self._passed_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        is_library = record.name.split(".")[0] in _QUIET
        if not is_library and not getattr(record, "repeats", False):
            return True
        said = str(record.msg)
        what = (record.name, _NUMBER.sub("#", said) if is_library else said)
        now = time.monotonic()
        if now - self._passed_at.get(what, float("-inf")) < self._interval_seconds:
            return False
        if len(self._passed_at) >= _REMEMBERED:
            since = now - self._interval_seconds
            self._passed_at = {said: at for said, at in self._passed_at.items() if at > since}
        self._passed_at[what] = now
        return True
