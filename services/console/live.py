"""Telling open pages that something has changed: server-sent events, from the topics.

A page gets a sign, never the data: it fetches its own parts anew. So a sign that is lost, doubled
or late does no harm, and one that says "something" in place of many is enough.
"""

import asyncio
import json
import secrets
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from shared.contracts.envelope import Record

EVERYTHING = "*"
"""The dataset of a sign that concerns every page."""
WAITING_SIGNS = 64
"""What a slow reader may have in line; then one sign that says everything stands for them."""
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@dataclass(frozen=True)
class Sign:
    """That an event of a dataset has come."""

    dataset: str
    slice_key: str = ""
    type: str = ""

    def as_event(self) -> str:
        """The lines that a browser's `EventSource` reads."""
        said = {"dataset": self.dataset, "slice": self.slice_key, "type": self.type}
        return f"data: {json.dumps(said)}\n\n"


@dataclass(eq=False)
class _Reader:
    """An open page, and the signs in its line."""

    dataset: str | None
    loop: asyncio.AbstractEventLoop
    signs: "asyncio.Queue[Sign]" = field(default_factory=lambda: asyncio.Queue(WAITING_SIGNS))

    def put(self, sign: Sign) -> None:
        """In the loop's thread: put the sign in line, or one for all where the line is full."""
        if self.signs.full():
            while not self.signs.empty():
                self.signs.get_nowait()
            sign = Sign(EVERYTHING)
        self.signs.put_nowait(sign)


class Hub:
    """Between the consumer's thread and the pages. A `Follower` of the topics. Thread-safe."""

    def __init__(self, *, most_readers: int, ping_seconds: float) -> None:
        self._most_readers = most_readers
        self._ping_seconds = ping_seconds
        self._readers: set[_Reader] = set()
        self._lock = threading.Lock()
        self._told = 0
        self._began = secrets.token_hex(4)

    @property
    def seen(self) -> str:
        """What a page that is made now has seen: other than later if there was a sign since, also
        by another process.
        """
        return f"{self._began}.{self._told}"

    @property
    def readers(self) -> int:
        """How many pages are open."""
        return len(self._readers)

    def begin(self) -> None:
        """The topics are read again: anything may have happened meanwhile."""
        self.tell(Sign(EVERYTHING))

    def see(self, record: Record) -> None:
        """Tell the pages that an event has come; what can't be decoded is a sign all the same."""
        subject = record.headers.get("ce_subject", "")
        slice_key = subject.partition("/")[2]
        self.tell(Sign(record.dataset or EVERYTHING, slice_key, record.headers.get("ce_type", "")))

    def tell(self, sign: Sign) -> None:
        """Have every page know that wants to."""
        with self._lock:
            self._told += 1
            readers = list(self._readers)
        for reader in readers:
            if reader.dataset is None or sign.dataset in (reader.dataset, EVERYTHING):
                try:
                    reader.loop.call_soon_threadsafe(reader.put, sign)
                except RuntimeError:  # its loop has just closed, and the page with it
                    self._forget(reader)

    @property
    def is_full(self) -> bool:
        """Whether no further page can be told."""
        return len(self._readers) >= self._most_readers

    async def lines(self, dataset: str | None, seen: str = "") -> AsyncIterator[str]:
        """What is sent to a page that wants the signs of one dataset, or of all.

        Where there was one between the page's making, when it had `seen` that much, and now, it has
        a sign at once.
        """
        reader = _Reader(dataset, asyncio.get_running_loop())
        with self._lock:
            self._readers.add(reader)
            is_behind = bool(seen) and seen != self.seen
        try:
            yield "retry: 2000\n: at your service\n\n"
            if is_behind:
                yield Sign(EVERYTHING).as_event()
            while True:
                try:
                    sign = await asyncio.wait_for(reader.signs.get(), self._ping_seconds)
                except TimeoutError:
                    yield ": still here\n\n"
                else:
                    yield sign.as_event()
        finally:
            self._forget(reader)

    def _forget(self, reader: _Reader) -> None:
        with self._lock:
            self._readers.discard(reader)


def router(hub: Hub) -> APIRouter:
    """`GET /live`, the line of signs."""
    routes = APIRouter(tags=["live"])

    @routes.get("/live", response_class=StreamingResponse)
    async def live(
        dataset: str | None = Query(default=None),
        seen: str = Query(default="", max_length=60, description="What the page has seen."),
    ) -> Response:
        """Server-sent events: that something of the dataset, or of any, has changed."""
        if hub.is_full:
            return Response(status_code=204)  # which tells an EventSource not to come again
        lines = hub.lines(dataset, seen)
        return StreamingResponse(lines, media_type="text/event-stream", headers=HEADERS)

    return routes
