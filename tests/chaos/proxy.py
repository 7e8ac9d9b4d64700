"""A TCP proxy on the loopback interface that does what networks do: be slow, break, fall silent.

Written here because what there is on PyPI either drops bytes out of the stream, which no network
does, or can't take a connection away; and none falls silent. A proxy that merely stops reading goes
on acknowledging what arrives, and answers keep-alives. Here a packet filter on the proxy's own
sockets drops what comes in, before TCP sees it: nothing is acknowledged and nothing refused, as
where a cable was pulled, and it needs no privileges. Linux only.
"""

import ctypes
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

CHUNK = 1 << 16
_ATTACH_FILTER, _DETACH_FILTER = 26, 27  # SO_ATTACH_FILTER, SO_DETACH_FILTER
_RETURN_NOTHING = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
_DROP_ALL = struct.pack("HL", 1, ctypes.addressof(_RETURN_NOTHING))


@dataclass
class Trigger:
    """What to do when `patterns` have passed, in this order, on one connection to the server."""

    patterns: Sequence[bytes]
    action: Callable[[], None]
    is_after: bool
    """Whether the server has the bytes of the last one before. Its answer then gets lost."""
    fired: threading.Event = field(default_factory=threading.Event)
    """Set when `action` is done."""
    client_port: int = 0
    """Of the connection on which they passed."""

    def fire(self) -> None:
        """Do it, and say so."""
        self.action()
        self.fired.set()


@dataclass(eq=False)
class _Link:
    """A client's connection and ours to the server."""

    client: socket.socket
    server: socket.socket
    matched: int = 0
    tail: bytes = b""
    ended: int = 0
    """How many of its two directions."""
    is_mute: bool = False
    """Whether the server's answers get lost."""

    def sockets(self) -> tuple[socket.socket, socket.socket]:
        return self.client, self.server


class Proxy:
    """Passes connections on to `target` for the time of a `with` block, and does them harm."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.port = 0
        self.connections = 0
        """How many were taken."""
        self._lock = threading.RLock()
        self._links: set[_Link] = set()
        self._listener: socket.socket | None = None
        self._is_closed = False
        self._is_silent = False
        self._open = threading.Event()
        self._delay_seconds = 0.0
        self._bytes_a_second = 0
        self._trigger: Trigger | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._open.set()
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        self.heal()
        self._close_listener()
        self.cut()

    def heal(self) -> None:
        """Pass everything on at once again. Connections that were silent go on."""
        with self._lock:
            self._trigger = None
            self._delay_seconds, self._bytes_a_second = 0.0, 0
            self._is_silent = False
            for link in self._links:
                for end in link.sockets():
                    _hear(end)
            if self._listener is not None:
                _hear(self._listener)
            elif not self._is_closed:
                self._listen()
            self._open.set()

    def slow(self, *, delay_seconds: float = 0.0, bytes_a_second: int = 0) -> None:
        """Hold up each piece of data for so long, both ways, and pass on no more than that."""
        self._delay_seconds, self._bytes_a_second = delay_seconds, bytes_a_second

    def cut(self) -> int:
        """Reset every connection, and take new ones; how many there were."""
        with self._lock:
            links, self._links = self._links, set()
        for link in links:
            for end in link.sockets():
                _reset(end)
        return len(links)

    def refuse(self) -> None:
        """Reset every connection and refuse new ones."""
        self._close_listener()
        self.cut()

    def stall(self) -> None:
        """Take connections and data, and pass nothing on: a server that hangs."""
        self._open.clear()

    def black_hole(self) -> None:
        """Answer nothing at all any more, to connections that are there and to new ones."""
        with self._lock:
            self._is_silent = True
            for link in self._links:
                for end in link.sockets():
                    _deafen(end)
            if self._listener is not None:
                _deafen(self._listener)

    def when(self, *patterns: bytes, action: Callable[[], None], is_after: bool = False) -> Trigger:
        """Call `action` once, when one connection has sent `patterns` to the server in this order.

        The bytes with the last of them wait for it, unless `is_after`.
        """
        trigger = Trigger(patterns, action, is_after)
        with self._lock:
            for link in self._links:
                link.matched, link.tail = 0, b""
            self._trigger = trigger
        return trigger

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _close_listener(self) -> None:
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(self.target, timeout=5)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            link = _Link(client, server)
            for end in link.sockets():
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self._listener is not listener:
                    _reset(client)
                    _reset(server)
                    return
                self._links.add(link)
                if self._is_silent:
                    _deafen(client)
                    _deafen(server)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(link, source, sink), daemon=True).start()

    def _pump(self, link: _Link, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(CHUNK):
                trigger = self._match(link, data) if source is link.client else None
                if trigger and not trigger.is_after:
                    trigger.fire()
                    trigger = None
                if self._delay_seconds:
                    time.sleep(self._delay_seconds)
                if self._bytes_a_second:
                    time.sleep(len(data) / self._bytes_a_second)
                self._open.wait()
                link.is_mute |= bool(trigger)
                if sink is link.server or not link.is_mute:
                    sink.sendall(data)
                if trigger and trigger.is_after:
                    trigger.fire()
            sink.shutdown(socket.SHUT_WR)
            link.ended += 1
            if link.ended == 2:
                self._drop(link)
        except OSError:
            self._drop(link)

    def _drop(self, link: _Link) -> None:
        with self._lock:
            self._links.discard(link)
        for end in link.sockets():
            _reset(end)

    def _match(self, link: _Link, data: bytes) -> Trigger | None:
        """The trigger, where `data` has the last of its patterns."""
        with self._lock:
            trigger = self._trigger
            if trigger is None:
                return None
            seen = link.tail + data
            while link.matched < len(trigger.patterns):
                pattern = trigger.patterns[link.matched]
                at = seen.find(pattern)
                if at < 0:
                    link.tail = seen[-(len(pattern) - 1) :] if len(pattern) > 1 else b""
                    return None
                seen = seen[at + len(pattern) :]
                link.matched += 1
            trigger.client_port = link.client.getpeername()[1]
            self._trigger = None
            return trigger


def _deafen(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, _DROP_ALL)


def _hear(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


def _reset(end: socket.socket) -> None:
    """Close with a RST: the other end gets an error and not an end of file."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        end.shutdown(socket.SHUT_RD)  # wakes the thread that reads it, and sends nothing
    end.close()
