"""Load: choose a dataset, send files or name a folder, see what the spec says to it, publish."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse

from services.console import audit
from services.console.actions.loading import NAMES, request_of
from services.console.audit import Entry
from services.console.failures import wants_page
from services.console.forms import given
from services.console.pages.login import confirmed_actor
from services.console.preview import Preview, TooLarge, preview
from services.console.session import Actor
from services.console.site import Site
from services.console.uploads import BadUpload, receive
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.events import LoadRequested
from shared.database.statuses import AuditOutcome
from shared.errors import HeadraceError, PermanentError, SourceNotFound
from shared.load_requests import next_slice
from shared.reading.sources import expected_file, open_source
from shared.source_roots import SourceRoots
from shared.upload_area import AREA

UPLOAD = "upload"
"""As the audit table calls it."""
Text = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True)
class _Judged:
    """What there is to say of a source before it is loaded; `obstacle` where it can't be read."""

    request: LoadRequested
    preview: Preview | None
    obstacle: str = ""


def router(site: Site) -> APIRouter:
    """`/load`, its preview and its uploads."""
    routes = APIRouter()

    @routes.get("/load")
    def load(request: Request, dataset: Text = "", slice_key: Text = "") -> Response:
        """The choice of a dataset, then of files or a folder."""
        names = site.specs.names()
        spec, fault, following = None, "", ""
        if dataset:
            spec = site.specs.find(dataset)
            following, fault = _next(site, spec)
        return site.page(
            request,
            "load.html",
            names=names,
            spec=spec,
            expected=_expected(spec) if spec else (),
            slice_key=slice_key or following,
            following=following,
            fault=fault,
        )

    @routes.post("/load/files")
    async def files(request: Request) -> Response:
        """Take files; the preview of them comes next."""
        actor: Actor = request.state.actor
        upload, fields, sizes = await receive_of(site, request, actor)
        if not sizes:
            raise BadUpload("no file was chosen: go back and choose those of the slice")
        names = ("dataset", "slice_key", "as_of")
        asked = {name: fields[name] for name in names if fields.get(name)}
        place = f"/load/preview?{urlencode(asked | {'upload': upload})}"
        if wants_page(request):
            return RedirectResponse(place, 303)
        return told({"upload": upload, "files": sizes, "preview": place})

    @routes.get("/load/preview")
    def previewed(request: Request) -> Response:
        """What the ingestor would say to it, and the button that publishes."""
        actor = confirmed_actor(site, request)
        if isinstance(actor, Response):
            return actor
        values = dict(request.query_params)
        spec = site.specs.find(given(values, "dataset"))
        with site.read() as connection:
            asked = request_of(site, connection, values, requested_by="nobody")
        judged = _judge(site, spec, asked)
        return site.page(
            request,
            "preview.html",
            spec=spec,
            judged=judged,
            foreseen=judged.preview,
            is_upload=f"/{AREA}/" in judged.request.source_uri,
            values={name: values[name] for name in NAMES if given(values, name)}
            | {"slice_key": judged.request.slice_key},
        )

    return routes


async def receive_of(
    site: Site, request: Request, actor: Actor
) -> tuple[str, dict[str, str], dict[str, int]]:
    """Take an upload of somebody whose form it is: its id, its fields, its files' sizes.

    It is written down, where it has files.
    """

    def check(fields: Mapping[str, str]) -> None:
        site.door.check_form(actor, fields.get("form_token", ""))

    settings = site.settings
    upload, fields, sizes = await receive(
        request,
        site.resources.store,
        check,
        most_bytes=settings.console_upload_bytes,
        most_files=settings.console_upload_files,
    )
    if sizes:
        await run_in_threadpool(_write_down, site, actor, upload, fields, sizes)
    return upload, fields, sizes


def _write_down(
    site: Site, actor: Actor, upload: str, fields: Mapping[str, str], sizes: Mapping[str, int]
) -> None:
    dataset, slice_key = fields.get("dataset", "").strip(), fields.get("slice_key", "").strip()
    entry = Entry(
        UPLOAD,
        "/".join(filter(None, (dataset, slice_key)))[:200] or "mended sheets",
        AuditOutcome.DONE,
        dataset if dataset in site.specs.names() else None,
        detail={"upload": upload, "files": ", ".join(sizes), "bytes": sum(sizes.values())},
    )
    with site.resources.engine.begin() as connection:
        audit.write(connection, actor, entry)


def told(facts: Mapping[str, object]) -> Response:
    """An upload's answer to a program."""
    return JSONResponse(dict(facts), status_code=201)


def _judge(site: Site, spec: DatasetSpec, asked: LoadRequested) -> _Judged:
    try:
        roots = SourceRoots.of(site.settings)
        source = open_source(asked.source_uri, site.resources.store, roots)
        return _Judged(asked, preview(site.settings, spec, source))
    except TooLarge as error:
        return _Judged(asked, None, str(error))
    except SourceNotFound as error:
        said = f"The console can't read it: {error}. The ingestor may, where it is its machine's."
        return _Judged(asked, None, said)
    except PermanentError as error:
        return _Judged(asked, None, str(error))


def _next(site: Site, spec: DatasetSpec) -> tuple[str, str]:
    """The slice that comes next, or why there is none."""
    try:
        with site.read() as connection:
            return next_slice(connection, spec), ""
    except HeadraceError as error:
        return "", str(error)


def _expected(spec: DatasetSpec) -> list[tuple[str, str, bool, list[str]]]:
    """Of each table: its name, its file, whether it must be there, and its columns' headers."""
    return [
        (
            name,
            expected_file(name, table),
            table.required,
            [table.header(column) for column in table.columns],
        )
        for name, table in spec.tables.items()
    ]
