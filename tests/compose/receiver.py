"""A target of the notifier's messages: a small HTTP server in a container of its own."""

import json
from dataclasses import dataclass
from typing import Any

from tests.compose.project import Project, run

HOST, PORT = "receiver", 8080
URL = f"json://{HOST}:{PORT}/told"
_PROGRAM = f"""
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        print("told " + body.replace(chr(10), " "), flush=True)
        self.send_response(200)
        self.end_headers()

ThreadingHTTPServer(("0.0.0.0", {PORT}), Handler).serve_forever()
"""


@dataclass(frozen=True)
class Receiver:
    """It listens on the project's published network, and has to go before that network can."""

    project: Project
    image: str

    @property
    def name(self) -> str:
        """Of the container."""
        return f"{self.project.name}-receiver"

    def start(self) -> None:
        """Listen. `image` is any that has Python."""
        run(
            *("docker", "run", "--detach", "--name", self.name),
            *("--network", f"{self.project.name}_published", "--network-alias", HOST),
            *("--no-healthcheck", "--entrypoint", "python", self.image, "-u", "-c", _PROGRAM),
        )

    def messages(self) -> list[dict[str, Any]]:
        """What it was told since it was started, in order."""
        lines = run("docker", "logs", self.name).splitlines()
        return [json.loads(line.removeprefix("told ")) for line in lines if line[:5] == "told "]

    def remove(self) -> None:
        """Stop listening, and forget."""
        run("docker", "rm", "--force", "--volumes", self.name, code=None)
