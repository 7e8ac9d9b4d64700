"""The pictures of rows: found beside the slice, kept once, counted where they are missing."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from shared.database.image_rows import keep_staged_images, staged_images
from shared.errors import InvalidSpec, ServerUnavailable
from shared.object_store import Bucket, ObjectStore, ObjectUri
from shared.reading.sources import LocalFolder
from tests.integration.ingestor.conftest import Outcome, Shop

RED, BLUE = b"\xff\xd8red", b"\xff\xd8blue"
SKUS = b"sku,photo\nA,1\nB,2\nC,3\nD,\n"


@pytest.fixture
def pictured(shop: Shop) -> Shop:
    """The shop with goods that have pictures."""
    shop.spec["tables"] = {
        "goods": {
            "key": ["sku"],
            "columns": {"sku": "string", "photo": "integer"},
            "images": {"file": "images/{sku}_{photo}.jpg"},
        }
    }
    return shop


def drop(shop: Shop, name: str, files: Mapping[str, bytes]) -> Path:
    """A folder with these files, in subfolders too."""
    folder = shop.folder / name
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return folder


def staged(shop: Shop, outcome: Outcome, table: str = "goods") -> dict[str, dict[str, Any]]:
    """What is staged of pictures, by key."""
    name = staged_images(shop.spec["dataset"], table, outcome.load_id)
    with shop.engine.connect() as connection:
        rows = connection.execute(text(f"SELECT * FROM {name}")).mappings()
        return {row["row_key"]: dict(row) for row in rows}


def states(shop: Shop, outcome: Outcome) -> dict[str, str]:
    return {key: row["state"] for key, row in staged(shop, outcome).items()}


def audited(shop: Shop, outcome: Outcome) -> None:
    """What the validator does with the pictures of a slice that it lets pass."""
    with shop.engine.begin() as connection:
        keep_staged_images(connection, shop.spec["dataset"], shop.spec["tables"], outcome.load_id)


def known(shop: Shop) -> list[tuple[Any, ...]]:
    with shop.engine.connect() as connection:
        rows = connection.execute(
            text("""
            SELECT row_key, state, file, sha256, uri, bytes, load_id
            FROM headrace.images ORDER BY row_key""")
        )
        return [tuple(row) for row in rows]


def stored(shop: Shop) -> dict[str, bytes]:
    prefix = shop.store.uri(Bucket.IMAGES, "")
    return {found.uri.key: shop.store.get_bytes(found.uri) for found in shop.store.list(prefix)}


def test_a_picture_is_kept_under_its_content_and_one_that_is_missing_is_counted(
    pictured: Shop,
) -> None:
    source = drop(pictured, "one", {"goods.csv": SKUS, "images/A_1.jpg": RED})
    outcome = pictured.handle(pictured.event(source))
    assert outcome.status == "loaded"
    assert outcome.load["images"] == {
        "goods": {"rows": 4, "present": 1, "missing": 3, "bytes": len(RED)}
    }
    digest = hashlib.sha256(RED).hexdigest()
    assert stored(pictured) == {f"shop/{digest}.jpg": RED}
    uri = str(pictured.store.uri(Bucket.IMAGES, f"shop/{digest}.jpg"))
    audited(pictured, outcome)
    nothing = (None, None, None, outcome.load_id)
    assert known(pictured) == [
        ("A", "stored", "images/A_1.jpg", digest, uri, len(RED), outcome.load_id),
        ("B", "missing", "images/B_2.jpg", *nothing),
        ("C", "missing", "images/C_3.jpg", *nothing),
        ("D", "missing", "images/{sku}_{photo}.jpg", *nothing),
    ]


def test_the_same_picture_of_two_rows_is_one_object_that_is_written_once(
    pictured: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    put = ObjectStore.put_file

    def counting(self: ObjectStore, uri: ObjectUri, path: Path, **how: Any) -> None:
        if uri.bucket == pictured.settings.bucket(Bucket.IMAGES):
            written.append(uri.key)
        put(self, uri, path, **how)

    monkeypatch.setattr(ObjectStore, "put_file", counting)
    own = pictured.settings.model_copy(update={"image_threads": 1})
    pictured.settings = own
    first = {"goods.csv": SKUS, "images/A_1.jpg": RED, "images/B_2.jpg": RED}
    pictured.handle(pictured.event(drop(pictured, "one", first)))
    again = {"goods.csv": SKUS + b"E,5\n", "images/A_1.jpg": RED, "images/E_5.JPG": RED}
    outcome = pictured.handle(pictured.event(drop(pictured, "two", again)))
    assert len(written) == 1
    assert len(stored(pictured)) == 1
    assert outcome.load["images"]["goods"]["present"] == 1


def test_referenced_pictures_stay_where_they_are_and_ignored_ones_are_not_looked_for(
    pictured: Shop,
) -> None:
    goods = pictured.spec["tables"]["goods"]
    source = drop(pictured, "one", {"goods.csv": SKUS, "images/B_2.jpg": BLUE})
    goods["images"]["mode"] = "reference"
    outcome = pictured.handle(pictured.event(source))
    assert staged(pictured, outcome)["B"] == {
        "row_key": "B",
        "file": "images/B_2.jpg",
        "state": "referenced",
        "sha256": None,
        "uri": (source / "images/B_2.jpg").as_uri(),
        "bytes": len(BLUE),
    }
    assert outcome.load["images"]["goods"]["present"] == 1
    goods["images"]["mode"] = "ignore"
    outcome = pictured.handle(pictured.event(source, slice_key="day_01"))
    assert outcome.load["images"] is None
    assert stored(pictured) == {}


def test_a_load_that_is_done_again_says_the_same(pictured: Shop) -> None:
    files = {"goods.csv": SKUS, "images/A_1.jpg": RED, "images/C_3.jpg": BLUE}
    event = pictured.event(drop(pictured, "one", files))
    first = pictured.handle(event)
    before = staged(pictured, first)
    objects = stored(pictured)
    pictured.run("DELETE FROM headrace.inbox")
    pictured.run("DELETE FROM headrace.outbox")
    second = pictured.handle(event)
    assert (staged(pictured, second), stored(pictured)) == (before, objects)
    assert second.load["images"] == first.load["images"]
    audited(pictured, second)
    rows = known(pictured)
    audited(pictured, second)
    assert known(pictured) == rows


def test_a_rejected_load_leaves_what_is_known_and_a_later_slice_brings_it_up_to_date(
    pictured: Shop,
) -> None:
    outcome = pictured.handle(
        pictured.event(drop(pictured, "one", {"goods.csv": SKUS, "images/A_1.jpg": RED}))
    )
    audited(pictured, outcome)
    before = known(pictured)
    bad = {"goods.csv": b"sku,photo\nA,1\nA,x\n", "images/A_1.jpg": BLUE}
    rejected = pictured.handle(pictured.event(drop(pictured, "two", bad), slice_key="day_01"))
    assert rejected.status == "rejected"
    assert rejected.load["images"] is None
    audited(pictured, rejected)
    assert known(pictured) == before
    assert len(stored(pictured)) == 1
    better = {"goods.csv": b"sku,photo\nB,2\n", "images/B_2.jpg": BLUE}
    later = pictured.handle(pictured.event(drop(pictured, "three", better), slice_key="day_01"))
    audited(pictured, later)
    assert [(row[0], row[1], row[-1] == later.load_id) for row in known(pictured)] == [
        ("A", "stored", False),
        ("B", "stored", True),
        ("C", "missing", False),
        ("D", "missing", False),
    ]


def test_an_empty_text_is_a_key_like_any_other(pictured: Shop) -> None:
    pictured.spec["tables"]["goods"] |= {"format": {"null_values": ["NULL"]}}
    source = drop(pictured, "one", {"goods.csv": b"sku,photo\n,1\n", "images/_1.jpg": RED})
    assert states(pictured, pictured.handle(pictured.event(source))) == {"": "stored"}


def test_keys_of_several_columns_stay_apart_whatever_stands_in_them(pictured: Shop) -> None:
    goods = pictured.spec["tables"]["goods"]
    goods |= {
        "key": ["hall", "shelf"],
        "columns": {"hall": "string", "shelf": "string"},
        "images": {"file": "{hall}{shelf}.png"},
        "format": {"null_values": ["NULL"]},
    }
    rows = b'hall,shelf\n"a,b",c\na,"b,c"\n"a"",""b",c\n,ab\n'
    source = drop(pictured, "one", {"goods.csv": rows, "ab.png": RED})
    outcome = pictured.handle(pictured.event(source))
    assert outcome.status == "loaded"
    found = states(pictured, outcome)
    assert len(found) == 4
    assert found['["", "ab"]'] == "stored"
    assert outcome.load["images"]["goods"]["missing"] == 3


@pytest.mark.parametrize(
    "sku",
    [
        "../secret",
        "../one/images/inside",
        "/etc/hostname",
        "./inside",
        "link_out",
        "folder_out/secret",
        "x" * 2000,  # longer than a file system takes, and short enough for a key
    ],
)
def test_no_file_outside_the_folder_is_ever_reached(pictured: Shop, sku: str) -> None:
    """Neither copied nor spoken of."""
    pictured.spec["tables"]["goods"] = {
        "key": ["sku"],
        "columns": {"sku": "string"},
        "images": {"file": "{sku}"},
    }
    content = {"goods.csv": f"sku\n{sku}\nimages/inside\n".encode(), "images/inside": BLUE}
    source = drop(pictured, "one", content)
    outside = drop(pictured, "outside", {"secret": RED})
    drop(pictured, ".", {"secret": RED})
    (source / "link_out").symlink_to(outside / "secret")
    (source / "folder_out").symlink_to(outside)
    outcome = pictured.handle(pictured.event(source))
    assert states(pictured, outcome) == {sku: "missing", "images/inside": "stored"}
    assert list(stored(pictured).values()) == [BLUE]
    pictured.spec["tables"]["goods"]["images"]["mode"] = "reference"
    outcome = pictured.handle(pictured.event(source, slice_key="day_01"))
    assert states(pictured, outcome) == {sku: "missing", "images/inside": "referenced"}


def test_pictures_below_a_prefix_of_the_store_are_found_and_no_others(pictured: Shop) -> None:
    prefix = pictured.store.uri(Bucket.LANDING, "drops/one")
    objects = {
        "goods.csv": b"sku,photo\nA,1\nB,2\n../C,3\ndeep/E,5\n" + b"F" * 1100 + b",6\n",
        "images/A_1.jpg": RED,
        "images/A_1.jpgx": BLUE,
        "images/deep/E_5.jpg": BLUE,
        "C_3.jpg": RED,
    }
    for name, content in objects.items():
        pictured.store.put_bytes(prefix.child(name), content, content_type="x/y")
    outcome = pictured.handle(pictured.event(prefix))
    assert states(pictured, outcome) == {
        "A": "stored",
        "B": "missing",
        "../C": "missing",
        "deep/E": "stored",
        "F" * 1100: "missing",
    }
    assert sorted(stored(pictured).values()) == sorted([RED, BLUE])
    pictured.spec["tables"]["goods"]["images"]["mode"] = "reference"
    outcome = pictured.handle(pictured.event(prefix, slice_key="day_01"))
    assert staged(pictured, outcome)["A"]["uri"] == f"{prefix}/images/A_1.jpg"


def test_many_pictures_of_the_store_take_no_more_requests_than_pages_and_few_one_each(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.uri(Bucket.LANDING, "pictures")
    there = {f"{n:03d}.jpg": 1 + n % 7 for n in range(0, 120, 2)}
    for name, size in there.items():
        store.put_bytes(folder.child(name), b"x" * size, content_type="image/jpeg")
    store.put_bytes(folder.child("001/deeper.jpg"), b"x", content_type="image/jpeg")
    requests: list[str] = []
    list_objects = store._client.list_objects_v2

    def counting(**asked: Any) -> Any:
        requests.append(asked.get("StartAfter", ""))
        return list_objects(**asked, MaxKeys=25)

    monkeypatch.setattr(store._client, "list_objects_v2", counting)
    assert store.sizes(folder, [f"{n:03d}.jpg" for n in range(130)]) == there
    assert len(requests) <= 4
    requests.clear()
    assert store.sizes(folder, ["000.jpg", "001", "119.jpg"]) == {"000.jpg": 1}
    assert len(requests) <= 3
    # Nothing that is sought lies in the first pages: they have only names in between.
    for n in range(60):
        store.put_bytes(folder.child(f"2{n:02d}"), b"xy", content_type="image/jpeg")
    assert store.sizes(folder, ["3", "259", "2"]) == {"259": 2}


def test_a_picture_that_goes_while_it_is_taken_is_missing(
    pictured: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = drop(pictured, "one", {"goods.csv": SKUS, "images/A_1.jpg": RED})
    sizes = LocalFolder.sizes

    def then_gone(self: LocalFolder, names: Collection[str]) -> dict[str, int]:
        found = sizes(self, names)
        (source / "images/A_1.jpg").unlink()
        return found

    monkeypatch.setattr(LocalFolder, "sizes", then_gone)
    outcome = pictured.handle(pictured.event(source))
    assert outcome.load["images"]["goods"] == {"rows": 4, "present": 0, "missing": 4, "bytes": 0}


def test_a_store_that_goes_away_stages_nothing_and_is_tried_again(
    pictured: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = drop(pictured, "one", {"goods.csv": SKUS, "images/A_1.jpg": RED})
    event = pictured.event(source)

    def away(self: ObjectStore, uri: ObjectUri, path: Path, **how: Any) -> None:
        raise ServerUnavailable("the S3 store", "away")

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "exists", lambda self, uri: uri.bucket.endswith("landing"))
        patched.setattr(ObjectStore, "put_file", away)
        with pytest.raises(ServerUnavailable):
            pictured.handle(event)
    assert pictured.outcome(event.id).status == "loading"
    assert pictured.handle(event).load["images"]["goods"]["present"] == 1


def test_a_name_that_cannot_be_filled_in_is_an_invalid_spec(pictured: Shop) -> None:
    pictured.spec["tables"]["goods"]["images"]["file"] = "{sku:05d}.jpg"
    source = drop(pictured, "one", {"goods.csv": SKUS})
    with pytest.raises(InvalidSpec, match=r"\{sku:05d\}\.jpg"):
        pictured.handle(pictured.event(source))


def test_rows_are_read_and_looked_for_in_parts(
    pictured: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ingestor.images.ROWS_AT_ONCE", 100)
    most: list[int] = []
    sizes = LocalFolder.sizes

    def watched(self: LocalFolder, names: Collection[str]) -> dict[str, int]:
        most.append(len(names))
        return sizes(self, names)

    monkeypatch.setattr(LocalFolder, "sizes", watched)
    rows = "".join(f"s{n},{n}\n" for n in range(1050))
    files = {"goods.csv": f"sku,photo\n{rows}".encode()}
    files |= {f"images/s{n}_{n}.jpg": RED + bytes([n]) for n in range(0, 250, 5)}
    outcome = pictured.handle(pictured.event(drop(pictured, "one", files)))
    assert (len(most), max(most)) == (11, 100)
    assert outcome.load["images"]["goods"]["present"] == 50
    assert list(states(pictured, outcome).values()).count("stored") == 50
