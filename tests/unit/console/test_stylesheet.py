"""The console's colours."""

import re

from services.console.site import TEMPLATES

STYLESHEET = TEMPLATES.parent / "static" / "console.css"


def test_dark_is_the_same_chosen_by_the_system_or_by_a_person():
    # CSS can't name a palette that both a media query and an attribute use.
    said = STYLESHEET.read_text()
    by_system, by_person = (
        re.findall(r"[\w-]+: [^;]+;", re.search(re.escape(rule) + r" \{(.*?)\}", said, re.S)[1])
        for rule in (':root:not([data-theme="light"])', ':root[data-theme="dark"]')
    )
    assert by_system == by_person
    assert "color-scheme: dark;" in by_person
