"""Long lists in pages."""

from dataclasses import dataclass
from typing import Annotated, Self
from urllib.parse import urlencode

from fastapi import Query, Request

PageNumber = Annotated[int, Query(ge=1, le=1_000_000)]
"""Which page of a list a query asks for; 1 where it doesn't say."""
NO_ROW = 1 << 62
"""Beyond the numbers that Postgres gives to rows."""


@dataclass(frozen=True)
class Paging:
    """A page of a list. `number` counts from 1; `first` and `end` are places in the list."""

    number: int
    rows: int
    total: int
    previous: str | None
    """The address of the page before, if there is one."""
    next: str | None

    @property
    def first(self) -> int:
        """The place of the page's first row, counted from 0."""
        return (self.number - 1) * self.rows

    @property
    def end(self) -> int:
        """The place after its last row."""
        return min(self.first + self.rows, self.total)

    @property
    def is_whole(self) -> bool:
        """Whether the list has one page only."""
        return self.total <= self.rows

    @classmethod
    def of(cls, request: Request, number: int, total: int, rows: int, name: str = "page") -> Self:
        """Page `number` of a list of `total` things; beyond the last one it is the last.

        `name` is the query's parameter that says which page it is.
        """
        last = max(1, -(-total // rows))
        number = min(number, last)

        def address(page: int) -> str:
            asked = {k: v for k, v in request.query_params.multi_items() if k != name}
            return "?" + urlencode(asked | ({name: page} if page > 1 else {}))

        return cls(
            number,
            rows,
            total,
            address(number - 1) if number > 1 else None,
            address(number + 1) if number < last else None,
        )
