"""A target of messages: a real HTTP server that takes, refuses, hangs, drops or is away."""

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG, DROP = "hang", "drop"
"""Take the message and never answer; take it and break the connection."""


class Receiver:
    """Listens on a port that it keeps, also while it is down. `posts` are (path, JSON)."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, int | str | Callable[[], int]] = {}
        """By path: a status, `HANG`, `DROP`, or what gives a status; 200 otherwise."""
        self.release = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def up(self) -> None:
        """Listen."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                path = self.path.split("?")[0]
                answer = receiver.answers.get(path, 200)
                receiver.posts.append((path, json.loads(body)))
                if callable(answer):
                    answer = answer()
                if answer == HANG:
                    receiver.release.wait(60)
                    return
                if answer == DROP:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(int(answer))
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def down(self) -> None:
        """Refuse connections, and end what hangs."""
        self.release.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def url(self, path: str) -> str:
        """Apprise's address of a path here."""
        return f"json://127.0.0.1:{self.port}{path}"

    def at(self, path: str) -> list[dict[str, Any]]:
        """What came to a path, in order."""
        return [post for where, post in list(self.posts) if where == path]

    def titles(self, path: str) -> list[str]:
        """The titles of what came to a path, in order."""
        return [post["title"] for post in self.at(path)]
