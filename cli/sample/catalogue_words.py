"""The words of the invented catalogue: read from `catalogue/*.yaml`, names made up on top."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FOLDER = Path(__file__).parent / "catalogue"
LANGUAGES = ("fr", "en", "de")
CLASS_NAMES = 260
GROUP_NAMES = 120
SYLLABLES = """
    ba be bo bra cal car cé cor da del do dra el en fa fé flo ga gil go gra ha hel il jo ka kel
    ki kro la lé li lo lu ma mé mi mo na né ni no or pa pel pi pra qui ra ré ri ro sa sel si so
    sta ta té ti tor tra ul va vel vi vo wa wil xa ya zel zi zo
"""
ENDINGS = "na ra lis ton ville mark tech line dor via ria lux zen max berg son ane elle is o ix us"

Pool = tuple[str, ...]


@dataclass(frozen=True)
class ClassWords:
    """One class: its size at scale 1, what it is mixed up with, and its words.

    `own[language][slot]` are words of this class, `shared[language][slot]` those of its group;
    `names` are brands, authors and places that come up in this class first of all.
    """

    code: int
    products: int
    group: str
    near: tuple[int, ...]
    own: dict[str, dict[str, Pool]]
    shared: dict[str, dict[str, Pool]]
    names: Pool
    shared_names: Pool
    language_shares: tuple[float, ...]
    share_without_description: float


@dataclass(frozen=True)
class Phrases:
    """One language: words that all classes have, and templates by group or for `any`."""

    words: dict[str, Pool]
    designations: dict[str, Pool]
    endings: Pool
    sentences: dict[str, Pool]
    facts: Pool


def class_sizes() -> dict[int, int]:
    """The products of each class at scale 1."""
    return {code: entry["products"] for code, entry in _read("classes")["classes"].items()}


def read_classes(rng: random.Random) -> dict[int, ClassWords]:
    """Every class by its code; `rng` makes the names up."""
    tree = _read("classes")
    names_of = {group: _names(rng, GROUP_NAMES) for group in tree["groups"]}
    classes = {}
    for code, entry in tree["classes"].items():
        group = tree["groups"][entry["group"]]
        classes[code] = ClassWords(
            code=code,
            products=entry["products"],
            group=entry["group"],
            near=tuple(entry["near"]),
            own={language: _pools(entry[language]) for language in LANGUAGES},
            shared={language: _pools(group[language]) for language in LANGUAGES},
            names=_names(rng, CLASS_NAMES),
            shared_names=names_of[entry["group"]],
            language_shares=tuple(group["languages"][language] for language in LANGUAGES),
            share_without_description=group["without_description"],
        )
    return classes


def read_phrases(groups: set[str]) -> dict[str, Phrases]:
    """Every language's phrases, the templates resolved for each of `groups`."""
    found = {}
    for language, entry in _read("phrases").items():
        designation, sentence = entry.pop("designation"), entry.pop("sentence")
        endings, facts = tuple(entry.pop("ending")), tuple(entry.pop("fact"))
        found[language] = Phrases(
            words=_pools(entry),
            designations={g: tuple(designation.get(g, designation["any"])) for g in groups},
            endings=endings,
            sentences={g: tuple(sentence.get(g, []) * 2 + sentence["any"]) for g in groups},
            facts=facts,
        )
    return found


def _read(name: str) -> Any:
    return YAML(typ="safe").load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def _pools(entry: dict[str, list[str]]) -> dict[str, Pool]:
    return {slot: tuple(words) for slot, words in entry.items()}


def _names(rng: random.Random, count: int) -> Pool:
    """Invented names, as `Caldor` or `Mirovelle`."""
    syllables, endings = SYLLABLES.split(), ENDINGS.split()
    return tuple(
        ("".join(rng.choices(syllables, k=rng.choice((1, 2, 2)))) + rng.choice(endings)).title()
        for _ in range(count)
    )
