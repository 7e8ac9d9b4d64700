"""Asking for the next share, up to the whole and beyond."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from cli.main import app as command
from services.ingestor.api import router
from shared.load_requests import NothingToLoad, load_request
from shared.service import Resources
from tests.integration.ingestor.catalogue import catalogue, use_catalogue
from tests.integration.ingestor.conftest import Shop
from tests.integration.ingestor.test_ingestor_api import Client


@pytest.fixture
def goods(shop: Shop) -> Shop:
    shop = use_catalogue(shop)
    shop.spec["slices"]["increment"] = {"initial": 40, "step": 30}
    shop.write_spec()
    return shop


@pytest.fixture
def client(goods: Shop) -> Client:
    resources = Resources(goods.settings, goods.engine, goods.store, goods.clock, lambda: None)
    app = FastAPI()
    app.include_router(router(resources))
    return Client(app)


def request(goods: Shop, **how: Any) -> Any:
    with goods.engine.connect() as connection:
        return load_request(connection, goods.settings, dataset="goods", requested_by="test", **how)


def load_next(goods: Shop, **how: Any) -> str:
    requested = request(goods, **how)
    event = goods.event(requested.source_uri, requested.slice_key, requested.as_of)
    goods.publish(goods.handle(event))
    return str(requested.slice_key)


def load_all(goods: Shop) -> None:
    folder = goods.write(catalogue(100))
    assert [load_next(goods, source=str(folder)), load_next(goods), load_next(goods)] == [
        "40%",
        "70%",
        "100%",
    ]


def test_source_of_the_load_before_is_taken_again_up_to_the_whole(goods: Shop) -> None:
    load_all(goods)
    with pytest.raises(NothingToLoad, match=r"^nothing to load: goods has reached 100%$"):
        request(goods)
    assert request(goods, slice_key="70%").slice_key == "70%", "by its name it comes again"


def test_shares_that_were_refused_are_named(goods: Shop) -> None:
    load_all(goods)
    goods.run("UPDATE headrace.loads SET status = 'rejected' WHERE slice_key = '70%'")
    goods.run("DELETE FROM headrace.slices WHERE slice_key = '70%'")
    with pytest.raises(NothingToLoad) as caught:
        request(goods)
    assert caught.value.refused == ("70%",)
    assert "without the rows of 70%, which was refused" in str(caught.value)
    goods.publish(goods.handle(goods.event(goods.folder / "drop", "70%")))
    with pytest.raises(NothingToLoad) as caught:
        request(goods)
    assert caught.value.refused == ()


def test_request_for_more_than_all_is_answered_and_not_accepted(
    goods: Shop, client: Client
) -> None:
    load_all(goods)
    answer = client.post("/loads", json={"dataset": "goods"}, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "nothing_to_load",
        "dataset": "goods",
        "slice_key": "100%",
        "refused": [],
        "detail": "nothing to load: goods has reached 100%",
    }
    named = client.post("/loads", json={"dataset": "goods", "slice_key": "70%"})
    assert named.status_code == 202
    refused = client.post(
        "/loads", json={"dataset": "goods", "slice_key": "x", "as_of": "2024-01-01"}
    )
    assert refused.status_code == 422
    assert "is no share like '40%'" in refused.json()["detail"]


def test_both_answers_are_documented(client: Client) -> None:
    said = client.get("/openapi.json").json()["paths"]["/loads"]["post"]["responses"]
    schemas = {code: said[code]["content"]["application/json"]["schema"] for code in ("200", "202")}
    assert "NothingLeft" in json.dumps(schemas["200"])
    assert "NothingLeft" not in json.dumps(schemas["202"])


def test_loads_rows_and_percentage_can_be_asked_for(goods: Shop, client: Client) -> None:
    outcome = goods.handle(goods.event(goods.write(catalogue(99)), "70%"))
    found = client.get(f"/loads/{outcome.load_id}").json()
    assert (found["percentage"], found["first_row"], found["end_row"]) == (70.0, 0, 69)
    assert found["source_rows"] == 99


def test_same_key_holds_on_another_day(goods: Shop, client: Client) -> None:
    body = {"dataset": "goods", "source_uri": str(goods.write(catalogue(99)))}
    first = client.post("/loads", json=body, headers={"Idempotency-Key": "k"})
    goods.run("""
        UPDATE headrace.outbox
        SET headers = headers || '{"ce_time": "2024-05-01T10:00:00+00:00"}',
            value = convert_to(
                jsonb_set(convert_from(value, 'UTF8')::jsonb, '{as_of}', '"2024-05-01"')::text,
                'UTF8'
            )
    """)
    assert client.post("/loads", json=body, headers={"Idempotency-Key": "k"}).json() == first.json()


def test_command_says_that_nothing_is_left_and_does_not_fail(
    goods: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_all(goods)
    settings = goods.settings
    for name, value in {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "S3_ENDPOINT_URL": settings.s3_endpoint_url,
        "DATASETS_DIR": str(settings.datasets_dir),
    }.items():
        monkeypatch.setenv(name, str(value))
    run = ["load", "goods", "--root", str(goods.folder / "none")]
    told = CliRunner().invoke(command, run)
    assert (told.exit_code, told.stdout) == (0, "nothing to load: goods has reached 100%\n")
    told = CliRunner().invoke(command, [*run, "--json", "--wait"])
    assert told.exit_code == 0
    found = json.loads(told.stdout)
    assert (found["status"], found["slice_key"]) == ("nothing_to_load", "100%")
