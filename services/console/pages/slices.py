"""A slice's page: what happened to it, and why."""

from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from services.console.failures import NotThere
from services.console.queries.attempts import read_attempts, read_load
from services.console.queries.slices import STAGES, is_open, read_loads, read_runs, read_slices
from services.console.queries.timeline import read_timeline
from services.console.site import Site
from services.console.subject import subject_of
from services.console.wording import dataset_url, slice_url
from shared.object_store import ObjectUri

REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
"""A report is one file with its own style; it runs nothing and loads nothing."""


def router(site: Site) -> APIRouter:
    """`GET /datasets/{dataset}/slices/{slice}`, `GET /loads/{load_id}` and a load's report."""
    routes = APIRouter()

    @routes.get("/datasets/{dataset}/slices/{slice_key:path}")
    def slice_page(
        request: Request,
        dataset: str,
        slice_key: str,
        load: str = Query(default="", max_length=200),
    ) -> HTMLResponse:
        """The slice by one of its loads, the newest if none is named."""
        subject = subject_of(site, dataset)
        now = site.clock()
        with site.read() as connection:
            attempts = read_attempts(connection, dataset, slice_key)
            wanted = load or (attempts[0]["load_id"] if attempts else "")
            found = read_load(connection, wanted) if wanted else None
            if found is None or found.facts["dataset"] != dataset:
                there = read_slices(connection, dataset, now=now, rows=12).rows
                what = f"load {load} of {dataset}" if load else f"slice {slice_key} of {dataset}"
                raise NotThere(
                    f"There is no {what}.",
                    *(
                        (row.load["slice_key"], slice_url(dataset, row.load["slice_key"]))
                        for row in there
                    ),
                    (f"all slices of {dataset}", dataset_url(dataset)),
                )
            (runs,) = read_runs(connection, read_loads(connection, [wanted]), now).values()
            timeline = read_timeline(connection, wanted, now)
        return site.page(
            request,
            "slice.html",
            subject=subject,
            slice_key=found.facts["slice_key"],
            attempts=attempts,
            load=found,
            runs=runs,
            stages=STAGES,
            timeline=timeline,
            is_open=is_open(found.facts["status"]) or any(run.state == "running" for run in runs),
            logs_url=_logs_url(site, wanted),
            mlflow_url=site.mlflow_url,
            trace_url=site.trace_url(timeline.trace_id),
        )

    @routes.get("/loads/{load_id}")
    def load_page(load_id: str) -> Response:
        """The slice's page of a load that is known by its id alone."""
        with site.read() as connection:
            found = read_load(connection, load_id)
        if found is None:
            raise NotThere(f"There is no load {load_id}.", ("all datasets", "/"))
        address = slice_url(found.facts["dataset"], found.facts["slice_key"], load_id)
        return RedirectResponse(address, status_code=307)

    @routes.get("/loads/{load_id}/report")
    def report(load_id: str) -> Response:
        """The validator's report of a load, as it was written."""
        with site.read() as connection:
            found = read_load(connection, load_id)
        uri = found.facts["report_uri"] if found else None
        if uri is None:
            raise NotThere(f"There is no report of the load {load_id}.", ("all datasets", "/"))
        content = site.resources.store.get_bytes(ObjectUri.parse(uri))
        headers = {"Content-Security-Policy": REPORT_POLICY, "Cache-Control": "no-store"}
        return HTMLResponse(content, headers=headers)

    return routes


def _logs_url(site: Site, load_id: str) -> str:
    template = site.settings.console_logs_url_template
    return template.replace("{load_id}", quote(load_id, safe="")) if template else ""
