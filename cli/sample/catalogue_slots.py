"""What the templates of product texts are filled with."""

import random
from collections.abc import Callable

from cli.sample.catalogue_words import ClassWords, Pool

OWN_NAMES = 0.6
"""How often a name is one of the class, not of its group."""
KEPT = {"brand": 0.9, "title": 1.0, "author": 1.0, "noun": 0.7}
"""How often a product's text says the same again, where it has said something before."""
RARITY = 1.9
NAME_RARITY = 2.2
"""The exponent by which later words of a pool are rarer: more products, more words seen."""
REFERENCE_LETTERS = "ABCDEFGHJKLMNPRSTVWXZ"


class Slots:
    """A mapping for `str.format_map`: a look-up draws a word that fits the product spoken of."""

    def __init__(self, rng: random.Random, classes: dict[int, ClassWords]) -> None:
        self._rng = rng
        self._random = rng.random
        self._classes = classes
        self._made: dict[str, Callable[[], str]] = {
            "few": lambda: str(1 + int(12 * self._random() ** 4)),
            "n": lambda: str(20 + self._below(600)),
            "year": lambda: str(1950 + self._below(70)),
            "size": self._size,
            "ref": self._reference,
            "name": self._name,
            "brand": self._name,
            "author": lambda: f"{self['firstname']} {self._name()}",
            "other": self._noun_of_another,
        }

    def begin(self, code: int, language: str, words: dict[str, Pool], own_words: float) -> None:
        """Speak from now on of a product of class `code`.

        `own_words` is how often a word is one of its class, not of its group; `words` are those
        that every class has.
        """
        self._language = language
        self._common = words
        self._class = self._classes[code]
        self._own = self._class.own[language]
        self._shared = self._class.shared[language]
        self._own_words = own_words
        self._said: dict[str, str] = {}

    def __getitem__(self, slot: str) -> str:
        if slot[0].isupper():
            word = self[slot.lower()]
            return word[0].upper() + word[1:]
        before = self._said.get(slot)
        if before is not None and slot in KEPT and self._random() < KEPT[slot]:
            return before
        word = self._draw(slot)
        if word == before:
            word = self._draw(slot)
        self._said[slot] = word
        return word

    def _draw(self, slot: str) -> str:
        if slot in self._made:
            return self._made[slot]()
        if slot in self._own:
            is_own = self._random() < self._own_words
            return self._pick((self._own if is_own else self._shared)[slot])
        word = self._pick(self._common[slot])
        return word.format_map(self) if "{" in word else word

    def _below(self, end: int) -> int:
        return int(self._random() * end)

    def _pick(self, pool: Pool, rarity: float = RARITY) -> str:
        return pool[int(len(pool) * self._random() ** rarity)]

    def _name(self) -> str:
        is_own = self._random() < OWN_NAMES
        return self._pick(self._class.names if is_own else self._class.shared_names, NAME_RARITY)

    def _noun_of_another(self) -> str:
        other = self._rng.choice(self._class.near)
        return self._pick(self._classes[other].own[self._language]["noun"])

    def _size(self) -> str:
        kind = self._random()
        if kind < 0.1:
            return f'{self._below(60) + 4}"'
        if kind < 0.4:
            return f"{self._below(200) + 10}x{self._below(120) + 5} cm"
        depth = f"{self._below(60) + 2},{self._below(10)}"
        return f"{self._below(190) + 5} x {self._below(90) + 5} x {depth} cm"

    def _reference(self) -> str:
        letters = "".join(self._rng.choices(REFERENCE_LETTERS, k=2))
        return f"{letters}{self._below(9000) + 100}"
