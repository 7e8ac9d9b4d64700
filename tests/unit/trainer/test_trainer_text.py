"""What is read of a text, and that it is read the same way when the model is asked."""

import re
import time
import unicodedata
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from typer.testing import CliRunner

from cli.main import app
from services.trainer.evaluation.importance import TERMS_KEPT, importances
from services.trainer.evaluation.measures import evaluate, scores_by_class
from services.trainer.modelling.cleaning import CleanedText, clean
from services.trainer.modelling.fit import UnfitModel, fit
from services.trainer.modelling.models import DENSE_KINDS, ESTIMATORS, make_pipeline, text_obstacle
from services.trainer.modelling.ngrams import StorableCounts
from services.trainer.modelling.stored_model import TRUSTED_TYPES, read_model
from shared.contracts.manifest import FeatureField
from shared.contracts.table_spec import ColumnType
from shared.contracts.training_spec import ModelChoice, Text
from shared.errors import InvalidSpec
from tests.conftest import REPOSITORY

FEATURES = tuple(
    FeatureField(name=f"t.{name}", table="t", column=name, kind=kind)
    for name, kind in (
        ("title", ColumnType.STRING),
        ("price", ColumnType.NUMBER),
        ("body", ColumnType.STRING),
        ("colour", ColumnType.STRING),
    )
)
TEXT = Text(features={"t": ("title", "body")}, character_ngrams=(3, 4), min_rows=1)
PARAMETERS = {
    "logistic_regression": {"C": 10.0, "max_iter": 500},
    "random_forest": {"n_estimators": 20},
    "linear_svm": {"C": 1.0},
}
WORDS = {
    "book": ["roman", "édition", "page", "auteur", "Wörterbuch", "tome"],
    "pool": ["piscine", "filtre", "pompe", "Wasser", "chlore", "bâche"],
    "game": ["jeu", "console", "manette", "Spiel", "joueur", "niveau"],
}


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("Lot de 3 <b>Piscines</b>", "lot de 3 piscines"),
        ("ligne une<br/>ligne deux", "ligne une ligne deux"),
        ("d&eacute;j&agrave; l&#224; &#x26; bien", "deja la & bien"),
        ("&lt;br /&gt;Été&lt;br /&gt;", "ete"),
        ("qualit&amp;eacute; sup&amp;eacute;rieure", "qualite superieure"),
        ("&amp;lt;p&amp;gt;texte&amp;lt;/p&amp;gt;", "texte"),
        ("<![CDATA[ Le texte ]]>", "le texte"),
        ("<!-- rien --><!DOCTYPE html><p class='x'>oui</p>", "oui"),
        ("moins de < 20 et > 10 &lt; 5", "moins de < 20 et > 10 < 5"),
        ("R&D &copy; 1&nbsp;000\n\t l  x", "r&d © 1 000 l x"),
        ("Größe STRASSE ŒUVRE cœur ½ ﬁn™", "grosse strasse oeuvre coeur 1⁄2 fintm"),
        ("e\u0301te\u0301 ＜b＞gras＜/b＞", "ete gras"),
        ("jeu 🎮 vidéo 日本語", "jeu 🎮 video 日本語"),
        ("<p>&nbsp;</p>", ""),
        ("", ""),
    ],
)
def test_a_text_is_read_without_markup_case_and_accents(raw, read):
    assert clean(raw) == read


@given(st.text(alphabet=st.characters() | st.sampled_from("<>&;/abé "), max_size=60))
def test_what_is_read_has_no_capitals_accents_or_double_blanks(raw):
    read = clean(raw)
    assert read == read.casefold() == " ".join(read.split())
    assert not any(unicodedata.combining(letter) for letter in unicodedata.normalize("NFC", read))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["<", "<a", "<!--", "&", "&amp;", "<![CDATA[", "é"])
