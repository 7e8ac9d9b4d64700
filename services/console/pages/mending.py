"""Mending: a load's quarantined rows out as a sheet, and the mended sheet back."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from sqlalchemy import Connection, text

from services.console.failures import NotThere, wants_page
from services.console.pages.load import receive_of, told
from services.console.pages.login import confirmed_actor
from services.console.session import Actor
from services.console.site import Site
from services.console.uploads import BadUpload
from shared.errors import PermanentError, SourceNotFound
from shared.mending.correction import check_newest
from shared.mending.landed import find_load
from shared.mending.replaying import export_load
from shared.mending.sheet import write_sheet
from shared.object_store import ObjectUri
from shared.reading.sources import Source, StorePrefix

ROWS_SHOWN = 200
_PIECE_BYTES = 1 << 18
LoadId = Annotated[str, Query(min_length=1, max_length=200)]
FileName = Annotated[str, Query(max_length=400)]
_COUNTS = """
    SELECT table_name, file, code, column_name, count(*) AS rows, min(reason) AS reason
    FROM headrace.quarantined_rows
    WHERE load_id = :load_id
    GROUP BY 1, 2, 3, 4
    ORDER BY 1, 2, rows DESC
"""
_ROWS = """
    SELECT file, record_number, column_name, reason, raw
    FROM headrace.quarantined_rows
    WHERE load_id = :load_id
    ORDER BY file, record_number
    LIMIT :rows
"""


def router(site: Site) -> APIRouter:
    """`/mend`, its sheets and what comes back."""
    routes = APIRouter()

    @routes.get("/mend")
    def mend(request: Request, load: LoadId) -> Response:
        """The quarantined rows of a load, and how to mend them."""
        with site.read() as connection:
            facts = _facts(connection, load)
            asked = {"load_id": load}
            counts = connection.execute(text(_COUNTS), asked).mappings().all()
            rows = connection.execute(text(_ROWS), asked | {"rows": ROWS_SHOWN}).mappings().all()
            try:
                check_newest(connection, facts)
                obstacle = ""
            except PermanentError as error:
                obstacle = str(error)
        return site.page(
            request,
            "mend.html",
            load=facts,
            counts=counts,
            rows=rows,
            files=sorted({row["file"] for row in counts}),
            landed=source.names() if (source := _landed(site, facts)) else (),
            obstacle=obstacle,
        )

    @routes.get("/mend/sheet")
    def sheet(request: Request, load: LoadId, file: FileName) -> Response:
        """The bad records of one file as CSV, to be mended in a spreadsheet."""
        actor = confirmed_actor(site, request)
        if isinstance(actor, Response):
            return actor
        with site.read() as connection:
            _facts(connection, load)
            found = export_load(connection, site.settings, site.resources.store, load)
        for each in found.sheets:
            if each.file == file:
                headers = _download(f"{file}.mend.csv") | {"Cache-Control": "no-store"}
                return Response(write_sheet(each), media_type="text/csv", headers=headers)
        missing = "; ".join(found.missing) or "it has no quarantined rows that could be mended"
        raise NotThere(f"There is no sheet of {file}: {missing}.")

    @routes.get("/mend/file")
    def landed(request: Request, load: LoadId, file: FileName) -> Response:
        """A file of the load as it came, to be mended whole."""
        actor = confirmed_actor(site, request)
        if isinstance(actor, Response):
            return actor
        with site.read() as connection:
            source = _landed(site, _facts(connection, load))
        if source is None or file not in source.names():
            raise NotThere(f"There is no file {file} of this load, or not any more.")
        kind, headers = "application/octet-stream", _download(file)
        return StreamingResponse(_pieces(source, file), media_type=kind, headers=headers)

    @routes.post("/mend/files")
    async def files(request: Request) -> Response:
        """Take mended sheets; what they change is to be confirmed next."""
        actor: Actor = request.state.actor
        upload, _, sizes = await receive_of(site, request, actor)
        if not sizes:
            raise BadUpload("no sheet was chosen: go back and choose the mended one")
        place = f"/act/mend?upload={upload}"
        if wants_page(request):
            return RedirectResponse(place, 303)
        return told({"upload": upload, "files": sizes, "confirm": place})

    return routes


def _download(name: str) -> dict[str, str]:
    """The header of a file to be kept as `name`, in whatever script that is (RFC 6266)."""
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}


def _landed(site: Site, load: Mapping[str, Any]) -> Source | None:
    """The load's files in the landing bucket, while they are there."""
    if load["landing_uri"] is None or load["landing_pruned_at"] is not None:
        return None
    try:
        return StorePrefix(ObjectUri.parse(load["landing_uri"]), site.resources.store)
    except SourceNotFound:
        return None


def _pieces(source: Source, file: str) -> Iterator[bytes]:
    with source.open(file) as stream:
        while piece := stream.read(_PIECE_BYTES):
            yield piece


def _facts(connection: Connection, load_id: str) -> dict[str, Any]:
    if "\0" in load_id:
        raise NotThere("There is no load of that name.")
    try:
        return find_load(connection, load_id)
    except PermanentError as error:
        raise NotThere(f"{error}.") from error
