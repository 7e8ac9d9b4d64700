"""Connections to the database: how soon a dead one is noticed, and hanging up on all of them.

A server can go away in three ways. It ends: the connection is closed and everybody knows. Its host
or the network goes: nothing is acknowledged any more, and TCP's own clocks, set here, notice. It
hangs: its kernel acknowledges what nobody will ever answer, and no clock of TCP's runs; then the
connections are hung up from our side.
"""

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, event

from shared.settings import Settings

_OPEN_FILES = (Path("/proc/self/fd"), Path("/dev/fd"))
_PROBES = 3


def with_clocks(url: URL, settings: Settings) -> URL:
    """`url` with libpq's parameters by which a dead connection is noticed; its own are kept.

    Within `connect_timeout_seconds` while connecting; then within `silence_seconds` without a sign
    of life of the other end's kernel.
    """
    silence = settings.silence_seconds
    wanted = {
        "connect_timeout": str(max(2, round(settings.connect_timeout_seconds))),  # libpq's least
        "keepalives": "1",
        "keepalives_idle": str(max(1, round(silence / 2))),
        "keepalives_interval": str(max(1, round(silence / 2 / _PROBES))),
        "keepalives_count": str(_PROBES),
        "tcp_user_timeout": str(round(silence * 1000)),
    }
    return url.update_query_dict({k: v for k, v in wanted.items() if k not in url.query})


def server_options(settings: Settings) -> str:
    """What has the server notice as soon that we are gone, and let go of our locks."""
    silence = settings.silence_seconds
    return (
        f"-c tcp_keepalives_idle={max(1, round(silence / 2))} "
        f"-c tcp_keepalives_interval={max(1, round(silence / 2 / _PROBES))} "
        f"-c tcp_keepalives_count={_PROBES} "
        f"-c tcp_user_timeout={round(silence * 1000)}"
    )


class Connections:
    """All connections of this process to an engine's server, also those of other clients to it.

    The server is known by the addresses that the engine's own connections reached.
    """

    def __init__(self, engine: Engine) -> None:
        self._servers: set[Any] = set()
        self._lock = threading.Lock()
        event.listen(engine, "connect", self._note)

    def hang_up(self) -> int:
        """Shut every one of them down; how many. Whoever waits on one gets an error at once."""
        with self._lock:
            servers = set(self._servers)
        return sum(_shut_down(number, servers) for number in _open_files())

    def _note(self, connection: Any, _: object) -> None:
        held = _socket(connection.fileno())
        if held is None:
            return
        with held, suppress(OSError):
            if held.family in (socket.AF_INET, socket.AF_INET6):
                with self._lock:
                    self._servers.add(held.getpeername())


def _shut_down(number: int, servers: set[Any]) -> bool:
    held = _socket(number)
    if held is None:
        return False
    with held:
        try:
            if held.getpeername() not in servers:
                return False
            held.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
    return True


def _socket(number: int) -> socket.socket | None:
    """The socket behind a file descriptor, under one of our own that nobody can close and reuse."""
    try:
        own = os.dup(number)
    except OSError:
        return None
    try:
        return socket.socket(fileno=own)
    except OSError:
        os.close(own)
        return None


def _open_files() -> list[int]:
    folder = next(folder for folder in _OPEN_FILES if folder.is_dir())
    return [int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal()]