def test_a_million_of_a_character_are_read_in_a_moment(piece):
    clean(piece * (1_000_000 // len(piece)))


def test_columns_are_joined_and_what_is_missing_is_empty():
    rows = pd.DataFrame(
        {
            "a": pd.Series(["Un", None, np.nan, "Trois"], dtype="str"),
            "b": pd.Series(["<i>x</i>", "Deux", None, pd.NA], dtype=object),
        }
    )
    assert CleanedText().fit_transform(rows).tolist() == ["un x", "deux", "", "trois"]


def test_counts_come_back_from_their_file_as_they_were_and_in_no_time(tmp_path):
    bodies = [f"w{number} w{number + 1} été" for number in range(20_000)]
    counts = StorableCounts(ngram_range=(1, 2)).fit(bodies)
    begun = time.monotonic()
    skops.io.dump(counts, tmp_path / "counts.skops")
    again = skops.io.load(tmp_path / "counts.skops", trusted=list(TRUSTED_TYPES))
    assert time.monotonic() - begun < 5, "as a dict the vocabulary takes minutes"
    assert len(again.vocabulary_) == len(counts.vocabulary_) > 40_000
    asked = ["w7 w8 été", "w19999 unknown"]
    assert (again.transform(asked) != counts.transform(asked)).nnz == 0
    assert (again.get_feature_names_out() == counts.get_feature_names_out()).all()
    assert again.transform(asked).dtype == np.float32


def test_counts_that_know_nothing_yet_are_stored_and_cloned_too():
    empty = StorableCounts(analyzer="char_wb", ngram_range=(2, 3), max_features=9, min_df=2)
    again = skops.io.loads(skops.io.dumps(empty), trusted=list(TRUSTED_TYPES))
    assert again.get_params() == clone(empty).get_params() == empty.get_params()
    assert again.fit_transform(["aa bb", "aa"]).shape == empty.fit_transform(["aa bb", "aa"]).shape


def shop(size: int = 150) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(3)
    target = np.array(list(WORDS), dtype=object)[np.arange(size) % 3]
    bodies = [
        f"<p>{' '.join(random.choice([*WORDS[name], 'pour', 'neuf'], 8))}&nbsp;!</p>"
        for name in target
    ]
    inputs = pd.DataFrame(
        {
            "t.title": pd.Series([f"&lt;b&gt;{WORDS[n][0]} N°{i}" for i, n in enumerate(target)]),
            "t.price": np.where(random.random(size) < 0.2, np.nan, random.random(size)),
            "t.body": pd.Series([None if i % 4 == 0 else b for i, b in enumerate(bodies)]),
            "t.colour": pd.Series(random.choice(["rouge", "bleu"], size)),
        }
    )
    return inputs, target


@pytest.mark.parametrize("kind", sorted(set(ESTIMATORS) - DENSE_KINDS))
def test_a_stored_model_answers_raw_text_as_before(kind, tmp_path):
    inputs, target = shop()
    choice = ModelChoice(name="m", kind=kind, parameters=PARAMETERS[kind], seed=1)
    model = fit(choice, FEATURES, inputs, target, text=TEXT)
    skops.io.dump(model, tmp_path / "model.skops")
    assert set(skops.io.get_untrusted_types(file=tmp_path / "model.skops")) <= set(TRUSTED_TYPES)
    again = read_model(tmp_path / "model.skops")
    asked = pd.DataFrame(
        {
            "t.title": ["PISCINE &amp;amp; <br>FILTRE", "console", None],
            "t.price": [np.nan, 3.0, 0.5],
            "t.body": [None, "&lt;p&gt;Manette 🎮 jou&eacute;e&lt;/p&gt;", None],
            "t.colour": ["vert", None, "rouge"],
        }
    )
    assert (scores_by_class(again, asked) == scores_by_class(model, asked)).all()
    assert again.predict(asked)[:2].tolist() == ["pool", "game"]
    assert evaluate(again, inputs, target).metrics == evaluate(model, inputs, target).metrics
    assert model[:-1].transform(inputs).dtype == np.float32


def test_the_same_texts_give_the_same_model_to_the_last_bit():
    inputs, target = shop()
    choice = ModelChoice(name="m", kind="linear_svm", parameters=PARAMETERS["linear_svm"])
    one, other = (fit(choice, FEATURES, inputs, target, text=TEXT) for _ in range(2))
    assert (one[-1].coef_ == other[-1].coef_).all()
    answers = [scores_by_class(model, inputs).tobytes() for model in (one, other)]
    assert answers[0] == answers[1]


def test_each_class_has_the_words_that_speak_for_it():
    inputs, target = shop()
    choice = ModelChoice(name="m", kind="linear_svm", parameters=PARAMETERS["linear_svm"])
    model = fit(choice, FEATURES, inputs, target, text=TEXT)
    terms = importances(model, inputs, target, seed=0).terms
    assert set(terms) == set(WORDS)
    for name, found in terms.items():
        assert len(found) == TERMS_KEPT
        assert clean(WORDS[name][0]) in {term for term, _ in found}
        assert all(one >= other for (_, one), (_, other) in pairwise(found))


def test_a_kind_that_takes_no_sparse_matrix_reads_no_text():
    choice = ModelChoice(name="m", kind="gradient_boosting")
    assert text_obstacle(choice, None) is None
    assert "linear_svm" in text_obstacle(choice, TEXT)
    with pytest.raises(InvalidSpec, match="gradient_boosting reads no text"):
        make_pipeline(choice, FEATURES, TEXT)


def test_texts_without_a_word_can_not_be_learned_from():
    inputs, target = shop()
    empty = inputs.assign(**{"t.title": "<br>", "t.body": None})
    choice = ModelChoice(name="m", kind="linear_svm")
    with pytest.raises(UnfitModel, match="empty vocabulary"):
        fit(choice, FEATURES, empty, target, text=TEXT)


def test_the_check_of_a_spec_says_where_a_kind_can_not_read_its_text(tmp_path):
    shipped = (REPOSITORY / "datasets" / "rakuten.yaml").read_text()
    assert "kind: linear_svm" in shipped
    faulty = tmp_path / "rakuten.yaml"
    faulty.write_text(
        re.sub(
            r"kind: linear_svm(\n.*)*?\n( +)parameters: .*",
            r"kind: gradient_boosting\n\2parameters: {}",
            shipped,
        )
    )
    done = CliRunner().invoke(app, ["check", str(faulty)])
    assert done.exit_code == 1
    line = next(n for n, t in enumerate(faulty.read_text().splitlines(), 1) if "boosting" in t)
    assert "gradient_boosting reads no text" in done.output
    assert f"{line}" in done.output
