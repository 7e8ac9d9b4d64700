"""The spec and the files that `headrace sample rakuten` writes, by shares."""

import csv
import shutil
from pathlib import Path

import pytest

from cli.sample.rakuten import write_rakuten
from tests.conftest import REPOSITORY
from tests.integration.ingestor.catalogue import rows_of
from tests.integration.ingestor.conftest import Shop


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rakuten(tmp_path_factory.mktemp("sample") / "rakuten", scale=0.02, images=5)


def test_catalogue_is_staged_whole_in_its_slices(shop: Shop, sample: Path) -> None:
    shutil.copy(REPOSITORY / "datasets" / "rakuten.yaml", shop.settings.datasets_dir)
    shop.spec = {"dataset": "rakuten"}
    shop.write_spec = lambda: None  # type: ignore[method-assign]  # the real one is there
    with (sample / "X_train.csv").open(newline="") as x, (sample / "Y_train.csv").open() as y:
        expected = [
            (int(product["productid"]), product["designation"], int(label["prdtypecode"]))
            for product, label in zip(csv.DictReader(x), csv.DictReader(y), strict=True)
        ]
    found, reached, rows = [], 0, len(expected)
    for slice_key in ("40%", "43%", "46%", "100%"):
        outcome = shop.handle(shop.event(sample, slice_key))
        assert (outcome.status, outcome.codes) == ("loaded", [])
        end = rows * int(slice_key[:-1]) // 100
        assert rows_of(outcome) == (reached, end, rows)
        assert outcome.load["rows_in"] == outcome.load["rows_loaded"] == 2 * (end - reached)
        products = shop.staged(outcome.load_id, "products")
        labels = shop.staged(outcome.load_id, "labels")
        found += [
            (product["productid"], product["designation"], label["prdtypecode"])
            for product, label in zip(products, labels, strict=True)
        ]
        assert [p["productid"] for p in products] == [label["productid"] for label in labels]
        shop.publish(outcome)
        reached = end
    assert found == expected
