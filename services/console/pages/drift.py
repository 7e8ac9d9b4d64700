"""Drift: each feature and the target of a snapshot beside what the champion was trained on."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from services.console.charts import Chart, Series, grouped_chart
from services.console.failures import NotThere
from services.console.paging import PageNumber, Paging
from services.console.queries.drift import Feature, read_comparisons, read_features
from services.console.site import Site
from services.console.subject import subject_of
from services.console.wording import dataset_url, percent

DRAWN = 60
"""Of more features the farthest are drawn; all are in the table."""


def router(site: Site) -> APIRouter:
    """`GET /datasets/{dataset}/drift`."""
    routes = APIRouter()

    @routes.get("/datasets/{dataset}/drift")
    def drift_page(
        request: Request,
        dataset: str,
        snapshot: str = Query(default="", max_length=200),
        page: PageNumber = 1,
    ) -> HTMLResponse:
        """A comparison, the newest or that of a snapshot, feature by feature, and all others."""
        subject = subject_of(site, dataset)
        rows = site.settings.console_page_rows
        with site.read() as connection:
            listed = read_comparisons(connection, dataset, first=(page - 1) * rows, rows=rows)
            found = listed
            if snapshot:
                found = read_comparisons(connection, dataset, rows=1, snapshot_id=snapshot)
            shown = found[0] if found else None
            if shown is None and snapshot:
                raise NotThere(
                    f"No drift was measured of the snapshot {snapshot} of {dataset}.",
                    (f"the drift of {dataset}", dataset_url(dataset, "drift")),
                    hint="It is when a model was trained of it and there was a champion before.",
                )
            features = read_features(connection, dataset, shown) if shown else []
        paging = Paging.of(request, page, listed[0].total if listed else 0, rows)
        return site.page(
            request,
            "drift.html",
            subject=subject,
            comparisons=listed,
            paging=paging,
            shown=shown,
            features=features,
            drawn=[
                (feature, _distributions(feature, feature.measures[0]["bins"]))
                for feature in features[:DRAWN]
            ],
        )

    return routes


def _distributions(feature: Feature, bins: Sequence[Mapping[str, Any]]) -> Chart:
    """Both distributions over the same bins, as shares of their sides."""
    before = sum(each["baseline"] for each in bins) or 1
    after = sum(each["current"] for each in bins) or 1
    return grouped_chart(
        f"{feature.name}: the champion's data and this snapshot's, by bin",
        [each["label"] for each in bins],
        [
            Series("champion's data", [each["baseline"] / before for each in bins], colour="c8"),
            Series("this snapshot", [each["current"] / after for each in bins], colour="c1"),
        ],
        percent,
    )
