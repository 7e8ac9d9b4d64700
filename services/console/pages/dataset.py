"""A dataset's page: its slices in a grid, and how it developed."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from services.console.charts import Chart, Series, line_chart, stacked_chart
from services.console.paging import PageNumber, Paging
from services.console.queries.channels import read_channels
from services.console.queries.slices import STAGES, read_slices
from services.console.queries.trends import (
    OTHERS,
    ClassShares,
    read_class_shares,
    read_null_shares,
    read_rows_over_time,
    read_table_rows,
)
from services.console.site import Site
from services.console.subject import schedule_of, subject_of
from services.console.wording import number, percent

SLICES_CHARTED = 60
SLICES_OF_NULLS = 12
CHANGES = (
    ("unchanged", "unchanged"),
    ("inserted", "inserted"),
    ("updated", "updated"),
    ("deleted", "deleted"),
)
FILTERS: Mapping[str, Sequence[str]] = {
    "under way": ("loading", "loaded", "validated"),
    "stopped": ("rejected", "failed"),
    "published": ("published",),
    "withdrawn": ("withdrawn",),
}
"""What the grid can be narrowed to, as the statuses of the newest loads."""


def router(site: Site) -> APIRouter:
    """`GET /datasets/{dataset}`."""
    routes = APIRouter()

    @routes.get("/datasets/{dataset}")
    def dataset_page(
        request: Request,
        dataset: str,
        only: str = Query(default="", max_length=40),
        page: PageNumber = 1,
    ) -> HTMLResponse:
        """The dataset's slices and trends; `only` is one of `FILTERS`."""
        subject = subject_of(site, dataset)
        now = site.clock()
        statuses = FILTERS.get(only)
        with site.read() as connection:
            (channel,) = read_channels(connection, [dataset])
            counts = channel.statuses
            total = sum(n for status, n in counts.items() if not statuses or status in statuses)
            paging = Paging.of(request, page, total, site.settings.console_page_rows)
            slices = read_slices(
                connection,
                dataset,
                now=now,
                first=paging.first,
                rows=paging.rows,
                statuses=statuses,
            )
            rows = read_rows_over_time(connection, dataset, SLICES_CHARTED)
            classes = read_class_shares(connection, dataset, SLICES_CHARTED)
            nulls = read_null_shares(connection, dataset, SLICES_OF_NULLS)
            tables = read_table_rows(connection, dataset)
            schedule = schedule_of(connection, subject, now)
        return site.page(
            request,
            "dataset.html",
            subject=subject,
            channel=channel,
            slices=slices,
            stages=STAGES,
            paging=paging,
            only=only if statuses else "",
            filters=_filters(counts),
            is_working=bool(slices.asked) or any(map(counts.get, FILTERS["under way"])),
            tables=tables,
            rows_chart=_rows_chart(rows),
            rows=rows,
            classes=classes,
            class_chart=_class_chart(classes) if classes else None,
            nulls=nulls,
            schedule=schedule,
        )

    return routes


def _filters(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The filters that find anything, with how much."""
    found = [(name, sum(counts.get(s, 0) for s in statuses)) for name, statuses in FILTERS.items()]
    return [(name, slices) for name, slices in found if slices]


def _rows_chart(rows: Sequence[Mapping[str, Any]]) -> Chart | None:
    if not rows:
        return None
    values = [{name: row[name] or 0 for name, _ in CHANGES} for row in rows]
    return stacked_chart(
        "rows by what each slice did to them",
        [row["slice_key"] for row in rows],
        CHANGES,
        values,
        number,
    )


def _class_chart(classes: ClassShares) -> Chart:
    return line_chart(
        "each class's share of the rows",
        classes.places,
        [Series(name, classes.shares[name]) for name in classes.names if name != OTHERS],
        percent,
        low=0.0,
    )
