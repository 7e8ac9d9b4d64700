"""`POST /loads` and `GET /loads/{id}`."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4, uuid5

from fastapi import APIRouter, Depends, Header, HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, select

from shared.authorization import BEARER
from shared.clock import Clock
from shared.contracts.envelope import Event
from shared.contracts.events import LoadRequested
from shared.database.tables import loads
from shared.database.tables import outbox as outbox_table
from shared.errors import PermanentError, TransientError, UnknownDataset
from shared.fail_points import FailPoint, reached
from shared.load_requests import NothingToLoad, load_request
from shared.messaging import outbox
from shared.service import Resources
from shared.settings import Settings

SOURCE = "ingestor"
_IDEMPOTENT = UUID("b0e4a4f0-52c1-4a7e-8f0b-3f6f4b7f9a55")


# Postgres holds no U+0000.
Line = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=200)]
Address = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=4096)]


class LoadBody(BaseModel):
    """What to load. Without `slice_key` it is the next slice that isn't loaded."""

    model_config = ConfigDict(extra="forbid")

    dataset: Line
    slice_key: Line | None = None
    source_uri: Address | None = None
    """The slice's folder, or one with a subfolder named like the slice; the spec's if absent."""
    as_of: date | None = None
    requested_by: Line = "api"


class LoadAccepted(BaseModel):
    """The load was asked for. `event_id` and `load_id` are the same."""

    event_id: str
    load_id: str
    dataset: str
    slice_key: str
    source_uri: str


class NothingLeft(BaseModel):
    """Nothing was asked for: the dataset has reached the whole of its source."""

    status: Literal["nothing_to_load"] = "nothing_to_load"
    dataset: str
    slice_key: str
    """The slice that it has reached."""
    refused: tuple[str, ...]
    """Slices on the way there that were refused, and whose rows are not in."""
    detail: str


class Refusal(BaseModel):
    """Why a request was not taken; of a faulty field also where it is."""

    detail: str | list[dict[str, Any]]


class Load(BaseModel):
    """Where a load stands. `status` is `requested` until the ingestor begins with it."""

    model_config = ConfigDict(from_attributes=True)

    load_id: str
    dataset: str
    slice_key: str
    status: str
    source_uri: str
    requested_by: str
    requested_at: datetime
    as_of: date | None = None
    revision: int | None = None
    content_sha256: str | None = None
    landing_uri: str | None = None
    rows_in: int | None = None
    rows_loaded: int | None = None
    rows_quarantined: int | None = None
    percentage: float | None = None
    """Of a slice by share: the share of the source that is reached with it, in per cent,"""
    first_row: int | None = None
    """its first row, counted from 0,"""
    end_row: int | None = None
    """the row after its last,"""
    source_rows: int | None = None
    """and how many the source has."""
    tables: list[dict[str, Any]] | None = None
    changes: dict[str, Any] | None = None
    reasons: list[dict[str, Any]] | None = None
    report_uri: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


def _refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": Refusal} for code in codes}


