"""A dataset's spec, as what it means and as it stands."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from services.console.site import Site
from services.console.subject import subject_of


def router(site: Site) -> APIRouter:
    """`GET /datasets/{dataset}/spec`."""
    routes = APIRouter()

    @routes.get("/datasets/{dataset}/spec")
    def spec_page(request: Request, dataset: str) -> HTMLResponse:
        """The spec, rendered and raw."""
        subject = subject_of(site, dataset)
        return site.page(request, "spec.html", subject=subject, text=site.specs.text(dataset))

    return routes
