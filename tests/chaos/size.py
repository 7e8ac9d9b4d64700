"""How much is tried: a selection of ten minutes for every run of the tests, or all of it."""

import os
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Size:
    """How many of each. A test that takes its number from here says the number it took."""

    is_full: bool


SELECTION: Final = Size(is_full=False)
FULL: Final = Size(is_full=True)


def size() -> Size:
    """What `CHAOS` asks for: `full`, or the selection where it isn't set."""
    return FULL if os.environ.get("CHAOS") == "full" else SELECTION
