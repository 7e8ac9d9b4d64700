"""A dataset's model versions: what was decided and why, two beside one another, and lineage."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse

from services.console.evidence import PICTURES, gather, overlaid
from services.console.failures import NotThere
from services.console.mlflow import Runs
from services.console.paging import PageNumber, Paging
from services.console.queries.channels import read_channels
from services.console.queries.models import (
    read_champion,
    read_decisions,
    read_lineage,
    read_versions,
)
from services.console.scores import score_chart
from services.console.site import Site
from services.console.subject import subject_of
from services.console.wording import dataset_url, model_url

KEPT = {"Cache-Control": "private, max-age=86400"}


def router(site: Site) -> APIRouter:
    """`GET /datasets/{dataset}/models`, one of them, and a picture of its run."""
    routes = APIRouter()
    runs = Runs(site.settings.mlflow_tracking_uri)

    @routes.get("/datasets/{dataset}/models")
    def models_page(
        request: Request,
        dataset: str,
        a: str = Query(default="", max_length=60),
        b: str = Query(default="", max_length=60),
        page: PageNumber = 1,
    ) -> HTMLResponse:
        """The versions, and two of them compared: the champion and the newest, if not named."""
        subject = subject_of(site, dataset)
        rows = site.settings.console_page_rows
        with site.read() as connection:
            versions = read_versions(connection, dataset, first=(page - 1) * rows, rows=rows)
            paging = Paging.of(request, page, versions[0]["total"] if versions else 0, rows)
            decisions = read_decisions(connection, dataset)
            (channel,) = read_channels(connection, [dataset])
            champion = read_champion(connection, dataset)
            pair = []
            for wanted in _pair(a, b, champion, versions):
                found = read_versions(connection, dataset, rows=1, version=wanted)
                if not found:
                    raise _no_version(dataset, wanted, versions)
                pair.append(found[0])
        evidence = [gather(runs, each["model_version"], each["run_id"]) for each in pair]
        return site.page(
            request,
            "models.html",
            subject=subject,
            versions=versions,
            paging=paging,
            decisions=decisions,
            champion=champion,
            score_chart=score_chart(channel.scores),
            pair=pair,
            evidence=evidence,
            charts=[
                chart for kind in ("roc", "precision_recall") if (chart := overlaid(kind, evidence))
            ],
            metrics=_metrics(pair),
            mlflow_url=site.mlflow_url,
        )

    @routes.get("/datasets/{dataset}/models/{version}")
    def model_page(request: Request, dataset: str, version: str) -> HTMLResponse:
        """A version: every decision about it, how good it is, and what it came of."""
        subject = subject_of(site, dataset)
        with site.read() as connection:
            found = read_versions(connection, dataset, rows=1, version=version)
            if not found:
                raise _no_version(dataset, version, read_versions(connection, dataset, rows=20))
            decisions = read_decisions(connection, dataset, version)
            champion = read_champion(connection, dataset)
            lineage = read_lineage(connection, {**found[0], "dataset": dataset})
        evidence = gather(runs, version, found[0]["run_id"])
        return site.page(
            request,
            "model.html",
            subject=subject,
            it=found[0],
            decisions=decisions,
            champion=champion,
            lineage=lineage,
            evidence=evidence,
            charts=[
                chart
                for kind in ("roc", "precision_recall")
                if (chart := overlaid(kind, [evidence]))
            ],
            mlflow_url=site.mlflow_url,
        )

    @routes.get("/datasets/{dataset}/models/{version}/{picture}")
    def picture(dataset: str, version: str, picture: str) -> Response:
        """A picture of the version's run."""
        with site.read() as connection:
            found = read_versions(connection, dataset, rows=1, version=version)
        content = None
        if found and picture in PICTURES:
            content = runs.file(found[0]["run_id"], f"plots/{picture}")
        if content is None:
            raise NotThere(
                f"The run of version {version} has no {picture}.",
                (f"version {version}", model_url(dataset, version)),
            )
        return Response(content, media_type="image/png", headers=KEPT)

    return routes


def _pair(a: str, b: str, champion: str | None, versions: Sequence[Mapping[str, Any]]) -> list[str]:
    """The two to compare: those that are named, else the champion and the newest other one."""
    others = [each["model_version"] for each in versions]
    first = a or champion or (others[1] if len(others) > 1 else "")
    second = b or next((each for each in others if each != first), "")
    return [each for each in dict.fromkeys((first, second)) if each]


def _metrics(pair: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[float | None]]]:
    """Each metric with its value of each version, the one that decides first."""
    names = sorted({name for each in pair for name in each["metrics"]})
    deciding = pair[0]["metric"] if pair else ""
    names.sort(key=lambda name: name != deciding)
    return [(name, [each["metrics"].get(name) for each in pair]) for name in names]


def _no_version(dataset: str, version: str, versions: Sequence[Mapping[str, Any]]) -> NotThere:
    return NotThere(
        f"There is no version {version} of a model of {dataset}.",
        *(
            (f"version {each['model_version']}", model_url(dataset, each["model_version"]))
            for each in versions[:20]
        ),
        (f"the models of {dataset}", dataset_url(dataset, "models")),
    )
