"""The invented Rakuten catalogue: the real one's files, size and dirt, from a seed."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC
from typer.testing import CliRunner

from cli.main import app
from cli.sample import write_rakuten
from cli.sample.rakuten import SMALLEST_CLASS, scaled_sizes

PUBLISHED_SIZES = {
    2583: 10209, 1560: 5073, 1300: 5045, 2060: 4993, 2522: 4989, 1280: 4870, 2403: 4774,
    2280: 4760, 1920: 4303, 1160: 3953, 1320: 3241, 10: 3116, 2705: 2761, 1140: 2671, 2582: 2589,
    40: 2508, 2585: 2496, 1302: 2491, 1281: 2070, 50: 1681, 2462: 1421, 2905: 872, 60: 832,
    2220: 824, 1301: 807, 1940: 803, 1180: 764,
}  # fmt: skip
ROWS = 84_916
TEST_ROWS = 13_812
COLUMNS = ["designation", "description", "productid", "imageid"]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rakuten(tmp_path_factory.mktemp("rakuten"), images=0)


@pytest.fixture(scope="module")
def products(full: Path) -> pd.DataFrame:
    return pd.read_csv(full / "X_train.csv", index_col=0)


@pytest.fixture(scope="module")
def labels(full: Path) -> pd.DataFrame:
    return pd.read_csv(full / "Y_train.csv", index_col=0)


@pytest.fixture(scope="module")
def tenth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rakuten(tmp_path_factory.mktemp("tenth"), scale=0.1)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    one, same, other = (
        files(write_rakuten(tmp_path / name, scale=0.01, images=30, seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one == same
    assert len(one) == 3 + 30
    assert all(one[name] != other[name] for name in ("X_train.csv", "Y_train.csv", "X_test.csv"))


def test_at_full_size_the_classes_have_the_published_sizes(labels: pd.DataFrame) -> None:
    assert labels["prdtypecode"].value_counts().to_dict() == PUBLISHED_SIZES


def test_the_headers_are_the_real_ones_the_row_number_unnamed(full: Path) -> None:
    for name, head in (
        ("X_train.csv", b",designation,description,productid,imageid\n"),
        ("Y_train.csv", b",prdtypecode\n"),
        ("X_test.csv", b",designation,description,productid,imageid\n"),
    ):
        assert (full / name).read_bytes().startswith(head)


def test_rows_are_numbered_alike_in_both_files_and_go_on_in_the_test_file(
    full: Path, products: pd.DataFrame, labels: pd.DataFrame
) -> None:
    assert list(products.index) == list(labels.index) == list(range(ROWS))
    test = pd.read_csv(full / "X_test.csv", index_col=0)
    assert list(products.columns) == list(test.columns) == COLUMNS
    assert list(test.index) == list(range(ROWS, ROWS + TEST_ROWS))
    for key in ("productid", "imageid"):
        assert pd.concat([products[key], test[key]]).is_unique
    assert products["productid"].max() > 2**31, "ids need 64 bits, as the real ones do"


def test_every_step_of_three_percent_has_its_share_of_each_large_class(
    labels: pd.DataFrame,
) -> None:
    whole = labels["prdtypecode"].value_counts(normalize=True)
    for percent in range(40, 100, 3):
        step = labels[ROWS * percent // 100 : ROWS * (percent + 3) // 100]
        shares = step["prdtypecode"].value_counts(normalize=True)
        assert set(shares.index) == set(PUBLISHED_SIZES)
        assert (shares - whole).abs().max() < 0.03


def test_a_third_of_the_descriptions_is_empty_and_no_designation_is(
    products: pd.DataFrame,
) -> None:
    assert 0.303 < products["description"].isna().mean() < 0.363
    assert products["designation"].notna().all()


def test_texts_have_the_dirt_of_real_ones(full: Path, products: pd.DataFrame) -> None:
    told = products["description"].dropna()
    raw = (full / "X_train.csv").read_text(encoding="utf-8")
    assert '""' in raw
    for pattern in ("\n", "<br />", "<p>", "<b>", "<ul><li>", "&eacute;", "&amp;", "&#39;",
                    "&nbsp;", ";", ",", "é"):  # fmt: skip
        assert told.str.contains(pattern, regex=False).mean() > 0.02, pattern
    bare = {
        column: products[column].dropna().str.replace(r"<[^>]+>|&nbsp;", "", regex=True)
        for column in ("designation", "description")
    }
    assert 1 <= (bare["designation"].str.strip() == "").sum() <= 20
    assert 50 <= (bare["description"].str.strip() == "").sum() <= 1000
    assert products["designation"].str.isupper().mean() > 0.03
    assert 60 < products["designation"].str.len().mean() < 80
    assert 500 < told.str.len().mean() < 800


def test_texts_are_in_french_english_and_german(products: pd.DataFrame) -> None:
    told = products["description"].dropna().str.lower()
    shares = {
        language: told.str.contains(rf"\b(?:{words})\b", regex=True).mean()
        for language, words in (("fr", "pour|avec|une"), ("en", "the|with"), ("de", "und|für|aus"))
    }
    assert shares["fr"] > shares["en"] > shares["de"] > 0.05


def test_pictures_are_named_for_their_products_and_reach_every_slice(tenth: Path) -> None:
    products = pd.read_csv(tenth / "X_train.csv")
    rows = {
        f"image_{image}_product_{product}.jpg": at
        for at, (image, product) in enumerate(products[["imageid", "productid"]].to_numpy())
    }
    pictures = list((tenth / "images").iterdir())
    assert len(pictures) == 300
    at = sorted(rows[picture.name] for picture in pictures)
    for percent in range(40, 100, 3):
        start, end = (len(products) * edge // 100 for edge in (percent, percent + 3))
        assert any(start <= row < end for row in at)
    for picture in pictures[:20]:
        with Image.open(picture) as image:
            image.load()
            assert (image.format, image.size) == ("JPEG", (32, 32))
    contents = {picture.read_bytes() for picture in pictures}
    assert 280 <= len(contents) < 300, "a few products share one picture"


def test_a_linear_text_model_of_a_tenth_of_the_catalogue_finds_classes_that_overlap(
    tenth: Path,
) -> None:
    texts = pd.read_csv(tenth / "X_train.csv").fillna("")
    labels = pd.read_csv(tenth / "Y_train.csv")["prdtypecode"]
    first = len(texts) * 40 // 100
    x = (texts["designation"] + " " + texts["description"])[:first]
    x = x.str.replace(r"<[^>]+>", " ", regex=True)
    y = labels[:first]
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=0.2, random_state=1, stratify=y
    )
    terms = make_union(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), min_df=3, sublinear_tf=True),
    )
    model = make_pipeline(terms, LinearSVC(C=0.25)).fit(x_train, y_train)
    assert 0.75 <= f1_score(y_test, model.predict(x_test), average="weighted") <= 0.92


@pytest.mark.parametrize("scale", [0.005, 0.0137, 0.1, 0.33, 1.0, 2.0])
def test_scaled_classes_add_up_and_keep_their_shares(scale: float) -> None:
    sizes = scaled_sizes(PUBLISHED_SIZES, scale)
    assert sum(sizes.values()) == round(ROWS * scale)
    assert min(sizes.values()) >= SMALLEST_CLASS
    if min(PUBLISHED_SIZES.values()) * scale >= SMALLEST_CLASS:
        assert all(abs(sizes[code] - size * scale) < 1 for code, size in PUBLISHED_SIZES.items())


def test_a_folder_with_something_in_it_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = CliRunner().invoke(app, ["sample", "rakuten", str(tmp_path), "--scale", "0.01"])
    assert done.exit_code == 1
    assert "isn't empty" in done.stderr
    assert files(tmp_path) == {"mine.txt": b"mine"}


def test_the_command_writes_the_files_and_says_where(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    done = CliRunner().invoke(
        app, ["sample", "rakuten", str(folder), "--scale", "0.01", "--images", "5"]
    )
    assert (done.exit_code, done.stdout.strip()) == (0, str(folder))
    assert len(pd.read_csv(folder / "X_train.csv")) == 849
    assert len(list((folder / "images").glob("image_*_product_*.jpg"))) == 5
