"""A dataset that no code knows: declared in one YAML file, loaded from folders and from S3."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.embedded.services import SERVICES
from shared.object_store import ObjectStore, ObjectUri
from tests.e2e.conftest import Headrace
from tests.waiting import wait_until

SHOPS = "shop,Town of shop,opened,ignored\nN,Lyon,2019-05-01,x\nS,Ulm,,y\n"
SALES = "shop;product;pieces;takings\nN;Br\xf6tchen;120;84.0\nN;bread;n/a;n/a\nS;bread;7;31.5\n"


def put(folder: Path, day: str, shops: str, *sales: str) -> Path:
    target = folder / day
    target.mkdir(parents=True)
    (target / "shops.csv").write_text(shops)
    for number, part in enumerate(sales):
        (target / f"sales-{number}.csv").write_bytes(part.encode("latin-1"))
    return target


def test_a_folder_of_ones_own_is_loaded_without_touching_code(
    headrace: Headrace, tmp_path: Path
) -> None:
    put(tmp_path, "2024-03-01", SHOPS, SALES)
    done = headrace.json("load", "bakery", "--from", str(tmp_path), "--wait")

    assert done["status"] == "published"
    assert done["model_version"] is None, "the spec has no training"
    assert headrace.query("SELECT shop, town, opened::text FROM bakery.shops ORDER BY shop") == [
        ("N", "Lyon", "2019-05-01"),
        ("S", "Ulm", None),
    ]
    sales = "SELECT shop, product, pieces, takings FROM bakery.sales ORDER BY shop, product"
    assert [tuple(row) for row in headrace.query(sales)] == [
        ("N", "Brötchen", 120, 84.0),
        ("N", "bread", None, None),
        ("S", "bread", 7, 31.5),
    ]


def test_the_next_slice_within_its_budget_quarantines_and_deletes_what_is_absent(
    headrace: Headrace, tmp_path: Path
) -> None:
    shops = "shop,Town of shop\nN,Lyon\nE,Graz\n"
    sales = "shop;product;pieces;takings\nE;bread;3;9\nE;bread;4;12\nN;cake;many;1\n"
    put(tmp_path, "2024-03-02", shops, sales, "shop;product;pieces;takings\nN;bread;5;15\n")
    done = headrace.json("load", "bakery", "--from", str(tmp_path), "--wait")

    assert (done["rows_in"], done["rows_loaded"], done["rows_quarantined"]) == (6, 4, 2)
    assert done["changes"]["shops"] == {"inserted": 1, "updated": 1, "unchanged": 0, "deleted": 1}
    rejected = headrace.json("rejects", done["load_id"])["rows"]
    assert {(row["table_name"], row["code"], row["record_number"]) for row in rejected} == {
        ("sales", "duplicate_key", 1),
        ("sales", "not_an_integer", 3),
    }
    history = headrace.query(
        "SELECT shop, as_of::text, operation FROM bakery.shops_history ORDER BY as_of, shop"
    )
    assert [tuple(row) for row in history] == [
        ("N", "2024-03-01", "insert"),
        ("S", "2024-03-01", "insert"),
        ("E", "2024-03-02", "insert"),
        ("N", "2024-03-02", "update"),
        ("S", "2024-03-02", "delete"),
    ]


def test_a_prefix_in_s3_is_a_source_and_the_api_starts_it_once(
    headrace: Headrace, tmp_path: Path
) -> None:
    store = ObjectStore(headrace.settings)
    place = ObjectUri.parse(f"s3://{headrace.settings.bucket('landing')}/incoming/2024-03-03")
    shops = "shop,Town of shop\nN,Lyon\nE,Graz\n"
    store.put_bytes(place.child("shops.csv"), shops.encode(), content_type="text/csv")
    store.put_bytes(place.child("sales-0.csv"), SALES.encode("latin-1"), content_type="text/csv")
    (ingestor,) = [each for each in headrace.stack.status() if each.name == "ingestor"]
    body = {"dataset": "bakery", "slice_key": "2024-03-03", "source_uri": str(place)}
    key = {"Idempotency-Key": "the third of March"}
    assert httpx.post(f"{ingestor.address}/loads", json=body, headers=key).status_code == 401
    token = {"Authorization": f"Bearer {headrace.run('token').strip()}"}

    with httpx.Client(base_url=ingestor.address, timeout=20, headers=token) as client:
        first = client.post("/loads", json=body, headers=key)
        again = client.post("/loads", json=body, headers=key)
        assert (first.status_code, again.status_code) == (202, 202)
        load_id = first.json()["load_id"]
        assert again.json()["load_id"] == load_id

        def status() -> Any:
            found = client.get(f"/loads/{load_id}").json()
            return found if found["status"] in {"published", "rejected", "failed"} else None

        found = wait_until(status, seconds=60)
    assert found["status"] == "rejected", "shop S is no shop any more"
    assert "S" in str(found["reasons"])
    loads = [row for row in headrace.json("loads", "bakery") if row["slice_key"] == "2024-03-03"]
    assert len(loads) == 1


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({"dataset": "nothing"}, 404, "no dataset 'nothing'"),
        ({"dataset": "bakery", "slice_key": "tuesday", "source_uri": "/x"}, 422, "not named like"),
        ({"dataset": "bakery", "slice_key": "2024-03-04"}, 422, "source"),
        ({}, 422, "dataset"),
    ],
)
def test_a_request_that_can_not_work_is_refused_at_once(
    headrace: Headrace, body: dict[str, str], code: int, said: str
) -> None:
    (ingestor,) = [each for each in headrace.stack.status() if each.name == "ingestor"]
    token = {"Authorization": f"Bearer {headrace.run('token').strip()}"}
    answer = httpx.post(f"{ingestor.address}/loads", json=body, headers=token, timeout=20)
    assert answer.status_code == code, answer.text
    assert said in answer.text


@pytest.mark.parametrize("service", [spec.name for spec in SERVICES])
def test_every_service_answers_for_itself(headrace: Headrace, service: str) -> None:
    (found,) = [each for each in headrace.stack.status() if each.name == service]
    with httpx.Client(base_url=found.address, timeout=20) as client:
        assert client.get("/healthz").json()["status"] == "ok"
        assert client.get("/readyz").json() == {"status": "ready", "down": {}}
        assert "headrace_handler_seconds" in client.get("/metrics").text
        info = client.get("/info").json()
        assert (info["service"], info["is_connected"]) == (service, True)
        assert info["topics"]
        assert client.get("/openapi.json").json()["info"]["title"] == f"Headrace {service}"
        # FastAPI's page of the API loads scripts from a CDN, which the console's answers forbid.
        assert client.get("/docs").status_code == (404 if service == "console" else 200)


def test_a_load_of_what_is_not_there_ends_in_the_dead_letters_and_can_be_redriven(
    headrace: Headrace, tmp_path: Path
) -> None:
    place = tmp_path / "later" / "2024-03-05"
    said = headrace.run(
        "load", "bakery", "--slice", "2024-03-05", "--from", str(place), "--wait", code=1
    )
    assert "SourceNotFound" in said
    assert str(place) in said
    (dead,) = [row for row in headrace.json("dead", "list") if row["slice_key"] == "2024-03-05"]

    put(tmp_path / "later", "2024-03-05", "shop,Town of shop\nN,Lyon\n", SALES.split("S;")[0])
    headrace.run("dead", "redrive", str(dead["dead_letter_id"]))

    def published() -> bool:
        rows = [r for r in headrace.json("slices") if r["slice_key"] == "2024-03-05"]
        return bool(rows) and rows[0]["status"] == "published"

    wait_until(published, seconds=60)
