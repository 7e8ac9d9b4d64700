"""What every page works with: questions to Postgres, templates, settings, the time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from services.console.others import Others
from services.console.reading import Reader
from services.console.session import Door
from services.console.specs import Specs
from services.console.static_files import static_url
from services.console.wording import ADDRESSES, FILTERS
from shared import __version__
from shared.clock import Clock
from shared.service import Resources
from shared.settings import Settings

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Section:
    """A part of the console: its routes, and where it stands in the bar at the top."""

    router: "Callable[[Site], APIRouter]"
    title: str = ""
    """In the bar; empty is not there."""
    path: str = ""


@dataclass(frozen=True)
class Site:
    """Made once, by the composition root; a page's router is a function of it."""

    settings: Settings
    read: Reader
    """`with site.read() as connection:` for a page's questions."""
    specs: Specs
    clock: Clock
    resources: Resources
    """For what changes something: the services' own engine, the store, the relay's bell."""
    door: Door
    """Who may act."""
    others: Others
    """The other services, as they do."""
    sections: tuple[Section, ...] = ()
    extras: list[Callable[[Request], Mapping[str, Any]]] = field(default_factory=list)
    """What further variables every template has, by the request: who is logged in, say."""
    _templates: Environment = field(default_factory=lambda: make_environment())

    @property
    def mlflow_url(self) -> str:
        """MLflow's address for a browser."""
        return (self.settings.console_mlflow_url or self.settings.mlflow_tracking_uri).rstrip("/")

    def trace_url(self, trace_id: str | None) -> str:
        """The address of a trace's page; empty where there is none."""
        template = self.settings.trace_url_template
        return template.replace("{trace_id}", trace_id) if template and trace_id else ""

    def page(
        self, request: Request, template: str, /, status_code: int = 200, **variables: Any
    ) -> HTMLResponse:
        """The page that `template` makes of `variables` and of those that every page has.

        Raises ValueError where a page calls one of its own as one of those.
        """
        found: dict[str, Any] = {"now": self.clock(), "request": request, "site": self}
        for extra in self.extras:
            found |= extra(request)
        if taken := found.keys() & variables.keys():
            raise ValueError(f"{template}: every page has {', '.join(sorted(taken))} already")
        text = self._templates.get_template(template).render(found | variables)
        return HTMLResponse(text, status_code=status_code, headers={"Cache-Control": "no-store"})


def make_environment() -> Environment:
    """The templates' environment: what is put in is escaped, what is missing is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(FILTERS)
    environment.globals.update(ADDRESSES, version=__version__, static_url=static_url)
    return environment
