"""The stylesheet and the scripts, under addresses that change with their content."""

import hashlib
from functools import cache
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, PlainTextResponse

STATIC = Path(__file__).parent / "static"
KINDS = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
KEPT = {"Cache-Control": "public, max-age=31536000, immutable"}


@cache
def static_url(name: str) -> str:
    """The address of a file of `static/`; browsers may keep what is there for good."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{digest}/{name}"


def install_static_files(app: FastAPI) -> None:
    """Hand out the files of `static/`, and nothing else."""
    files = {path.name: path for path in STATIC.iterdir() if path.suffix in KINDS}

    @app.get("/static/{digest}/{name}", include_in_schema=False)
    def static_file(digest: str, name: str) -> Response:
        path: Path | None = files.get(name)
        if path is None:
            return PlainTextResponse("there is no such file", status_code=404)
        return FileResponse(path, media_type=KINDS[path.suffix], headers=KEPT)

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:
        return FileResponse(files["mark.svg"], media_type=KINDS[".svg"], headers=KEPT)
