"""The audit: who did what, newest first."""

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from services.console.paging import NO_ROW
from services.console.queries.acts import acts
from services.console.site import Site


def router(site: Site) -> APIRouter:
    """`GET /audit`."""
    routes = APIRouter()

    @routes.get("/audit")
    def audit(
        request: Request,
        dataset: str | None = Query(default=None, max_length=200),
        before: int | None = Query(default=None, ge=1, le=NO_ROW),
    ) -> HTMLResponse:
        """A page of it, of one dataset or of all."""
        rows = site.settings.console_page_rows
        with site.read() as connection:
            found = acts(connection, dataset=dataset or None, before=before, rows=rows + 1)
        return site.page(
            request,
            "audit.html",
            acts=found[:rows],
            earlier=found[rows - 1].audit_id if len(found) > rows else None,
            dataset=dataset or "",
            names=site.specs.names(),
        )

    return routes
