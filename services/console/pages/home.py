"""The home page: every dataset as a channel with its four gates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection, select

from services.console.charts import Chart
from services.console.paging import PageNumber, Paging
from services.console.queries.channels import Channel, read_channels
from services.console.queries.totals import read_totals
from services.console.scores import score_chart
from services.console.site import Site
from shared.database.tables import schedules
from shared.errors import InvalidSpec
from shared.schedule.deciding import next_run


@dataclass(frozen=True)
class Card:
    """A channel with what is drawn of it."""

    channel: Channel
    chart: Chart | None
    description: str


def router(site: Site) -> APIRouter:
    """`GET /`."""
    routes = APIRouter()

    @routes.get("/")
    def home(
        request: Request,
        q: str = Query(default="", max_length=200),
        page: PageNumber = 1,
    ) -> HTMLResponse:
        """Every dataset at a glance, those of a page; `q` is a part of their names."""
        names = site.specs.names()
        found = [name for name in names if q.strip().lower() in name]
        paging = Paging.of(request, page, len(found), site.settings.console_page_rows // 2)
        with site.read() as connection:
            cards = _cards(site, connection, found[paging.first : paging.end])
            totals = read_totals(connection)
        return site.page(
            request,
            "home.html",
            cards=cards,
            totals=totals,
            paging=paging,
            q=q,
            names=names,
        )

    return routes


def _cards(site: Site, connection: Connection, names: Sequence[str]) -> list[Card]:
    query = select(schedules).where(schedules.c.dataset.in_(names))
    rows = {row.dataset: row for row in connection.execute(query)}
    now = site.clock()
    cards = []
    for channel in read_channels(connection, names):
        description = ""
        row = rows.get(channel.dataset)
        channel = replace(channel, is_paused=row is not None and row.is_paused)
        try:
            spec = site.specs.find(channel.dataset)
        except InvalidSpec as error:
            channel = replace(channel, fault=str(error))
        else:
            channel = replace(channel, next_run=_utc(next_run(spec, row, now), now))
            description = spec.description
        cards.append(Card(channel, score_chart(channel.scores), description))
    return cards


def _utc(moment: datetime | None, now: datetime) -> datetime | None:
    return moment.astimezone(now.tzinfo) if moment else None
