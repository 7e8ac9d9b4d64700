"""Invented files of the Rakuten catalogue: the real ones' names, columns, size and dirt."""

import csv
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.sample.catalogue_texts import Author
from cli.sample.catalogue_words import class_sizes, read_classes, read_phrases
from cli.sample.pictures import jpeg
from shared.errors import HeadraceError

TEST_ROWS = 13_812
SMALLEST_CLASS = 12
PRODUCT_IDS = range(50_418_756, 4_252_011_633)
IMAGE_IDS = range(67_284, 1_328_824_265)
MARKUP_DESIGNATIONS = ("<br />", "<p>&nbsp;</p>", "<b></b>")
ROWS_PER_MARKUP_DESIGNATION = 12_000
PICTURES_TO_A_TWIN = 25
"""Every so many pictures one is the same, byte by byte, as the one before."""


@dataclass(frozen=True, slots=True)
class _Product:
    code: int
    product_id: int
    image_id: int


def write_rakuten(folder: Path, *, scale: float = 1.0, images: int = 300, seed: int = 7) -> Path:
    """Write X_train.csv, Y_train.csv, X_test.csv and `images` pictures, and return `folder`.

    The same arguments give the same bytes. At scale 1 the classes have the published sizes, 84,916
    products in all; at another one their shares, with 12 products at least. Rows come in no order
    of classes. Pictures are spread evenly over the rows, so that every slice has some.

    Raises HeadraceError if `folder` has something in it.
    """
    if folder.exists() and any(folder.iterdir()):
        raise HeadraceError(f"{folder} isn't empty: name a new folder")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)  # noqa: S311 - sample data, no secret
    sizes = scaled_sizes(class_sizes(), scale)
    train, test = _products(rng, sizes, round(TEST_ROWS * scale))
    classes = read_classes(rng)
    author = Author(rng, classes, read_phrases({words.group for words in classes.values()}))
    _write_texts(folder / "X_train.csv", train, 0, author, rng)
    _write_labels(folder / "Y_train.csv", train)
    _write_texts(folder / "X_test.csv", test, len(train), author, rng)
    _write_images(folder / "images", train, images, rng)
    return folder


def scaled_sizes(sizes: dict[int, int], scale: float) -> dict[int, int]:
    """`sizes` times `scale`, adding up to the rounded whole: largest remainders are rounded up.

    No class falls below the smallest size; what that adds is taken from the largest ones.
    """
    whole = round(sum(sizes.values()) * scale)
    exact = {code: size * scale for code, size in sizes.items()}
    scaled = {code: int(size) for code, size in exact.items()}
    by_remainder = sorted(exact, key=lambda code: (scaled[code] - exact[code], code))
    for code in by_remainder[: whole - sum(scaled.values())]:
        scaled[code] += 1
    scaled = {code: max(SMALLEST_CLASS, size) for code, size in scaled.items()}
    while sum(scaled.values()) > whole and max(scaled.values()) > SMALLEST_CLASS:
        scaled[max(scaled, key=lambda code: scaled[code])] -= 1
    return scaled


def _products(
    rng: random.Random, sizes: dict[int, int], test_rows: int
) -> tuple[list[_Product], list[_Product]]:
    """Keys and classes of the rows for training, shuffled, and of those for the test."""
    codes = [code for code, size in sizes.items() for _ in range(size)]
    rng.shuffle(codes)
    rows = len(codes)
    codes += rng.choices(list(sizes), weights=list(sizes.values()), k=test_rows)
    product_ids = rng.sample(PRODUCT_IDS, len(codes))
    image_ids = rng.sample(IMAGE_IDS, len(codes))
    products = [_Product(*row) for row in zip(codes, product_ids, image_ids, strict=True)]
    return products[:rows], products[rows:]


def _write_texts(
    path: Path, products: Sequence[_Product], first_row: int, author: Author, rng: random.Random
) -> None:
    markup_alone = set(
        rng.sample(range(len(products)), 1 + len(products) // ROWS_PER_MARKUP_DESIGNATION)
    )

    def rows() -> Iterable[Sequence[object]]:
        for at, product in enumerate(products):
            designation, description = author.product(product.code)
            if at in markup_alone:
                designation = rng.choice(MARKUP_DESIGNATIONS)
            keys = (product.product_id, product.image_id)
            yield (first_row + at, designation, description, *keys)

    _write(path, ("", "designation", "description", "productid", "imageid"), rows())


def _write_labels(path: Path, products: Sequence[_Product]) -> None:
    _write(path, ("", "prdtypecode"), ((at, p.code) for at, p in enumerate(products)))


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_images(
    folder: Path, products: Sequence[_Product], count: int, rng: random.Random
) -> None:
    count = min(count, len(products))
    picture = b""
    for number in range(count):
        product = products[number * len(products) // count]
        if number % PICTURES_TO_A_TWIN or not number:
            picture = jpeg(rng)
        name = f"image_{product.image_id}_product_{product.product_id}.jpg"
        (folder / name).write_bytes(picture)
