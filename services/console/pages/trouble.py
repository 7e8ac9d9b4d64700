"""Trouble: what was refused or given up, what waits and on what, and how the services do."""

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import select

from services.console.failures import NotThere
from services.console.paging import NO_ROW, PageNumber, Paging
from services.console.queries import troubles
from services.console.site import Site
from shared.database.tables import dead_letters
from shared.messaging.readable import readable


def router(site: Site) -> APIRouter:
    """`/trouble` and `/trouble/dead/<number>`."""
    routes = APIRouter()

    @routes.get("/trouble")
    def trouble(
        request: Request,
        every: bool = Query(default=False),
        page: PageNumber = 1,
        letter_page: PageNumber = 1,
    ) -> HTMLResponse:
        """All that somebody may have to do something about."""
        rows = site.settings.console_page_rows
        with site.read() as connection:
            total = troubles.count_refused(connection)
            slices = Paging.of(request, page, total, rows)
            refused = troubles.refused(connection, first=slices.first, rows=rows)
            open_letters, all_letters = troubles.count_letters(connection)
            letters = Paging.of(
                request, letter_page, all_letters if every else open_letters, rows, "letter_page"
            )
            dead = troubles.letters(connection, every=every, first=letters.first, rows=rows)
            waiting = troubles.waiting(connection, rows)
            schedules = troubles.refused_schedules(connection)
        return site.page(
            request,
            "trouble.html",
            refused=refused,
            slices=slices,
            letters=letters,
            dead=dead,
            every=every,
            open_letters=open_letters,
            all_letters=all_letters,
            waiting=waiting,
            schedules=schedules,
            asked=site.others.answers(),
            services=site.others.names,
        )

    @routes.get("/trouble/dead/{number}")
    def dead_letter(request: Request, number: int) -> HTMLResponse:
        """All of a dead letter."""
        query = select(dead_letters).where(dead_letters.c.dead_letter_id == number)
        with site.read() as connection:
            row = connection.execute(query).mappings().first() if 0 < number < NO_ROW else None
        if row is None:
            raise NotThere(f"There is no dead letter {number}.", ("Trouble", "/trouble"))
        return site.page(
            request,
            "dead_letter.html",
            letter=row,
            key=readable(row["key"]),
            value=readable(row["value"]),
        )

    return routes
