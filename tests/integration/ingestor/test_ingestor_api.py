import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from services.ingestor.api import router
from shared.contracts.envelope import Record, decode
from shared.contracts.events import LoadRequested
from shared.database.tables import outbox
from shared.errors import PermanentError
from shared.load_requests import load_request
from shared.object_store import Bucket
from shared.service import Resources
from tests.integration.ingestor.conftest import DROP, Shop


@pytest.fixture
def woken() -> list[None]:
    return []


class Client:
    """Asks the app itself; no server is needed."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self._ask("GET", path))

    def post(self, path: str, **what: Any) -> httpx.Response:
        return asyncio.run(self._ask("POST", path, **what))

    async def _ask(self, method: str, path: str, **what: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://ingestor") as client:
            return await client.request(method, path, **what)


@pytest.fixture
def client(shop: Shop, woken: list[None]) -> Client:
    return client_of(shop, woken)


def client_of(shop: Shop, woken: list[None]) -> Client:
    resources = Resources(
        shop.settings, shop.engine, shop.store, shop.clock, lambda: woken.append(None)
    )
    app = FastAPI()
    app.include_router(router(resources))
    return Client(app)


@pytest.fixture
def sent(shop: Shop) -> Callable[[], list[LoadRequested]]:
    def read() -> list[LoadRequested]:
        with shop.engine.connect() as connection:
            rows = connection.execute(select(outbox).order_by(outbox.c.outbox_id)).all()
        events = [
            decode(Record(row.topic, 0, 0, row.key.encode(), row.headers, bytes(row.value)))
            for row in rows
            if row.topic == "load-requested"
        ]
        assert all(row.source == "ingestor" for row in rows)
        return [event.payload for event in events if isinstance(event.payload, LoadRequested)]

    return read


def test_request_puts_one_event_into_the_outbox_and_wakes_the_relay(
    shop: Shop,
    client: Client,
    sent: Callable[[], list[LoadRequested]],
    woken: list[None],
) -> None:
    folder = shop.write(DROP)
    body = {
        "dataset": "shop",
        "slice_key": "day_03",
        "source_uri": str(folder),
        "requested_by": "me",
    }
    answer = client.post("/loads", json=body)
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted["event_id"] == accepted["load_id"]
    assert sent() == [
        LoadRequested(dataset="shop", slice_key="day_03", source_uri=str(folder), requested_by="me")
    ]
    assert len(woken) == 1
    found = client.get(f"/loads/{accepted['load_id']}").json()
    assert (found["status"], found["slice_key"], found["revision"]) == ("requested", "day_03", None)


def test_status_is_the_loads_own_once_it_has_begun(shop: Shop, client: Client) -> None:
    outcome = shop.load(DROP | {"orders.csv": b""})
    found = client.get(f"/loads/{outcome.load_id}").json()
    assert found["status"] == "rejected"
    assert found["reasons"][0]["code"] == "empty_file"
    assert found["as_of"] == "2024-03-01"


def test_load_that_nobody_asked_for_is_not_found(client: Client) -> None:
    assert client.get(f"/loads/{uuid4()}").status_code == 404


@pytest.mark.parametrize("source", ["/etc", "drops/../..", "s3://elsewhere/x"])
def test_source_outside_of_the_roots_is_refused(
    shop: Shop, sent: Callable[[], list[LoadRequested]], source: str
) -> None:
    shop.write_spec()
    roots = {"source_roots": str(shop.folder / "drops")}
    bounded = replace(shop, settings=shop.settings.model_copy(update=roots))
    body = {"dataset": "shop", "slice_key": "day_00", "source_uri": source}
    answer = client_of(bounded, []).post("/loads", json=body)
    assert answer.status_code == 422
    assert "outside of SOURCE_ROOTS" in answer.json()["detail"]
    bounded.spec["slices"]["source"] = "/etc"
    bounded.write_spec()
    answer = client_of(bounded, []).post("/loads", json={"dataset": "shop"})
    assert "outside of SOURCE_ROOTS" in answer.json()["detail"]
    assert sent() == []


def test_same_key_never_starts_two(
    shop: Shop, client: Client, sent: Callable[[], list[LoadRequested]]
) -> None:
    shop.spec["slices"]["source"] = str(shop.folder / "drops")
    shop.write_spec()
    key = {"Idempotency-Key": "once"}
    first = client.post("/loads", json={"dataset": "shop"}, headers=key)
    second = client.post("/loads", json={"dataset": "shop"}, headers=key)
    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert len(sent()) == 1
    for other in ({"slice_key": "day_07"}, {"as_of": "2024-01-01"}, {"source_uri": "/elsewhere"}):
        answer = client.post("/loads", json={"dataset": "shop"} | other, headers=key)
        assert answer.status_code == 409
        assert "shop/day_00" in answer.json()["detail"]
    assert len(sent()) == 1
    other_key = {"Idempotency-Key": "twice"}
    assert client.post("/loads", json={"dataset": "shop"}, headers=other_key).json() != first.json()


def test_same_key_holds_when_the_drop_has_gone_meanwhile(
    shop: Shop, client: Client, sent: Callable[[], list[LoadRequested]]
) -> None:
    folder = shop.write({}, "day_00")
    body = {"dataset": "shop", "source_uri": str(shop.folder)}
    key = {"Idempotency-Key": "once"}
    first = client.post("/loads", json=body, headers=key)
    folder.rmdir()
    assert client.post("/loads", json=body, headers=key).json() == first.json()
    assert [request.source_uri for request in sent()] == [str(folder)]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"dataset": "nosuch"}, 404, "no dataset 'nosuch'"),
        ({"dataset": "../shop"}, 404, "no dataset"),
        ({"dataset": "shop", "slice_key": "monday"}, 422, "not named like 'day_00'"),
        ({"dataset": "shop", "slice_key": "../x", "as_of": "2024-01-01"}, 422, "can't name"),
        ({"dataset": "shop", "slice_key": "day_00"}, 422, "names no source"),
        ({"dataset": "shop", "source_uri": "ftp://host/x"}, 422, "neither a path nor"),
        ({"dataset": "shop", "slice": "day_00"}, 422, "slice"),
        ({}, 422, "dataset"),
    ],
)
def test_request_that_can_not_work_is_refused_at_once_with_the_cause(
    client: Client,
    sent: Callable[[], list[LoadRequested]],
    body: dict[str, str],
    status: int,
    words: str,
) -> None:
    answer = client.post("/loads", json=body)
    assert answer.status_code == status
    assert words in answer.text
    assert sent() == []


def test_faulty_spec_is_told_by_its_line(shop: Shop, client: Client) -> None:
    shop.spec["tables"]["orders"]["key"] = ["nosuch"]
    shop.write_spec()
    answer = client.post("/loads", json={"dataset": "shop", "slice_key": "day_00"})
    assert answer.status_code == 422
    assert "line" in answer.json()["detail"]


def request(shop: Shop, **arguments: object) -> LoadRequested:
    with shop.engine.connect() as connection:
        return load_request(
            connection,
            shop.settings,
            dataset="shop",
            requested_by="test",
            **arguments,  # type: ignore[arg-type]
        )


def test_next_slice_follows_all_that_are_published_on_their_way_or_asked_for(
    shop: Shop, client: Client
) -> None:
    source = {"source": str(shop.write(DROP))}
    assert request(shop, **source).slice_key == "day_00"
    shop.publish(shop.load(DROP, slice_key="day_00"))
    assert request(shop, **source).slice_key == "day_01"
    shop.load(DROP, slice_key="day_01")
    assert request(shop, **source).slice_key == "day_02"
    shop.load({}, slice_key="day_02")
    shop.load(DROP, slice_key="extra", as_of=date(2024, 1, 1))
    assert request(shop, **source).slice_key == "day_02", "a rejected slice comes again"
    client.post("/loads", json={"dataset": "shop", "source_uri": source["source"]})
    assert request(shop, **source).slice_key == "day_03"


def test_subfolder_named_like_the_slice_is_taken_if_there_is_one(shop: Shop) -> None:
    own = shop.write(DROP, "day_00")
    assert request(shop, source=str(shop.folder)).source_uri == str(own)
    assert request(shop, source=str(own)).source_uri == str(own)
    assert request(shop, source=own.as_uri()).source_uri == str(own)
    drops = shop.store.uri(Bucket.LANDING, "drops")
    assert request(shop, source=f"{drops}/").source_uri == str(drops)
    shop.store.put_bytes(drops.child("day_00/orders.csv"), b"x", content_type="text/csv")
    assert request(shop, source=str(drops)).source_uri == f"{drops}/day_00"


def test_relative_source_of_the_spec_is_taken_from_the_specs_folder(shop: Shop) -> None:
    shop.spec["slices"]["source"] = "../drops"
    shop.write_spec()
    assert request(shop).source_uri == str(shop.folder / "drops" / "day_00")


def test_dated_naming_without_a_beginning_needs_the_slices_name(shop: Shop) -> None:
    shop.spec["slices"]["naming"] = {"pattern": "{date:%Y-%m}"}
    shop.write_spec()
    with pytest.raises(PermanentError, match="name the slice"):
        request(shop, source="/x")
    assert request(shop, source="/x", slice_key="2024-02").slice_key == "2024-02"
