"""The console's composition root."""

import sys

from fastapi import APIRouter, Depends, FastAPI

from services.console import live
from services.console.addresses import check_address
from services.console.failures import install_failures
from services.console.headers import install_headers
from services.console.live import Hub
from services.console.others import Others
from services.console.pages import SECTIONS
from services.console.reading import Reader, reading_engine
from services.console.session import Door
from services.console.site import Site
from services.console.specs import Specs
from services.console.static_files import install_static_files
from shared.service import Resources, Service, run

SERVICE = "console"


def build(resources: Resources) -> Service:
    """The console over these resources."""
    settings = resources.settings
    hub = Hub(
        most_readers=settings.console_live_readers,
        ping_seconds=settings.console_live_ping_seconds,
    )
    read = Reader(reading_engine(settings))
    site = Site(
        settings=settings,
        read=read,
        specs=Specs(settings.datasets_dir),
        clock=resources.clock,
        resources=resources,
        others=Others(settings, resources.clock),
        door=Door(settings, read, resources.clock),
        sections=SECTIONS,
    )
    site.extras.append(site.door.variables)
    return Service(
        name=SERVICE,
        handlers={},
        stage_of={},
        router=make_router(site, hub),
        companions=(site.specs, site.others),
        follower=hub,
        guard=site.door.guard,
        extend=lambda app: extend(app, site),
    )


def make_router(site: Site, hub: Hub) -> APIRouter:
    """Every route of the console's own. Pages say what they have seen, so that no sign is missed
    between their making and the opening of their line.
    """
    site.extras.append(lambda _: {"seen": hub.seen})
    routes = APIRouter(dependencies=[Depends(check_address)])
    routes.include_router(live.router(hub))
    for section in site.sections:
        routes.include_router(section.router(site), include_in_schema=False)
    return routes


def extend(app: FastAPI, site: Site) -> None:
    """Static files, headers for browsers, and pages in the place of errors."""
    install_static_files(app)
    install_headers(app)
    install_failures(app, site)


def main() -> None:
    """Run the console until it is told to stop."""
    sys.exit(run(SERVICE, build))


if __name__ == "__main__":
    main()