def router(resources: Resources) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(tags=["loads"])

    @routes.post(
        "/loads",
        status_code=202,
        response_model=LoadAccepted,
        responses={200: {"model": NothingLeft}, **_refusals(400, 401, 403, 404, 409, 422, 503)},
        dependencies=[Depends(BEARER)],
    )
    def request_load(
        body: LoadBody,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
    ) -> LoadAccepted | JSONResponse:
        """Ask for a load. The same `Idempotency-Key` never starts two.

        200: nothing is left to load, and nothing was asked for; only where slices are shares.
        400: the body is no JSON. 401: without the token; 403: there is none to have. 404: no such
        dataset. 409: the key was used for another load. 422: the spec or the request is at fault.
        503: the store, which has the source, is away.
        """
        try:
            with resources.engine.begin() as connection:
                accepted = _request(connection, resources, body, idempotency_key)
                reached(FailPoint.REQUEST_ACCEPTING, body.dataset)
        except NothingToLoad as answer:
            left = NothingLeft(
                dataset=answer.dataset,
                slice_key=answer.slice_key,
                refused=answer.refused,
                detail=str(answer),
            )
            return JSONResponse(left.model_dump(), status_code=200)
        reached(FailPoint.REQUEST_ACCEPTED, body.dataset)
        resources.wake_relay()
        return accepted

    @routes.get("/loads/{load_id}", responses=_refusals(404))
    def load(load_id: str) -> Load:
        """Where the load stands."""
        if "\0" in load_id:
            raise HTTPException(404, "there is no load of that name")
        with resources.engine.connect() as connection:
            row = connection.execute(select(loads).where(loads.c.load_id == load_id)).first()
            if row is not None:
                return Load.model_validate(row)
            waiting = _waiting(connection, load_id)
        if waiting is None:
            raise HTTPException(404, f"there is no load {load_id}")
        requested, requested_at, _ = waiting
        return Load(
            load_id=load_id,
            status="requested",
            requested_at=requested_at,
            **requested.model_dump(),
        )

    return routes


def _request(
    connection: Connection, resources: Resources, body: LoadBody, key: str | None
) -> LoadAccepted:
    event_id = str(uuid5(_IDEMPOTENT, key)) if key is not None else str(uuid4())
    earlier = _waiting(connection, event_id) if key is not None else None
    if earlier is None:
        requested = _build(connection, resources.settings, body, body.slice_key, resources.clock)
        event = Event(payload=requested, source=SOURCE, time=resources.clock(), id=event_id)
        if not outbox.put(connection, event):  # another request with the key was faster
            earlier = _waiting(connection, event_id)
    if earlier is not None:
        requested, _, asked_at = earlier
        slice_key = body.slice_key or requested.slice_key
        # As it was then: a share's date is the day when it is asked for.
        again = _build(connection, resources.settings, body, slice_key, lambda: asked_at)
        if not _is_same(again, requested):
            raise HTTPException(
                409,
                "this Idempotency-Key was used for another request: "
                f"{requested.dataset}/{requested.slice_key} from {requested.source_uri}",
            )
    return LoadAccepted(
        event_id=event_id,
        load_id=event_id,
        dataset=requested.dataset,
        slice_key=requested.slice_key,
        source_uri=requested.source_uri,
    )


def _build(
    connection: Connection,
    settings: Settings,
    body: LoadBody,
    slice_key: str | None,
    clock: Clock,
) -> LoadRequested:
    try:
        return load_request(
            connection,
            settings,
            dataset=body.dataset,
            slice_key=slice_key,
            source=body.source_uri,
            as_of=body.as_of,
            requested_by=body.requested_by,
            clock=clock,
        )
    except UnknownDataset as error:
        raise HTTPException(404, str(error)) from error
    except PermanentError as error:
        raise HTTPException(422, str(error)) from error
    except TransientError as error:
        raise HTTPException(503, str(error)) from error


def _is_same(again: LoadRequested, requested: LoadRequested) -> bool:
    # The slice's subfolder, found at the first request, may have gone since.
    folders = (again.source_uri, f"{again.source_uri}/{requested.slice_key}")
    return requested.source_uri in folders and requested == again.model_copy(
        update={"source_uri": requested.source_uri}
    )


def _waiting(
    connection: Connection, event_id: str
) -> tuple[LoadRequested, datetime, datetime] | None:
    """The load request of this id that was put into the outbox, sent or not.

    With the moments when it was put there and when, by its own word, it was made.
    """
    query = select(
        outbox_table.c.value,
        outbox_table.c.created_at,
        outbox_table.c.headers["ce_time"].astext.label("asked_at"),
    ).where(
        outbox_table.c.event_id == event_id,
        outbox_table.c.topic == LoadRequested.topic.value,
        outbox_table.c.headers["ce_type"].astext == LoadRequested.type,
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    requested = LoadRequested.model_validate_json(row.value)
    return requested, row.created_at, datetime.fromisoformat(row.asked_at)
