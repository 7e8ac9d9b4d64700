"""Designations and descriptions of invented products, with the dirt that real ones have."""

import random

from cli.sample.catalogue_slots import Slots
from cli.sample.catalogue_words import LANGUAGES, ClassWords, Phrases

SHARE_MISLABELLED = 0.08
"""Products that speak as one of a class near to their own: the ceiling of any model's score."""
SHARE_VAGUE = 0.06
"""Products described in the words of their group alone."""
OWN_WORDS = 0.78
"""How often a word of any other product is one of its own class, not of its group."""
SHORTEST_DESIGNATION = 18
SHARE_EXTENDED = 0.5
SHARE_MARKUP_ALONE = 0.006
EMPTY_MARKUP = ("<br />", "<p>&nbsp;</p>", "<br><br>", "<p></p>", "<ul><li></li></ul>")
ACCENTS = {
    "é": "&eacute;", "è": "&egrave;", "à": "&agrave;", "ê": "&ecirc;", "ç": "&ccedil;",
    "ü": "&uuml;", "ö": "&ouml;", "ä": "&auml;", "ß": "&szlig;", "ô": "&ocirc;", "û": "&ucirc;",
    "î": "&icirc;", "É": "&Eacute;", "²": "&sup2;", "«": "&laquo;", "»": "&raquo;",
}  # fmt: skip
ENTITIES = str.maketrans(ACCENTS)
BARE_LETTERS = str.maketrans("éèêàâçôöûüîïäÉ", "eeeaacoouuiiaE")


class Author:
    """Writes products, one after the other, from one stream of random numbers."""

    def __init__(
        self, rng: random.Random, classes: dict[int, ClassWords], phrases: dict[str, Phrases]
    ) -> None:
        self._rng = rng
        self._classes = classes
        self._phrases = phrases
        self._slots = Slots(rng, classes)

    def product(self, code: int) -> tuple[str, str]:
        """A designation, never empty, and a description, often empty, for a product of `code`."""
        rng = self._rng
        own = self._classes[code]
        language = rng.choices(LANGUAGES, weights=own.language_shares)[0]
        phrases = self._phrases[language]
        told = rng.choice(own.near) if rng.random() < SHARE_MISLABELLED else code
        own_words = 0.0 if rng.random() < SHARE_VAGUE else OWN_WORDS
        self._slots.begin(told, language, phrases.words, own_words)
        group = self._classes[told].group
        designation = rng.choice(phrases.designations[group]).format_map(self._slots)
        while len(designation) < SHORTEST_DESIGNATION or rng.random() < SHARE_EXTENDED:
            designation += rng.choice(phrases.endings).format_map(self._slots)
        designation = self._misspelt(designation)
        if rng.random() < own.share_without_description:
            return designation, ""
        return designation, self._description(phrases, group)

    def _misspelt(self, text: str) -> str:
        """As people type: all capitals or none, no accents, two letters swapped, `&eacute;`."""
        kind = self._rng.random()
        if kind < 0.1:
            return text.upper()
        if kind < 0.18:
            return text.lower()
        if kind < 0.26:
            return text.translate(BARE_LETTERS)
        if kind < 0.36:
            at = self._rng.randrange(max(1, len(text) - 1))
            return text[:at] + text[at + 1 : at + 2] + text[at : at + 1] + text[at + 2 :]
        if kind < 0.42:
            return text.replace("&", "&amp;").translate(ENTITIES).replace("'", "&#39;")
        return text

    def _description(self, phrases: Phrases, group: str) -> str:
        rng, slots = self._rng, self._slots
        if rng.random() < SHARE_MARKUP_ALONE:
            return rng.choice(EMPTY_MARKUP)
        sentences = phrases.sentences[group]
        chosen = rng.sample(sentences, min(len(sentences), 3 + int(9 * rng.random() ** 1.3)))
        said = [sentence.format_map(slots) for sentence in chosen]
        facts = [f.format_map(slots) for f in rng.sample(phrases.facts, int(7 * rng.random()))]
        kind = rng.random()
        if kind < 0.22:
            return " ".join(said + facts)
        if kind < 0.36:
            return "\n".join(said) + "\n\n" + "\n".join(f"- {fact}" for fact in facts)
        said = [sentence.replace("&", "&amp;") for sentence in said]
        if kind < 0.64:
            text = "<br />".join([*said, "", *facts] if facts else said)
        else:
            items = "".join(f"<li>{fact}</li>" for fact in facts)
            body = "</p><p>".join([" ".join(said[:2]), " ".join(said[2:])])
            text = f"<p><b>{slots['Noun']} {slots['brand']}</b></p><p>{body}</p>"
            text += f"\n<ul>{items}</ul>" if items else ""
        return self._encoded(text)

    def _encoded(self, text: str) -> str:
        kind = self._rng.random()
        if kind < 0.4:
            text = text.translate(ENTITIES)
        if kind < 0.25 or kind > 0.85:
            text = text.replace("'", "&#39;").replace('"', "&quot;")
        return text.replace(" :", "&nbsp;:") if kind > 0.6 else text
