"""Whether a slice's rows are good enough to go on: what its tables' budgets and rules say."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.events import Reason
from shared.contracts.table_spec import Table
from shared.reading.quarantine import Code, Quarantine


class JudgedTable(Protocol):
    """A table of the slice that was read to its end."""

    @property
    def table(self) -> str:
        """Its name in the spec."""

    @property
    def quarantine(self) -> Quarantine:
        """Its bad rows."""

    @property
    def rows_in(self) -> int:
        """How many data records its files have, the bad ones included."""


def rejection(spec: DatasetSpec, tables: Sequence[JudgedTable]) -> tuple[Reason, ...]:
    """Why the slice is rejected for its rows; empty where it is accepted.

    A table over its budget gives a reason for each pair of code and column, and one that says how
    many there were and may be. A table whose spec rejects duplicates gives those in any case.
    """
    return tuple(
        reason for staged in tables for reason in _of_table(spec.tables[staged.table], staged)
    )


def _of_table(table: Table, staged: JudgedTable) -> Iterator[Reason]:
    quarantine = staged.quarantine
    budget = table.budget_rows(staged.rows_in)
    is_over = quarantine.count > budget or quarantine.dropped > 0
    for reason in quarantine.reasons():
        is_refused = reason.code == Code.DUPLICATE_KEY and table.duplicates == "reject"
        if is_over or is_refused:
            yield reason
    if not is_over:
        return
    allowed = f"the budget of {table.quarantine_budget} allows {budget}"
    if quarantine.count <= budget:
        allowed = f"no more than {len(quarantine.rows)} can be kept, and none may be lost"
    yield Reason(
        code=Code.BUDGET_EXCEEDED.value,
        message=f"{quarantine.count} of {staged.rows_in} rows are bad; {allowed}",
        table=staged.table,
        count=quarantine.count,
    )
