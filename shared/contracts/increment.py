"""Slices by share: a source whose files are there whole, of which more is taken each time."""

import re
from decimal import Decimal

from pydantic import Field

from shared.contracts.spec_part import SpecPart

WHOLE = Decimal(100)
_NAME = re.compile(r"(?:0|[1-9]\d{0,2})(?:\.\d{1,4})?%")


class Increment(SpecPart):
    """How much of the source's rows a slice brings. A slice's name is the share reached with it.

    With 40 and 3 the first slice is `40%`, the first floor(N × 0.40) of N rows; `43%` the next up
    to floor(N × 0.43); and so on to `100%`.
    """

    initial: Decimal = Field(gt=0, le=100, decimal_places=4)
    """Per cent of the first slice."""
    step: Decimal = Field(gt=0, le=100, decimal_places=4)
    """Per cent more with each slice after it."""
    row_number: str = ""
    """Header of the column that numbers the rows, by which files are joined. Empty is a column
    without a name, as pandas writes its index."""

    def share(self, slice_key: str) -> Decimal:
        """The per cent reached with `slice_key`. Raises `ValueError` for anything but a share."""
        share = Decimal(slice_key[:-1]) if _NAME.fullmatch(slice_key) else Decimal(0)
        if not 0 < share <= WHOLE or slice_name(share) != slice_key:
            raise ValueError(f"slice {slice_key!r} is no share like {slice_name(self.initial)!r}")
        return share

    def before(self, share: Decimal) -> Decimal:
        """The share that comes before `share` on the way from `initial` by `step`; 0 at first."""
        if share <= self.initial:
            return Decimal(0)
        steps, rest = divmod(share - self.initial, self.step)
        return self.initial + (steps if rest else steps - 1) * self.step

    def next_after(self, slice_keys: list[str]) -> str | None:
        """The name after all of `slice_keys`; None when the whole is reached."""
        reached = max(map(self.share, slice_keys), default=None)
        if reached is None:
            return slice_name(self.initial)
        return slice_name(min(reached + self.step, WHOLE)) if reached < WHOLE else None


def slice_name(share: Decimal) -> str:
    """The name of the slice that reaches `share` per cent: `40%`, `42.5%`."""
    return f"{share.normalize():f}%"


def rows_in_share(rows: int, share: Decimal) -> int:
    """The first floor(`rows` × `share` / 100), without rounding error."""
    return int(rows * share // 100)
