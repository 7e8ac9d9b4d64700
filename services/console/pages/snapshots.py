"""Two snapshots beside one another: what changed from the one to the other."""

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection

from services.console.failures import NotThere
from services.console.paging import PageNumber, Paging
from services.console.queries.snapshots import (
    Snapshot,
    applied_spec,
    compare_table,
    count_snapshots,
    find_snapshot,
    read_snapshots,
    sample_differences,
    snapshot_before,
)
from services.console.site import Site
from services.console.subject import in_order_of, subject_of
from services.console.wording import dataset_url


def router(site: Site) -> APIRouter:
    """`GET /datasets/{dataset}/snapshots`."""
    routes = APIRouter()

    @routes.get("/datasets/{dataset}/snapshots")
    def snapshots_page(
        request: Request,
        dataset: str,
        first: str = Query(default="", alias="from", max_length=200),
        second: str = Query(default="", alias="to", max_length=200),
        table: str = Query(default="", max_length=200),
        page: PageNumber = 1,
    ) -> HTMLResponse:
        """The snapshots, and the difference of two: the newest and the one before, if not named."""
        subject = subject_of(site, dataset)
        with site.read() as connection:
            total = count_snapshots(connection, dataset)
            paging = Paging.of(request, page, total, site.settings.console_page_rows)
            listed = read_snapshots(connection, dataset, first=paging.first, rows=paging.rows)
            after = _chosen(connection, dataset, second) if second else None
            if after is None and not second:
                newest = read_snapshots(connection, dataset, rows=1)
                after = newest[0] if newest else None
            before = _chosen(connection, dataset, first) if first else None
            if before is None and after is not None:
                before = snapshot_before(connection, dataset, after)
            spec = applied_spec(connection, dataset)
            if spec is not None:
                spec = in_order_of(spec, subject.spec)
            differences, samples, shown = [], [], ""
            if before is not None and after is not None and spec is not None:
                names = [
                    name for name in spec.tables if name in before.tables or name in after.tables
                ]
                differences = [
                    compare_table(connection, spec, name, before, after) for name in names
                ]
                changed = [each.table for each in differences if not each.is_same]
                updated = [each.table for each in differences if each.updated]
                shown = table if table in names else next(iter([*updated, *changed]), "")
                if shown:
                    samples = sample_differences(connection, spec, shown, before, after)
        return site.page(
            request,
            "snapshots.html",
            subject=subject,
            snapshots=listed,
            paging=paging,
            before=before,
            after=after,
            differences=differences,
            samples=samples,
            shown=shown,
        )

    return routes


def _chosen(connection: Connection, dataset: str, snapshot_id: str) -> Snapshot:
    found = find_snapshot(connection, dataset, snapshot_id)
    if found is None:
        raise NotThere(
            f"There is no snapshot {snapshot_id} of {dataset}.",
            (f"the snapshots of {dataset}", dataset_url(dataset, "snapshots")),
        )
    return found
